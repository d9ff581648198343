"""What hangs at one account, or at one receiver, leaves room for the others."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import pytest

from tallypost_core.ids import new_id
from tallypost_providers.places import Places
from tallypost_telemetry import metrics
from tallypost_worker import desks as desks_module
from tallypost_worker.desks import Desks, Place
from tests.unit.providers.test_router import Account
from tests.unit.worker.test_fleet import FakeClock

FIRST, SECOND = Account("first"), Account("second")
TENANT = new_id()


class Limited(Account):
    """Lets so many handovers to one recipient domain go on at a time."""

    def __init__(self, account: str, connections_per_domain: int) -> None:
        super().__init__(account)
        self.connections_per_domain = connections_per_domain


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desks_module, "PATIENCE_S", 0.01)


def make(*platform: Account, concurrency: int = 20) -> Desks:
    return Desks(platform, concurrency, FakeClock())


async def enter(
    desks: Desks, way: Account, *receivers: str, tenant_id: UUID = TENANT
) -> Place | None:
    return await desks.enter(way, tenant_id, receivers, is_bulk=False)


async def enter_all(
    desks: Desks, way: Account, count: int, *receivers: str, tenant_id: UUID = TENANT
) -> list[Place]:
    """The places that are given to so many who come one after the other."""
    given = [await enter(desks, way, *receivers, tenant_id=tenant_id) for _ in range(count)]
    return [place for place in given if place is not None]


def hand_over(places: Sequence[Place]) -> None:
    for place in places:
        place.begin_handover()


def release(places: Sequence[Place]) -> None:
    for place in places:
        place.release()


async def test_lone_account_of_the_platform_may_have_all_deliveries() -> None:
    assert len(await enter_all(make(FIRST), FIRST, 50)) == 50


async def test_one_of_several_leaves_room_for_the_others() -> None:
    desks = make(FIRST, SECOND)
    assert len(await enter_all(desks, FIRST, 13)) == 12
    assert len(await enter_all(desks, SECOND, 1)) == 1


async def test_one_account_of_a_tenant_leaves_room_for_its_others() -> None:
    desks = make(FIRST)
    assert len(await enter_all(desks, Account("own"), 5)) == 3
    # And all that it has are a quarter.
    assert len(await enter_all(desks, Account("another"), 5)) == 2
    assert len(await enter_all(desks, Account("a-third"), 5)) == 0
    assert len(await enter_all(desks, FIRST, 20)) == 20


async def test_tenants_whose_accounts_hang_leave_the_last_places_to_those_who_have_none() -> None:
    desks = make(FIRST)
    given = [
        len(await enter_all(desks, Account(f"own-{number}"), 5, tenant_id=new_id()))
        for number in range(7)
    ]
    # Twelve of twenty are for all of them together.
    assert given == [3, 3, 3, 1, 1, 1, 0]
    assert len(await enter_all(desks, FIRST, 20)) == 20


async def test_place_that_is_given_back_is_free_again() -> None:
    desks, own = make(FIRST), Account("own")
    places = await enter_all(desks, own, 3)
    assert await enter(desks, own) is None
    release(places[:1])
    assert await enter(desks, own) is not None


async def test_who_waits_for_a_tenants_account_waits_in_a_short_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(desks_module, "PATIENCE_S", 60.0)
    desks, own, another = make(FIRST), Account("own"), Account("another")
    places = await enter_all(desks, own, 3)
    others = new_id()
    await enter_all(desks, another, 3, tenant_id=others)
    # A tenth of the deliveries, which are 20, whomever they wait for.
    waiting = [asyncio.create_task(enter(desks, own)) for _ in range(2)]
    await asyncio.sleep(0)
    assert await enter(desks, own) is None
    assert await enter(desks, another, tenant_id=others) is None
    release(places[:2])
    assert all(place is not None for place in await asyncio.gather(*waiting))


async def test_receiver_gets_no_more_at_a_time_than_the_account_allows() -> None:
    relay = Limited("relay", 2)
    desks = make(relay)
    slow = await enter_all(desks, relay, 3, "slow.example")
    assert len(slow) == 2
    assert len(await enter_all(desks, relay, 2, "other.example")) == 2
    release(slow[:1])
    assert await enter(desks, relay, "slow.example") is not None


async def test_email_to_several_domains_needs_a_place_at_each_and_keeps_none_in_vain() -> None:
    relay = Limited("relay", 1)
    desks = make(relay)
    held = await enter(desks, relay, "b.example")
    assert held is not None
    assert await enter(desks, relay, "a.example", "b.example") is None
    alone = await enter(desks, relay, "a.example")
    assert alone is not None
    release([held, alone])
    assert await enter(desks, relay, "a.example", "b.example") is not None


async def test_account_without_a_bound_asks_for_no_receivers() -> None:
    assert len(await enter_all(make(FIRST), FIRST, 30, "slow.example")) == 30


async def test_cancelled_wait_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desks_module, "PATIENCE_S", 60.0)
    relay = Limited("relay", 1)
    desks = make(relay)
    held = await enter(desks, relay, "b.example")
    assert held is not None
    waiting = asyncio.create_task(enter(desks, relay, "a.example", "b.example"))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert await enter(desks, relay, "a.example") is not None
    held.release()
    assert await enter(desks, relay, "b.example") is not None


async def test_desks_of_those_who_have_gone_are_forgotten() -> None:
    relay, own = Limited("relay", 1), Account("own")
    desks = make(relay)
    for number in range(100):
        release(await enter_all(desks, relay, 1, f"{number}.example"))
        release(await enter_all(desks, own, 1))
    assert desks.passing == 0


async def test_account_whose_handovers_do_not_end_is_stuck() -> None:
    clock = FakeClock()
    own, other = Account("own"), Account("other")
    desks = Desks([FIRST], 20, clock)
    places = await enter_all(desks, own, 3)
    hand_over(places)
    assert not desks.is_stuck(own)
    clock.now_s += 3
    assert desks.is_stuck(own)
    assert not desks.is_stuck(other)
    assert not desks.is_stuck(FIRST)
    release(places[:1])
    assert not desks.is_stuck(own)


async def test_account_that_was_slow_once_is_not_stuck_as_soon_as_it_is_full() -> None:
    clock = FakeClock()
    desks, own = Desks([FIRST], 20, clock), Account("own")
    hand_over(await enter_all(desks, own, 1))
    clock.now_s += 60
    hand_over(await enter_all(desks, own, 2))
    assert not desks.is_stuck(own)
    clock.now_s += 3
    assert desks.is_stuck(own)


async def test_wait_for_something_of_ours_says_nothing_against_an_account() -> None:
    clock = FakeClock()
    desks, own = Desks([FIRST], 20, clock), Account("own")
    places = await enter_all(desks, own, 3)
    # One that is slow, while two wait for memory or for the database.
    hand_over(places[:1])
    clock.now_s += 30
    assert not desks.is_stuck(own)
    # They begin: only from here on is anybody kept by the account.
    hand_over(places[1:])
    clock.now_s += 1
    assert not desks.is_stuck(own)
    clock.now_s += 2
    assert desks.is_stuck(own)


async def test_place_that_was_only_passed_through_does_not_unstick_an_account() -> None:
    clock = FakeClock()
    desks, own = Desks([FIRST], 20, clock), Account("own")
    places = await enter_all(desks, own, 3)
    hand_over(places)
    clock.now_s += 3
    assert desks.is_stuck(own)
    # It found no connection.
    places[2].withdraw_handover()
    release(places[2:])
    assert not desks.is_stuck(own)
    again = await enter_all(desks, own, 1)
    assert desks.is_stuck(own)
    hand_over(again)
    release(again)
    hand_over(await enter_all(desks, own, 1))
    assert not desks.is_stuck(own)


async def test_email_to_many_slow_domains_waits_no_longer_than_one_to_a_single_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    relay = Limited("relay", 1)
    desks = make(relay)
    domains = [f"{number}.example" for number in range(20)]
    for domain in domains:
        assert await enter(desks, relay, domain) is not None
    asked: list[float] = []

    async def wait(_: Places, within_s: float, *, is_bulk: bool) -> None:
        asked.append(within_s)
        await asyncio.sleep(0.001)

    monkeypatch.setattr(desks_module, "PATIENCE_S", 60.0)
    monkeypatch.setattr(Places, "take", wait)
    assert await enter(desks, relay, *domains) is not None
    assert asked == sorted(asked, reverse=True)
    assert asked[0] > asked[-1]


def entries(bulkhead: str) -> dict[str, float]:
    """How many asked for a place there, by what came of it."""
    return {
        result: metrics.REGISTRY.get_sample_value(
            "tallypost_bulkhead_entries_total", {"bulkhead": bulkhead, "result": result}
        )
        or 0.0
        for result in ("entered", "full", "late")
    }


async def test_full_desks_are_counted_and_logged_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    desks, own, before = make(FIRST), Account("own"), entries("own_account")
    places = await enter_all(desks, own, 3)
    assert await enter(desks, own) is None
    monkeypatch.setattr(desks_module, "PATIENCE_S", 60.0)
    waiting = [asyncio.create_task(enter(desks, own)) for _ in range(2)]
    await asyncio.sleep(0)
    assert await enter_all(desks, own, 5) == []
    after = entries("own_account")
    assert {result: after[result] - before[result] for result in after} == {
        "entered": 3,
        "late": 1,
        "full": 5,
    }
    assert capsys.readouterr().out.count("bulkhead.full") == 1
    release(places)
    release([place for place in await asyncio.gather(*waiting) if place is not None])
