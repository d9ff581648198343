"""Which account may be asked now, and what an answer teaches about it."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tallypost_core.ids import new_id
from tallypost_providers.base import same_for_all
from tallypost_providers.types import Outcome, SendResult
from tallypost_resilience.breaker import Breaker, BreakerOpen
from tallypost_resilience.bulkhead import BulkheadFull
from tallypost_resilience.circuit import BreakerConfig
from tallypost_resilience.limiter import LocalLimiter
from tallypost_worker.fleet import AccountPaused, Fleet
from tests.unit.providers.emails import make_email
from tests.unit.providers.test_router import Account

DOMAIN, OTHER_DOMAIN = new_id(), new_id()
CONFIG = BreakerConfig(window_s=30, min_calls=2, open_s=5, longest_open_s=20)
BAD = [Outcome.UNAVAILABLE, Outcome.AMBIGUOUS]
GOOD = [Outcome.ACCEPTED, Outcome.REJECTED, Outcome.DEFERRED, Outcome.THROTTLED]


class FakeClock:
    """A clock that only a test moves."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def accounts() -> tuple[Account, Account]:
    return Account("first"), Account("second")


@pytest.fixture
def fleet(clock: FakeClock, accounts: tuple[Account, Account]) -> Fleet:
    return Fleet(
        accounts,
        concurrency=10,
        breaker=Breaker("test", CONFIG, clock=clock),
        limiter=LocalLimiter(clock=clock),
        clock=clock,
    )


def answer(outcome: Outcome, **fields: Any) -> SendResult:
    result = same_for_all(make_email(), outcome, phase="final")
    return SendResult(recipients=result.recipients, phase=result.phase, **fields)


async def ask(fleet: Fleet, account: Account, result: SendResult) -> None:
    """One handover that ends like this."""
    async with fleet.turn(account) as call:
        fleet.learn(call, account, DOMAIN, result)


def ready(fleet: Fleet, accounts: tuple[Account, Account]) -> Any:
    return fleet.find_ready(accounts, DOMAIN)


async def test_all_is_well_until_something_is_known(
    fleet: Fleet, accounts: tuple[Account, Account]
) -> None:
    assert ready(fleet, accounts) is accounts[0]


@pytest.mark.parametrize("outcome", BAD)
async def test_account_that_keeps_failing_is_left_alone_for_a_while(
    fleet: Fleet, accounts: tuple[Account, Account], clock: FakeClock, outcome: Outcome
) -> None:
    for _ in range(2):
        await ask(fleet, accounts[0], answer(outcome))
    assert ready(fleet, accounts) is accounts[1]
    with pytest.raises(BreakerOpen):
        await ask(fleet, accounts[0], answer(Outcome.ACCEPTED))
    clock.now_s += 5
    assert ready(fleet, accounts) is accounts[0]
    await ask(fleet, accounts[0], answer(Outcome.ACCEPTED))
    assert ready(fleet, accounts) is accounts[0]


@pytest.mark.parametrize("outcome", GOOD)
async def test_answer_about_the_mail_says_nothing_against_the_account(
    fleet: Fleet, accounts: tuple[Account, Account], clock: FakeClock, outcome: Outcome
) -> None:
    for _ in range(5):
        await ask(fleet, accounts[0], answer(outcome))
        clock.now_s += 1
    assert ready(fleet, accounts) is accounts[0]


async def test_suspended_account_is_not_asked_again_at_once_and_ever_more_rarely(
    fleet: Fleet, accounts: tuple[Account, Account], clock: FakeClock
) -> None:
    waits = []
    for _ in range(4):
        await ask(fleet, accounts[0], answer(Outcome.SUSPENDED))
        assert ready(fleet, accounts) is accounts[1]
        waits.append(fleet.shortest_wait_s(accounts[:1], DOMAIN))
        clock.now_s += waits[-1]
    assert waits == [5, 10, 20, 20]


