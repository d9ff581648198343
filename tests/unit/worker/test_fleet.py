"""Which account may be asked now, and what an answer teaches about it."""

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest

from tallypost_core.ids import new_id
from tallypost_domain.queue.account_states import AccountCondition
from tallypost_providers.base import same_for_all
from tallypost_providers.types import Outcome, SendResult
from tallypost_resilience.breaker import Breaker, BreakerOpen
from tallypost_resilience.circuit import BreakerConfig, BreakerState, Circuit, Ticket, Verdict
from tallypost_resilience.limiter import LocalLimiter
from tallypost_worker import desks as desks_module
from tallypost_worker import fleet as fleet_module
from tallypost_worker.desks import Place
from tallypost_worker.fleet import BREAKER, Fleet
from tests.unit.providers.emails import make_email
from tests.unit.providers.test_router import Account

DOMAIN, OTHER_DOMAIN, TENANT = new_id(), new_id(), new_id()
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
    """One handover that ends like this; raises BreakerOpen where the breaker forbids it."""
    async with fleet.guard(account) as call:
        fleet.learn(call, account, DOMAIN, result)


async def taken(fleet: Fleet, accounts: Sequence[Account], domain_id: UUID = DOMAIN) -> str | None:
    """Which account gives a place, which is given back at once."""
    place = await fleet.take(accounts, domain_id, tenant_id=TENANT)
    if place is None:
        return None
    with place:
        return place.provider.account


async def test_all_is_well_until_something_is_known(
    fleet: Fleet, accounts: tuple[Account, Account]
) -> None:
    assert await taken(fleet, accounts) == "first"


def test_account_that_hangs_is_left_alone_when_the_first_handovers_time_out() -> None:
    circuit = Circuit(BREAKER)
    # Busy until 100 s, when it began to hang; a handover waits 20 s for its answer.
    for tick in range(1, 3_000):
        circuit.record(Ticket(0, is_probe=False), Verdict.SUCCESS, 70 + tick / 100)
    for late in range(25):
        circuit.record(Ticket(0, is_probe=False), Verdict.FAILURE, 120 + late / 100)
    assert circuit.state(121) is BreakerState.OPEN


@pytest.mark.parametrize("outcome", BAD)
async def test_account_that_keeps_failing_is_left_alone_for_a_while(
    fleet: Fleet, accounts: tuple[Account, Account], clock: FakeClock, outcome: Outcome
) -> None:
    for _ in range(2):
        await ask(fleet, accounts[0], answer(outcome))
    assert await taken(fleet, accounts) == "second"
    with pytest.raises(BreakerOpen):
        await ask(fleet, accounts[0], answer(Outcome.ACCEPTED))
    clock.now_s += 5
    assert await taken(fleet, accounts) == "first"
    await ask(fleet, accounts[0], answer(Outcome.ACCEPTED))
    assert await taken(fleet, accounts) == "first"


@pytest.mark.parametrize("outcome", GOOD)
async def test_answer_about_the_mail_says_nothing_against_the_account(
    fleet: Fleet, accounts: tuple[Account, Account], clock: FakeClock, outcome: Outcome
) -> None:
    for _ in range(5):
        await ask(fleet, accounts[0], answer(outcome))
        clock.now_s += 1
    assert await taken(fleet, accounts) == "first"


async def test_suspended_account_is_not_asked_again_at_once_and_ever_more_rarely(
    fleet: Fleet, accounts: tuple[Account, Account], clock: FakeClock
) -> None:
    waits = []
    for _ in range(4):
        await ask(fleet, accounts[0], answer(Outcome.SUSPENDED))
        assert await taken(fleet, accounts) == "second"
        waits.append(fleet.shortest_wait_s(accounts[:1], DOMAIN))
        clock.now_s += waits[-1]
    assert waits == [5, 10, 20, 20]


async def test_domain_that_an_account_does_not_know_costs_others_nothing(
    fleet: Fleet, accounts: tuple[Account, Account], clock: FakeClock
) -> None:
    for _ in range(5):
        await ask(fleet, accounts[0], answer(Outcome.SUSPENDED, concerns="sender"))
    assert await taken(fleet, accounts) == "second"
    assert await taken(fleet, accounts, OTHER_DOMAIN) == "first"
    clock.now_s += 60
    assert await taken(fleet, accounts) == "first"


