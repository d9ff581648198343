"""How a worker's provider accounts do is put down whenever it changes, and goes with the worker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import pytest

from tallypost_core.ids import new_id
from tallypost_domain.db.sessions import system_session
from tallypost_domain.queue.account_states import AccountCondition, SeenState, list_states
from tallypost_domain.queue.claims import beat, sign_off
from tallypost_providers.base import same_for_all
from tallypost_providers.types import Outcome
from tallypost_resilience.breaker import Breaker
from tallypost_resilience.circuit import BreakerConfig
from tallypost_resilience.limiter import LocalLimiter
from tallypost_worker import account_reports
from tallypost_worker.account_reports import report_accounts
from tallypost_worker.fleet import Fleet
from tests.integration.worker.loops import until
from tests.support.database import Database
from tests.unit.providers.emails import make_email
from tests.unit.providers.test_router import Account

DOMAIN = new_id()


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account_reports, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(account_reports, "_REPEAT_EVERY_S", 0.2)


def make_fleet(*accounts: Account) -> Fleet:
    return Fleet(
        accounts,
        concurrency=10,
        breaker=Breaker("test", BreakerConfig(open_s=60)),
        limiter=LocalLimiter(),
    )


async def answer(fleet: Fleet, account: Account, outcome: Outcome) -> None:
    """One handover that ends like this."""
    async with fleet.guard(account) as call:
        result = same_for_all(make_email(), outcome, phase="http")
        fleet.learn(call, account, DOMAIN, result)


@asynccontextmanager
async def reporting(database: Database, fleet: Fleet) -> AsyncIterator[UUID]:
    """A worker that reports; yields its id."""
    worker_id = new_id()
    async with database.connect("tp_deliver") as connection, database.pool("tp_worker") as pool:
        await beat(connection, worker_id)
        task = asyncio.create_task(report_accounts(pool, worker_id, fleet))
        try:
            yield worker_id
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def seen(database: Database) -> list[SeenState]:
    async with database.sessions("tp_console") as makers, system_session(makers) as session:
        return list(await list_states(session))


async def conditions(database: Database) -> dict[str, list[tuple[AccountCondition, int]]]:
    """By account: how many workers see it how."""
    found: dict[str, list[tuple[AccountCondition, int]]] = {}
    for state in await seen(database):
        found.setdefault(state.account, []).append((state.condition, state.workers))
    return found


async def test_change_of_an_account_is_put_down_and_the_inbox_is_none(database: Database) -> None:
    first, second = Account("first"), Account("second")
    fleet = make_fleet(first, second, Account("inbox", is_outside=False))
    well = AccountCondition.WELL
    async with reporting(database, fleet):

        async def shows(expected: dict[str, AccountCondition]) -> bool:
            wanted = {account: [(condition, 1)] for account, condition in expected.items()}
            return await conditions(database) == wanted

        await until(lambda: shows({"first": well, "second": well}))
        await answer(fleet, first, Outcome.SUSPENDED)
        await answer(fleet, second, Outcome.THROTTLED)
        await until(
            lambda: shows({"first": AccountCondition.OPEN, "second": AccountCondition.PAUSED})
        )
        (opened,) = [state for state in await seen(database) if state.account == "first"]
        assert opened.wait_s is not None
        assert 0 < opened.wait_s <= 60


async def test_workers_that_see_it_differently_are_counted_apart(database: Database) -> None:
    account = Account("first")
    fleets = [make_fleet(account) for _ in range(3)]
    await answer(fleets[0], account, Outcome.SUSPENDED)
    async with (
        reporting(database, fleets[0]),
        reporting(database, fleets[1]),
        reporting(database, fleets[2]),
    ):

        async def are_counted() -> bool:
            expected = [(AccountCondition.OPEN, 1), (AccountCondition.WELL, 2)]
            return await conditions(database) == {"first": expected}

        await until(are_counted)


async def test_what_a_worker_saw_goes_with_it(database: Database) -> None:
    async with reporting(database, make_fleet(Account("first"))) as worker_id:

        async def is_there() -> bool:
            return bool(await conditions(database))

        await until(is_there)
    async with database.connect("tp_deliver") as connection:
        await sign_off(connection, worker_id)
    assert await conditions(database) == {}


async def test_worker_that_has_not_signed_on_reports_later(database: Database) -> None:
    worker_id = new_id()
    fleet = make_fleet(Account("first"))
    async with database.connect("tp_deliver") as connection, database.pool("tp_worker") as pool:
        task = asyncio.create_task(report_accounts(pool, worker_id, fleet))
        await asyncio.sleep(0.1)
        assert await conditions(database) == {}
        await beat(connection, worker_id)

        async def is_there() -> bool:
            return bool(await conditions(database))

        await until(is_there)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