async def test_domain_that_an_account_does_not_know_costs_others_nothing(
    fleet: Fleet, accounts: tuple[Account, Account], clock: FakeClock
) -> None:
    for _ in range(5):
        await ask(fleet, accounts[0], answer(Outcome.SUSPENDED, concerns="sender"))
    assert fleet.find_ready(accounts, DOMAIN) is accounts[1]
    assert fleet.find_ready(accounts, OTHER_DOMAIN) is accounts[0]
    clock.now_s += 60
    assert fleet.find_ready(accounts, DOMAIN) is accounts[0]


@pytest.mark.parametrize(("asked_s", "waited_s"), [(None, 1), (7.0, 7), (1e9, 300)])
async def test_account_that_asks_for_a_pause_gets_it(
    fleet: Fleet,
    accounts: tuple[Account, Account],
    clock: FakeClock,
    asked_s: float | None,
    waited_s: float,
) -> None:
    await ask(fleet, accounts[0], answer(Outcome.THROTTLED, pause_s=asked_s))
    assert ready(fleet, accounts) is accounts[1]
    assert fleet.shortest_wait_s(accounts[:1], DOMAIN) == waited_s
    clock.now_s += waited_s
    assert ready(fleet, accounts) is accounts[0]


async def test_pause_counts_with_an_accepted_email_too(
    fleet: Fleet, accounts: tuple[Account, Account]
) -> None:
    await ask(fleet, accounts[0], answer(Outcome.ACCEPTED, pause_s=3.0))
    assert fleet.shortest_wait_s(accounts[:1], DOMAIN) == 3


async def test_shorter_pause_does_not_end_a_longer_one(
    fleet: Fleet, accounts: tuple[Account, Account]
) -> None:
    await ask(fleet, accounts[0], answer(Outcome.THROTTLED, pause_s=9.0))
    await ask(fleet, accounts[0], answer(Outcome.THROTTLED, pause_s=2.0))
    assert fleet.shortest_wait_s(accounts[:1], DOMAIN) == 9


async def test_rate_of_an_account_is_kept(
    fleet: Fleet, accounts: tuple[Account, Account], clock: FakeClock
) -> None:
    accounts[0].rate_per_s = 2.0
    for _ in range(2):
        await ask(fleet, accounts[0], answer(Outcome.ACCEPTED))
    with pytest.raises(AccountPaused) as caught:
        await ask(fleet, accounts[0], answer(Outcome.ACCEPTED))
    assert caught.value.retry_after_s == pytest.approx(0.5)
    clock.now_s += 0.5
    await ask(fleet, accounts[0], answer(Outcome.ACCEPTED))


async def test_account_that_hangs_leaves_room_for_the_others(
    fleet: Fleet, accounts: tuple[Account, Account]
) -> None:
    async with AsyncExitStack() as hanging:
        for _ in range(6):
            await hanging.enter_async_context(fleet.turn(accounts[0]))
        with pytest.raises(BulkheadFull):
            await ask(fleet, accounts[0], answer(Outcome.ACCEPTED))
        await ask(fleet, accounts[1], answer(Outcome.ACCEPTED))


async def test_lone_account_may_use_the_whole_process(clock: FakeClock) -> None:
    only = Account("only")
    fleet = Fleet(
        [only, Account("inbox", is_outside=False)],
        concurrency=10,
        breaker=Breaker("test", CONFIG, clock=clock),
        limiter=LocalLimiter(),
    )
    async with AsyncExitStack() as handovers:
        for _ in range(10):
            await handovers.enter_async_context(fleet.turn(only))


async def test_cancelled_handover_says_nothing_and_gives_its_place_back(
    fleet: Fleet, accounts: tuple[Account, Account]
) -> None:
    async def hang() -> None:
        async with fleet.turn(accounts[0]):
            await asyncio.Event().wait()

    for _ in range(20):
        task = asyncio.create_task(hang())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert ready(fleet, accounts) is accounts[0]
    await ask(fleet, accounts[0], answer(Outcome.ACCEPTED))