@pytest.mark.parametrize(("asked_s", "waited_s"), [(None, 1), (0.0, 1), (7.0, 7), (1e9, 600)])
async def test_account_that_asks_for_a_pause_gets_it(
    fleet: Fleet,
    accounts: tuple[Account, Account],
    clock: FakeClock,
    asked_s: float | None,
    waited_s: float,
) -> None:
    await ask(fleet, accounts[0], answer(Outcome.THROTTLED, pause_s=asked_s))
    assert await taken(fleet, accounts) == "second"
    assert fleet.shortest_wait_s(accounts[:1], DOMAIN) == waited_s
    clock.now_s += waited_s
    assert await taken(fleet, accounts) == "first"


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


async def test_account_whose_rate_is_used_up_is_passed_over(
    fleet: Fleet, accounts: tuple[Account, Account], clock: FakeClock
) -> None:
    accounts[0].rate_per_s = 2.0
    asked = [await taken(fleet, accounts) for _ in range(4)]
    assert asked == ["first", "first", "second", "second"]
    clock.now_s += 0.5
    assert [await taken(fleet, accounts) for _ in range(2)] == ["first", "second"]


async def test_account_at_its_own_rate_has_not_asked_for_a_pause(
    fleet: Fleet, accounts: tuple[Account, Account], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_module, "PATIENCE_S", 0.01)
    accounts[0].rate_per_s = 0.1
    assert [await taken(fleet, accounts[:1]) for _ in range(2)] == ["first", None]
    assert fleet.shortest_wait_s(accounts[:1], DOMAIN) == 10
    state = fleet.state_of(accounts[0])
    assert (state.condition, state.wait_s) == (AccountCondition.WELL, None)
    await ask(fleet, accounts[0], answer(Outcome.THROTTLED, pause_s=3.0))
    state = fleet.state_of(accounts[0])
    assert (state.condition, state.wait_s) == (AccountCondition.PAUSED, 3)


async def hand_over(fleet: Fleet, account: Account, count: int) -> list[Place]:
    """So many handovers that have begun."""
    given = [await fleet.take([account], DOMAIN, tenant_id=TENANT) for _ in range(count)]
    places = [place for place in given if place is not None]
    assert len(places) == count
    for place in places:
        place.begin_handover()
    return places


async def test_account_that_hangs_is_passed_over_and_a_busy_one_is_waited_for(
    fleet: Fleet, accounts: tuple[Account, Account], clock: FakeClock
) -> None:
    places = await hand_over(fleet, accounts[0], 6)
    waiting = asyncio.create_task(taken(fleet, accounts))
    await asyncio.sleep(0)
    places[0].release()
    assert await waiting == "first"
    await hand_over(fleet, accounts[0], 1)
    clock.now_s += 3
    assert await taken(fleet, accounts) == "second"
    # One handover ends after all, so they do not hang.
    places[1].release()
    assert await taken(fleet, accounts) == "first"


