"""A bulkhead never lets in more than it has places, and never loses one."""

import asyncio
from collections import Counter

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from tallypost_resilience.bulkhead import Bulkhead, BulkheadFull
from tallypost_resilience.deadline import Deadline, DeadlineExceeded

LATER = Deadline.after(3600)


class Gate:
    """Holds callers inside until it opens, and knows how many there are."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.inside: list[str] = []

    async def pass_through(
        self, bulkhead: Bulkhead, name: str, key: str = "key", deadline: Deadline = LATER
    ) -> None:
        async with bulkhead.place(key, deadline):
            self.inside.append(name)
            await self.open.wait()


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(10):
        await asyncio.sleep(0)


@given(
    places=st.integers(1, 4),
    queue_limit=st.integers(0, 4),
    callers=st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(0, 5), st.none() | st.integers(0, 8)),
        max_size=20,
    ),
)
def test_places_are_never_exceeded_and_never_lost(
    places: int, queue_limit: int, callers: list[tuple[str, int, int | None]]
) -> None:
    async def scenario() -> None:
        bulkhead = Bulkhead("test", places=places, queue_limit=queue_limit)
        inside: Counter[str] = Counter()

        async def call(key: str, turns: int) -> None:
            async with bulkhead.place(key, LATER):
                inside[key] += 1
                try:
                    assert inside[key] <= places
                    for _ in range(turns):
                        await asyncio.sleep(0)
                finally:
                    inside[key] -= 1

        async def cancel_after(task: asyncio.Task[None], turns: int) -> None:
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()

        tasks = [asyncio.create_task(call(key, turns)) for key, turns, _ in callers]
        cancels = [
            asyncio.create_task(cancel_after(task, after))
            for task, (_, _, after) in zip(tasks, callers, strict=True)
            if after is not None
        ]
        ends = await asyncio.gather(*tasks, *cancels, return_exceptions=True)
        surprises = [
            end
            for end in ends
            if end is not None and not isinstance(end, BulkheadFull | asyncio.CancelledError)
        ]
        assert surprises == []
        assert len(bulkhead) == 0

    asyncio.run(scenario())


async def test_those_who_wait_come_in_by_the_order_of_their_arrival() -> None:
    bulkhead, gate = Bulkhead("test", places=1, queue_limit=10), Gate()
    async with asyncio.TaskGroup() as group:
        for name in "abcde":
            group.create_task(gate.pass_through(bulkhead, name))
            await settle()
        assert gate.inside == ["a"]
        gate.open.set()
    assert gate.inside == list("abcde")


async def test_full_queue_is_answered_at_once_and_says_when_to_come_back() -> None:
    bulkhead, gate = Bulkhead("test", places=2, queue_limit=1, retry_after_s=7), Gate()
    async with asyncio.TaskGroup() as group:
        for name in "abc":
            group.create_task(gate.pass_through(bulkhead, name))
        await settle()
        with pytest.raises(BulkheadFull) as caught:
            await gate.pass_through(bulkhead, "d")
        assert caught.value.retry_after_s == 7
        gate.open.set()
    assert gate.inside == list("abc")


async def test_waiting_ends_with_the_deadline_and_leaves_the_queue() -> None:
    bulkhead, gate = Bulkhead("test", places=1, queue_limit=1), Gate()
    async with asyncio.TaskGroup() as group:
        group.create_task(gate.pass_through(bulkhead, "a"))
        await settle()
        for _ in range(3):
            with pytest.raises(DeadlineExceeded):
                await gate.pass_through(bulkhead, "late", deadline=Deadline.after(0.01))
        gate.open.set()
    await gate.pass_through(bulkhead, "b")
    assert gate.inside == ["a", "b"]


async def test_keys_have_places_of_their_own() -> None:
    bulkhead, gate = Bulkhead("test", places=1, queue_limit=0), Gate()
    async with asyncio.TaskGroup() as group:
        group.create_task(gate.pass_through(bulkhead, "a", key="one tenant"))
        await settle()
        group.create_task(gate.pass_through(bulkhead, "b", key="another tenant"))
        await settle()
        assert gate.inside == ["a", "b"]
        gate.open.set()


async def test_error_inside_frees_the_place() -> None:
    bulkhead = Bulkhead("test", places=1, queue_limit=0)
    for _ in range(3):
        with pytest.raises(KeyError):
            async with bulkhead.place("key", LATER):
                raise KeyError
    assert len(bulkhead) == 0


async def test_overload_is_logged_once_for_each_time_of_trouble() -> None:
    bulkhead = Bulkhead("test", places=1, queue_limit=0)
    with structlog.testing.capture_logs() as logs:
        for _ in range(2):
            async with bulkhead.place("key", LATER):
                for _ in range(5):
                    with pytest.raises(BulkheadFull):
                        async with bulkhead.place("key", LATER):
                            pass
    assert [entry["event"] for entry in logs] == ["bulkhead.full"] * 2


@pytest.mark.parametrize(("places", "queue_limit"), [(0, 1), (1, -1)])
def test_meaningless_bulkhead_is_refused(places: int, queue_limit: int) -> None:
    with pytest.raises(ValueError, match="at least"):
        Bulkhead("test", places=places, queue_limit=queue_limit)
