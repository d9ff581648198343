"""Somebody says that an email arrived, while workers know, or come to know, something of it too."""

import asyncio
from uuid import UUID

import pytest

from tallypost_core.ids import new_id
from tallypost_domain.audit.types import Actor
from tallypost_domain.queue.claims import LEASE_S
from tallypost_domain.queue.errors import EmailUnderWay, NothingUnconfirmed
from tallypost_domain.queue.sweeps import sweep_abandoned
from tallypost_domain.queue.types import Settlement
from tallypost_domain.queue.unconfirmed_decisions import Settled, SettledAs, settle
from tests.integration.queue.harness import POLICY, Harness
from tests.integration.queue.people import Person
from tests.support.database import PEPPERS, SeededTenant

KEY = Actor(kind="api_key", id=new_id())


async def _settle(
    queue: Harness,
    tenant: SeededTenant,
    email_id: UUID,
    settled_as: SettledAs = SettledAs.SENT,
) -> Settled:
    async with queue.database.session("tp_api", tenant.id) as session:
        return await settle(session, tenant.id, "live", email_id, settled_as, actor=KEY)


async def _freeze(
    queue: Harness, tenant: SeededTenant, outcome: str = "accepted"
) -> tuple[UUID, UUID, Settlement]:
    """An email, the worker whose lease ended during its handover, and what it has to say."""
    (email_id,) = await queue.add(tenant)
    frozen = await queue.start_worker()
    (claim,) = await queue.hand_over(frozen, tenant)
    late = await queue.settle(frozen, claim, outcome)
    await queue.age_beat(frozen, LEASE_S + 1)
    await sweep_abandoned(queue.pool, POLICY, PEPPERS)
    assert (await queue.statuses(tenant, email_id))["email"] == "unconfirmed"
    return email_id, frozen, late


async def test_late_acceptance_of_a_settled_email_is_a_suspected_duplicate_and_bills_nothing(
    queue: Harness, tenant: SeededTenant
) -> None:
    email_id, frozen, late = await _freeze(queue, tenant)
    assert (await _settle(queue, tenant, email_id)).recipients == 1
    await queue.record(frozen, late)
    assert await queue.events(tenant, email_id) == [
        "email.unconfirmed",
        "email.settled",
        "email.duplicate_suspected",
    ]
    assert await queue.statuses(tenant, email_id) == {"first": "sent", "email": "sent"}
    assert await queue.state(tenant, email_id) is None
    rows = await queue.fetch(tenant, "SELECT provider FROM usage_ledger")
    # The lost worker's handover is all that is known of the silence.
    assert [row["provider"] for row in rows] == ["unknown"]


async def test_late_bad_news_of_a_settled_email_goes_on_record_and_changes_nothing(
    queue: Harness, tenant: SeededTenant
) -> None:
    for outcome in ("rejected", "deferred", "unavailable", "ambiguous"):
        email_id, frozen, late = await _freeze(queue, tenant, outcome)
        await _settle(queue, tenant, email_id)
        await queue.record(frozen, late)
        assert await queue.events(tenant, email_id) == ["email.unconfirmed", "email.settled"]
        assert await queue.statuses(tenant, email_id) == {"first": "sent", "email": "sent"}
        assert (await queue.attempts(tenant, email_id))[-1] == (1, outcome, True)