async def test_account_that_is_busy_for_longer_than_anybody_waits_keeps_its_mail(
    fleet: Fleet,
    accounts: tuple[Account, Account],
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(desks_module, "PATIENCE_S", 0.01)
    places = await hand_over(fleet, accounts[0], 6)
    for place in places:
        clock.now_s += 1
        assert await taken(fleet, accounts) is None
        place.release()
        assert await taken(fleet, accounts) == "first"
        await hand_over(fleet, accounts[0], 1)


async def test_receiver_that_is_busy_keeps_its_mail_from_the_next_account(
    fleet: Fleet, accounts: tuple[Account, Account], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desks_module, "PATIENCE_S", 0.01)
    monkeypatch.setattr(accounts[0], "connections_per_domain", 1, raising=False)
    places = [
        await fleet.take(accounts, DOMAIN, tenant_id=TENANT, receivers=[receiver])
        for receiver in ("slow.example", "slow.example", "other.example")
    ]
    assert [place and place.provider.account for place in places] == ["first", None, "first"]


async def test_lone_account_may_use_the_whole_process(clock: FakeClock) -> None:
    only = Account("only")
    fleet = Fleet(
        [only, Account("inbox", is_outside=False)],
        concurrency=10,
        breaker=Breaker("test", CONFIG, clock=clock),
        limiter=LocalLimiter(),
    )
    assert None not in [await fleet.take([only], DOMAIN, tenant_id=TENANT) for _ in range(10)]


async def test_where_no_account_may_be_asked_it_waits_for_a_moment_only(
    fleet: Fleet, accounts: tuple[Account, Account], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_module, "PATIENCE_S", 0.01)
    for account in accounts:
        await ask(fleet, account, answer(Outcome.THROTTLED, pause_s=50.0))
    assert await taken(fleet, accounts) is None
    assert fleet.shortest_wait_s(accounts, DOMAIN) == 50


@pytest.mark.parametrize("outcome", [Outcome.REJECTED, Outcome.UNAVAILABLE])
async def test_answer_without_contact_says_nothing_for_or_against_an_account(
    fleet: Fleet, accounts: tuple[Account, Account], clock: FakeClock, outcome: Outcome
) -> None:
    for _ in range(5):
        await ask(fleet, accounts[0], answer(outcome, was_asked=False))
    assert await taken(fleet, accounts) == "first"
    for _ in range(2):
        await ask(fleet, accounts[0], answer(Outcome.UNAVAILABLE))
    clock.now_s += 5
    await ask(fleet, accounts[0], answer(outcome, was_asked=False))
    # The probe has not found out anything, so the next email is one as well.
    states = {state.account: state.condition for state in fleet.states()}
    assert states["first"] is AccountCondition.HALF_OPEN


@pytest.mark.parametrize("outcome", [Outcome.UNAVAILABLE, Outcome.THROTTLED])
async def test_refused_sender_costs_others_nothing(
    fleet: Fleet, accounts: tuple[Account, Account], outcome: Outcome
) -> None:
    for _ in range(10):
        await ask(fleet, accounts[0], answer(outcome, concerns="sender"))
    assert await taken(fleet, accounts) == "second"
    assert await taken(fleet, accounts, OTHER_DOMAIN) == "first"


async def test_delivery_of_a_paused_domain_gives_way_to_others_at_once(
    fleet: Fleet, accounts: tuple[Account, Account], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_module, "PATIENCE_S", 1_000.0)
    for account in accounts:
        await ask(fleet, account, answer(Outcome.SUSPENDED, concerns="sender"))
    async with asyncio.timeout(10):
        assert await taken(fleet, accounts) is None
    assert fleet.shortest_wait_s(accounts, DOMAIN) == 60


async def test_cancelled_handover_says_nothing(
    fleet: Fleet, accounts: tuple[Account, Account]
) -> None:
    async def hang() -> None:
        async with fleet.guard(accounts[0]):
            await asyncio.Event().wait()

    for _ in range(20):
        task = asyncio.create_task(hang())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert await taken(fleet, accounts) == "first"


async def test_account_of_a_tenant_that_is_busy_keeps_its_mail_and_one_that_hangs_does_not(
    clock: FakeClock,
) -> None:
    platform, own = Account("platform"), Account("own")
    fleet = Fleet(
        [platform],
        concurrency=10,
        breaker=Breaker("test", CONFIG, clock=clock),
        limiter=LocalLimiter(clock=clock),
        clock=clock,
    )
    ways = [own, platform]
    busy = [await fleet.take(ways, DOMAIN, tenant_id=TENANT) for _ in range(2)]
    for held in busy:
        assert held is not None
        assert held.provider is own
        held.begin_handover()
    waiting = asyncio.create_task(fleet.take(ways, DOMAIN, tenant_id=TENANT))
    await asyncio.sleep(0)
    assert await fleet.take(ways, DOMAIN, tenant_id=TENANT) is None
    clock.now_s += 3
    place = await fleet.take(ways, DOMAIN, tenant_id=TENANT)
    assert place is not None
    assert place.provider.account == "platform"
    assert busy[0] is not None
    busy[0].release()
    freed = await waiting
    assert freed is not None
    assert freed.provider.account == "own"
