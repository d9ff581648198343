"""Moving and taking back scheduled emails, each tenant its own."""

import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_core import clock
from tallypost_core.ids import new_id
from tallypost_domain.emails.errors import EmailNotFound, EmailNotScheduled
from tallypost_domain.emails.service import cancel, get_email, list_events, reschedule
from tallypost_domain.emails.views import EmailView
from tallypost_domain.suppressions.service import suppress
from tallypost_providers.types import Mode
from tests.integration.queue.harness import Harness, hours, open_harness
from tests.support.database import PEPPERS, Database, SeededTenant

Change = Callable[[AsyncSession, UUID, Mode, UUID], Awaitable[None]]


async def _move(session: AsyncSession, tenant_id: UUID, mode: Mode, email_id: UUID) -> None:
    await reschedule(session, tenant_id, mode, email_id, clock.utc_now() + hours(2))


@pytest.fixture
async def queue(database: Database, tmp_path: Path) -> AsyncIterator[Harness]:
    """A queue of this test alone."""
    async with open_harness(database, tmp_path) as harness:
        yield harness


async def _schedule(
    queue: Harness, tenant: SeededTenant, to: Sequence[str] = ("first@r.test",)
) -> UUID:
    later = (clock.utc_now() + hours(1)).isoformat()
    (email_id,) = await queue.add(tenant, scheduled_at=later, to=list(to))
    return email_id


async def _change(
    queue: Harness, tenant: SeededTenant, email_id: UUID, change: Change, mode: Mode = "live"
) -> None:
    async with queue.database.session("tp_api", tenant.id) as session:
        await change(session, tenant.id, mode, email_id)


async def _read(queue: Harness, tenant: SeededTenant, email_id: UUID) -> EmailView:
    async with queue.database.session("tp_api", tenant.id) as session:
        return await get_email(session, tenant.id, "live", email_id)


async def test_canceled_email_is_never_due_and_says_so(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    async with queue.database.session("tp_cli", tenant.id) as session:
        await suppress(session, tenant.id, "live", "no@r.test", origin="manual", peppers=PEPPERS)
    email_id = await _schedule(queue, tenant, to=["a@r.test", "no@r.test"])
    before = await queue.snapshot(other_tenant)
    await _change(queue, tenant, email_id, cancel)
    assert await queue.find_row(tenant, email_id) is None
    assert await queue.statuses(tenant, email_id) == {
        "a": "canceled",
        "no": "suppressed",
        "email": "canceled",
    }
    view = await _read(queue, tenant, email_id)
    assert (view.status, view.last_event) == ("canceled", "canceled")
    async with queue.database.session("tp_console", tenant.id) as session:
        events = await list_events(session, tenant.id, email_id)
    assert [event.type for event in events] == [
        "email.scheduled",
        "email.suppressed",
        "email.canceled",
    ]
    assert await queue.snapshot(other_tenant) == before


@pytest.mark.parametrize(
    "moment",
    [
        dt.datetime(2035, 1, 1, tzinfo=dt.UTC),
        dt.datetime(2020, 1, 1, tzinfo=dt.UTC),
        dt.datetime(1970, 1, 1, tzinfo=dt.UTC),
    ],
)
async def test_moved_email_is_due_at_its_new_time(
    queue: Harness, tenant: SeededTenant, moment: dt.datetime
) -> None:
    email_id = await _schedule(queue, tenant)
    async with queue.database.session("tp_api", tenant.id) as session:
        await reschedule(session, tenant.id, "live", email_id, moment)
    row = await queue.find_row(tenant, email_id)
    assert row is not None
    assert row["due_at"] == moment
    view = await _read(queue, tenant, email_id)
    assert (view.scheduled_at, view.last_event) == (moment, "scheduled")
    claims = await queue.claim(await queue.start_worker(), tenant)
    assert len(claims) == (0 if moment > clock.utc_now() else 1)


@pytest.mark.parametrize("change", [cancel, _move])
async def test_email_of_another_tenant_or_mode_is_not_found(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant, change: Change
) -> None:
    email_id = await _schedule(queue, tenant)
    for owner, wanted, mode in (
        (other_tenant, email_id, "live"),
        (tenant, email_id, "test"),
        (tenant, new_id(), "live"),
    ):
        with pytest.raises(EmailNotFound):
            await _change(queue, owner, wanted, change, "test" if mode == "test" else "live")
    # Naming the other's id in one's own session does not help either.
    async with queue.database.session("tp_api", other_tenant.id) as session:
        with pytest.raises(EmailNotFound):
            await change(session, tenant.id, "live", email_id)
    assert await queue.state(tenant, email_id) == "waiting"


@pytest.mark.parametrize("change", [cancel, _move])
async def test_email_that_is_not_waiting_for_its_time_cannot_be_changed(
    queue: Harness, tenant: SeededTenant, change: Change
) -> None:
    (never_scheduled,) = await queue.add(tenant)
    canceled, claimed, tried, sent = [await _schedule(queue, tenant) for _ in range(4)]
    await _change(queue, tenant, canceled, cancel)
    worker = await queue.start_worker()
    for email_id, outcome in ((tried, "deferred"), (sent, "accepted")):
        await queue.make_due(tenant, email_id)
        claims = await queue.claim(worker, tenant)
        (claim,) = [claim for claim in claims if claim.email_id == email_id]
        (claim,) = await queue.mark(worker, claim)
        await queue.record(worker, await queue.settle(worker, claim, outcome))
    await queue.make_due(tenant, claimed)
    await queue.claim(worker, tenant)
    before = await queue.snapshot(tenant)
    for email_id in (never_scheduled, canceled, claimed, tried, sent):
        with pytest.raises(EmailNotScheduled):
            await _change(queue, tenant, email_id, change)
    assert await queue.snapshot(tenant) == before