async def test_canceled_email_that_the_provider_took_is_sent_and_billed_once_and_no_duplicate(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    await _freeze(queue, other_tenant)
    others = await queue.snapshot(other_tenant)
    email_id, frozen, late = await _freeze(queue, tenant)
    assert (await _settle(queue, tenant, email_id, SettledAs.CANCELED)).recipients == 1
    assert await queue.statuses(tenant, email_id) == {"first": "canceled", "email": "canceled"}
    assert await queue.state(tenant, email_id) is None
    assert await queue.billed(tenant, email_id) == 0
    await queue.record(frozen, late)
    expected = ["email.unconfirmed", "email.canceled", "email.sent"]
    assert await queue.events(tenant, email_id) == expected
    assert await queue.statuses(tenant, email_id) == {"first": "sent", "email": "sent"}
    assert await queue.billed(tenant, email_id) == 1
    assert await queue.snapshot(other_tenant) == others


async def test_late_bad_news_of_a_canceled_email_goes_on_record_and_changes_nothing(
    queue: Harness, tenant: SeededTenant
) -> None:
    for outcome in ("rejected", "deferred", "unavailable", "ambiguous"):
        email_id, frozen, late = await _freeze(queue, tenant, outcome)
        await _settle(queue, tenant, email_id, SettledAs.CANCELED)
        await queue.record(frozen, late)
        assert await queue.events(tenant, email_id) == ["email.unconfirmed", "email.canceled"]
        assert await queue.statuses(tenant, email_id) == {"first": "canceled", "email": "canceled"}
        assert (await queue.attempts(tenant, email_id))[-1] == (1, outcome, True)
        assert await queue.billed(tenant, email_id) == 0


async def test_late_acceptance_and_cancellation_at_once_end_in_one_sent_email_billed_once(
    queue: Harness, tenant: SeededTenant
) -> None:
    for _ in range(10):
        email_id, frozen, late = await _freeze(queue, tenant)
        settled, _ = await asyncio.gather(
            _settle(queue, tenant, email_id, SettledAs.CANCELED),
            queue.record(frozen, late),
            return_exceptions=True,
        )
        # Where the acceptance was first, there was nothing to decide any more.
        if isinstance(settled, BaseException):
            assert isinstance(settled, NothingUnconfirmed)
        assert await queue.statuses(tenant, email_id) == {"first": "sent", "email": "sent"}
        assert "email.duplicate_suspected" not in await queue.events(tenant, email_id)
        assert await queue.state(tenant, email_id) is None
        assert await queue.billed(tenant, email_id) == 1


async def test_settling_what_was_accepted_late_changes_nothing(
    queue: Harness, tenant: SeededTenant
) -> None:
    email_id, frozen, late = await _freeze(queue, tenant)
    await queue.record(frozen, late)
    before = await queue.snapshot(tenant)
    assert (await _settle(queue, tenant, email_id)).recipients == 0
    assert await queue.snapshot(tenant) == before


async def test_late_acceptance_and_settlement_at_once_end_in_one_sent_email_billed_once(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    await _freeze(queue, other_tenant)
    others = await queue.snapshot(other_tenant)
    for _ in range(10):
        email_id, frozen, late = await _freeze(queue, tenant)
        settled, _ = await asyncio.gather(
            _settle(queue, tenant, email_id), queue.record(frozen, late)
        )
        assert await queue.statuses(tenant, email_id) == {"first": "sent", "email": "sent"}
        assert await queue.state(tenant, email_id) is None
        assert await queue.billed(tenant, email_id) == 1
        if settled.recipients:
            assert "email.duplicate_suspected" in await queue.events(tenant, email_id)
        else:
            assert "email.sent" in await queue.events(tenant, email_id)
    assert await queue.snapshot(other_tenant) == others


@pytest.mark.parametrize("settled_as", SettledAs)
async def test_claim_and_settlement_at_once_never_both_win(
    queue: Harness, tenant: SeededTenant, settled_as: SettledAs
) -> None:
    for _ in range(10):
        email_id, _, _ = await _freeze(queue, tenant)
        await queue.make_due(tenant, email_id)
        worker = await queue.start_worker()
        settled, claims = await asyncio.gather(
            _settle(queue, tenant, email_id, settled_as),
            queue.claim(worker, tenant),
            return_exceptions=True,
        )
        expected = "sent"
        assert not isinstance(claims, BaseException)
        if isinstance(settled, BaseException):
            assert isinstance(settled, EmailUnderWay)
            assert [claim.email_id for claim in claims] == [email_id]
            (marked,) = await queue.mark(worker, *claims)
            await queue.record(worker, await queue.settle(worker, marked, "accepted"))
        else:
            assert claims == []
            expected = settled_as.value
        assert await queue.statuses(tenant, email_id) == {"first": expected, "email": expected}
        assert await queue.state(tenant, email_id) is None
        assert await queue.billed(tenant, email_id) == (expected == "sent")


async def test_settlement_and_resend_at_once_leave_one_decision(
    queue: Harness, tenant: SeededTenant
) -> None:
    for _ in range(10):
        (email_id,) = await queue.add_bulk(tenant)
        worker = await queue.start_worker()
        (claim,) = await queue.hand_over(worker, tenant, lane="bulk")
        await queue.record(worker, await queue.settle(worker, claim, "ambiguous"))
        _, resent = await asyncio.gather(
            _settle(queue, tenant, email_id),
            Person(queue, tenant).resend(email_id),
            return_exceptions=True,
        )
        assert not isinstance(resent, BaseException)
        if resent.recipients:
            assert await queue.state(tenant, email_id) == "waiting"
            assert (await queue.events(tenant, email_id))[1:] == ["email.requeued"]
            (claim,) = await queue.hand_over(worker, tenant, lane="bulk")
            await queue.record(worker, await queue.settle(worker, claim, "accepted"))
        else:
            assert (await queue.events(tenant, email_id))[1:] == ["email.settled"]
        assert await queue.state(tenant, email_id) is None
        assert await queue.billed(tenant, email_id) == 1


async def test_a_handover_under_way_is_not_settled_over(
    queue: Harness, tenant: SeededTenant
) -> None:
    email_id, _, _ = await _freeze(queue, tenant)
    await queue.make_due(tenant, email_id)
    worker = await queue.start_worker()
    (claim,) = await queue.hand_over(worker, tenant)
    before = await queue.snapshot(tenant)
    with pytest.raises(EmailUnderWay):
        await _settle(queue, tenant, email_id)
    assert await queue.snapshot(tenant) == before
    await queue.record(worker, await queue.settle(worker, claim, "accepted"))
    assert await queue.billed(tenant, email_id) == 1
