"""Mail waits for an account that is busy, and comes back ever more rarely where there is none."""

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import pytest

from tallypost_core import clock
from tallypost_core.object_store import FolderStore
from tallypost_domain.db.errors import DatabaseUnavailable
from tallypost_domain.db.pools import Pool, transaction
from tallypost_domain.queue.records import Recorded, record_and_mark
from tallypost_domain.queue.types import Claim, Settlement
from tallypost_domain.routing import accounts, routes
from tallypost_domain.routing.accounts import AccountChange
from tallypost_domain.routing.types import NewRoute
from tallypost_providers.types import Outcome
from tallypost_resilience.circuit import BreakerConfig
from tallypost_resilience.retry import RetryPolicy
from tallypost_worker import desks, fleet, put_offs, recorder
from tests.integration.queue.harness import Harness
from tests.integration.routing.samples import ACTOR, create
from tests.integration.worker.loops import FakeProvider, all_sent, running_loop, says, until
from tests.support.database import KEY_RING, SeededTenant
from tests.support.worker import eventually


def second() -> FakeProvider:
    """Another account, which takes everything."""
    provider = FakeProvider()
    provider.account = "second"
    return provider


async def test_account_that_is_busy_for_longer_than_a_delivery_waits_keeps_all_its_mail(
    queue: Harness,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(desks, "PATIENCE_S", 0.05)
    monkeypatch.setattr(put_offs, "LONGEST_S", 0.2)
    first, other = FakeProvider(), second()
    # Three places and two who wait: of these at least one does so in vain.
    first.takes_s = 0.3
    for owner in (tenant, other_tenant):
        await queue.add(owner, 10)
    url = queue.database.url("tp_deliver")
    async with running_loop(url, first, FolderStore(tmp_path), others=[other], concurrency=5):
        await all_sent(queue, tenant, other_tenant)
    assert (len(first.handovers), len(other.handovers)) == (20, 0)


async def test_second_account_gets_no_mail_because_the_database_was_away(
    queue: Harness,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(desks, "PATIENCE_S", 0.05)
    monkeypatch.setattr(desks, "_STUCK_S", 0.1)
    monkeypatch.setattr(put_offs, "LONGEST_S", 0.2)
    is_away, times_away = True, 0

    async def record(
        pool: Pool,
        worker_id: UUID,
        settlements: Sequence[Settlement],
        claims: Sequence[Claim],
        policy: RetryPolicy,
    ) -> Recorded:
        nonlocal times_away
        if is_away:
            times_away += 1
            raise DatabaseUnavailable
        return await record_and_mark(pool, worker_id, settlements, claims, policy)

    monkeypatch.setattr(recorder, "record_and_mark", record)
    first, other = FakeProvider(), second()
    for owner in (tenant, other_tenant):
        await queue.add(owner, 10)
    url = queue.database.url("tp_deliver")
    async with running_loop(url, first, FolderStore(tmp_path), others=[other], concurrency=5):
        # Each time a tenth of a second passes, so that all marks are held back for long enough.
        await eventually(lambda: times_away > 8)
        is_away = False
        await all_sent(queue, tenant, other_tenant)
    assert (len(first.handovers), len(other.handovers)) == (20, 0)


def a_day_ago(_: UUID) -> dt.datetime:
    """When emails of these tests were accepted, as far as their waits go by it."""
    return clock.utc_now() - dt.timedelta(days=1)


async def say_it_was_claimed(queue: Harness, tenant: SeededTenant, times: int) -> None:
    async with transaction(queue.pool, [tenant.id]) as connection:
        await connection.execute("UPDATE send_queue SET fence = $1", times)


async def wait_s(queue: Harness, tenant: SeededTenant) -> float:
    """Until the tenant's email is due."""
    query = "SELECT extract(epoch FROM due_at - now())::float8 AS wait_s FROM send_queue"
    (row,) = await queue.fetch(tenant, query)
    seconds: float = row["wait_s"]
    return seconds


@pytest.mark.parametrize(("times", "least_s", "most_s"), [(0, 0, 60), (30, 100, 300)])
async def test_email_whose_route_leads_nowhere_comes_back_ever_more_rarely(
    queue: Harness,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    times: int,
    least_s: int,
    most_s: int,
) -> None:
    monkeypatch.setattr(put_offs, "time_of", a_day_ago)
    waits_s: list[float] = []
    account_id = await create(queue.database, tenant)
    async with queue.database.session("tp_console", tenant.id) as session:
        route = NewRoute(accounts=(str(account_id),))
        await routes.replace_routes(session, tenant.id, [route], actor=ACTOR)
        await accounts.change_account(
            session,
            tenant.id,
            account_id,
            AccountChange(is_on=False),
            key_ring=KEY_RING,
            actor=ACTOR,
        )
    await queue.add(tenant)
    await queue.add(other_tenant)
    await say_it_was_claimed(queue, tenant, times)

    async def is_put_off() -> bool:
        waits_s.append(await wait_s(queue, tenant))
        return waits_s[-1] > 0

    url = queue.database.url("tp_deliver")
    async with running_loop(url, FakeProvider(), FolderStore(tmp_path)):
        await until(is_put_off)
        await all_sent(queue, other_tenant)
    assert least_s < waits_s[-1] <= most_s


async def test_email_that_no_account_may_have_yet_comes_back_ever_more_rarely(
    queue: Harness, tenant: SeededTenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "PATIENCE_S", 0.01)
    monkeypatch.setattr(put_offs, "time_of", a_day_ago)
    await queue.add(tenant)
    await say_it_was_claimed(queue, tenant, 30)

    async def is_put_off() -> bool:
        return await wait_s(queue, tenant) > 31

    breaker = BreakerConfig(min_calls=1, open_s=30)
    url = queue.database.url("tp_deliver")
    async with running_loop(
        url, FakeProvider(says(Outcome.UNAVAILABLE)), FolderStore(tmp_path), breaker=breaker
    ):
        await until(is_put_off)
    assert 100 < await wait_s(queue, tenant) <= put_offs.LONGEST_S
