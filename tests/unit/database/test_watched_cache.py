"""What is remembered serves for a moment, is asked for once, and makes room."""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

import pytest

from tallypost_core import clock
from tallypost_core.ids import new_id
from tallypost_domain.db.notifications import ChangeFeed
from tallypost_domain.db.watched_cache import Answer, WatchedCache

TENANT, OTHER_TENANT = new_id(), new_id()


def answering(value: str, tenant_id: UUID = TENANT) -> Callable[[], Awaitable[Answer[str]]]:
    """A question whose answer is this."""

    async def ask() -> Answer[str]:
        return Answer(tenant_id, value)

    return ask


def cache(size: int = 10) -> WatchedCache[str, str]:
    """A cache beside a feed that has not connected."""
    feed = ChangeFeed("postgresql://nobody@127.0.0.1:9/none", app="test")
    return WatchedCache(feed, size=size, tables=("domains",))


async def test_answer_serves_for_less_than_a_second_without_a_feed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clock, "monotonic_s", lambda: 1000.0)
    remembered = cache()
    assert await remembered.get("a", answering("old")) == "old"
    monkeypatch.setattr(clock, "monotonic_s", lambda: 1000.5)
    assert await remembered.get("a", answering("new")) == "old"
    monkeypatch.setattr(clock, "monotonic_s", lambda: 1001.0)
    assert remembered.find("a") is None
    assert await remembered.get("a", answering("new")) == "new"


async def test_only_changes_of_the_tenant_and_of_these_tables_are_forgotten() -> None:
    remembered = cache()
    await remembered.get("own", answering("own"))
    await remembered.get("other", answering("other", OTHER_TENANT))
    remembered.forget_tenant("streams", TENANT)
    assert (remembered.find("own"), remembered.find("other")) == ("own", "other")
    remembered.forget_tenant("domains", TENANT)
    assert (remembered.find("own"), remembered.find("other")) == (None, "other")
    remembered.forget_all()
    assert remembered.find("other") is None


async def test_oldest_answer_makes_room() -> None:
    remembered = cache(size=2)
    for key in ("a", "b", "c"):
        await remembered.get(key, answering(key))
    assert [remembered.find(key) for key in ("a", "b", "c")] == [None, "b", "c"]
    remembered.forget_tenant("domains", TENANT)
    assert [remembered.find(key) for key in ("b", "c")] == [None, None]


async def test_error_is_told_to_all_who_ask_and_not_remembered() -> None:
    remembered = cache()
    asked = 0

    async def fail() -> Answer[str]:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        raise LookupError

    outcomes = await asyncio.gather(
        *(remembered.get("a", fail) for _ in range(3)), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [LookupError] * 3
    assert asked == 1
    assert await remembered.get("a", answering("later")) == "later"


async def test_who_gives_up_takes_the_answer_from_nobody() -> None:
    remembered = cache()
    gate = asyncio.Event()

    async def wait() -> Answer[str]:
        await gate.wait()
        return Answer(TENANT, "late")

    impatient = asyncio.create_task(remembered.get("a", wait))
    patient = asyncio.create_task(remembered.get("a", wait))
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.gather(impatient, return_exceptions=True)
    gate.set()
    assert await patient == "late"


async def test_answer_that_was_asked_for_earlier_does_not_replace_a_newer_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s = 1000.0
    monkeypatch.setattr(clock, "monotonic_s", lambda: now_s)
    remembered = cache()
    gate = asyncio.Event()

    async def slow() -> Answer[str]:
        await gate.wait()
        return Answer(TENANT, "old")

    first = asyncio.create_task(remembered.get("a", slow))
    for _ in range(3):
        await asyncio.sleep(0)
    # Too long ago for anybody to wait for the same answer.
    now_s += 0.5
    assert await remembered.get("a", answering("new")) == "new"
    gate.set()
    assert await first == "old"
    assert remembered.find("a") == "new"
