"""One request has one fingerprint, and one operation runs once for all who ask meanwhile."""

import asyncio
import hashlib

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from tallypost_resilience.idempotency import (
    MAX_KEY_LENGTH,
    SingleFlight,
    fingerprint,
    is_usable_key,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=10,
)


class Sample(Struct):
    """A request as an edge decodes it."""

    headers: dict[str, str]
    subject: str | None = None


def reversed_objects(value: object) -> object:
    """The same JSON with the keys of each object in the opposite order."""
    if isinstance(value, dict):
        return {key: reversed_objects(value[key]) for key in reversed(value)}
    return [reversed_objects(item) for item in value] if isinstance(value, list) else value


@given(JSON)
def test_order_of_keys_makes_no_difference(value: object) -> None:
    assert fingerprint(value) == fingerprint(reversed_objects(value))


@given(JSON, JSON)
def test_different_requests_have_different_fingerprints(one: object, other: object) -> None:
    # Python calls True and 1 equal; JSON does not.
    assert (fingerprint(one) == fingerprint(other)) == (repr_of(one) == repr_of(other))


def repr_of(value: object) -> str:
    """A text that two JSON values share only where they are the same."""
    if isinstance(value, dict):
        return f"{{{sorted((key, repr_of(value[key])) for key in value)}}}"
    return f"{[repr_of(item) for item in value]}" if isinstance(value, list) else repr(value)


def test_fingerprint_is_the_same_in_every_process() -> None:
    canonical = b'{"headers":{"a":"1","b":"2"},"subject":null}'
    request = Sample(headers={"b": "2", "a": "1"})
    assert fingerprint(request) == hashlib.sha256(canonical).digest()


@pytest.mark.parametrize(
    ("key", "is_usable"),
    [("", False), ("k", True), ("k" * MAX_KEY_LENGTH, True), ("k" * (MAX_KEY_LENGTH + 1), False)],
)
def test_key_has_1_to_256_characters(key: str, is_usable: bool) -> None:
    assert is_usable_key(key) is is_usable


class Operation:
    """Runs until it is let go, and knows how often it began."""

    def __init__(self, error: Exception | None = None) -> None:
        self.runs = 0
        self.go = asyncio.Event()
        self._error = error

    async def __call__(self) -> int:
        self.runs += 1
        await self.go.wait()
        if self._error is not None:
            raise self._error
        return self.runs


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_callers_at_the_same_time_share_one_run() -> None:
    flights, operation = SingleFlight[str, int]("test"), Operation()
    callers = [asyncio.create_task(flights.run("key", operation)) for _ in range(10)]
    await settle()
    operation.go.set()
    assert await asyncio.gather(*callers) == [1] * 10
    assert (operation.runs, len(flights)) == (1, 0)


async def test_caller_after_the_end_starts_anew() -> None:
    flights, operation = SingleFlight[str, int]("test"), Operation()
    operation.go.set()
    assert [await flights.run("key", operation) for _ in range(3)] == [1, 2, 3]


async def test_keys_run_apart() -> None:
    flights, operation = SingleFlight[str, int]("test"), Operation()
    callers = [asyncio.create_task(flights.run(key, operation)) for key in ("one", "another")]
    await settle()
    assert operation.runs == 2
    operation.go.set()
    await asyncio.gather(*callers)


async def test_caller_that_gives_up_does_not_end_it_for_the_others() -> None:
    flights, operation = SingleFlight[str, int]("test"), Operation()
    first, second = (asyncio.create_task(flights.run("key", operation)) for _ in range(2))
    await settle()
    first.cancel()
    await settle()
    operation.go.set()
    assert await second == 1
    assert first.cancelled()


async def test_run_goes_on_though_every_caller_gave_up() -> None:
    flights, operation = SingleFlight[str, int]("test"), Operation()
    caller = asyncio.create_task(flights.run("key", operation))
    await settle()
    caller.cancel()
    await settle()
    assert len(flights) == 1
    late = asyncio.create_task(flights.run("key", operation))
    await settle()
    operation.go.set()
    assert await late == 1


async def test_error_reaches_all_and_is_not_remembered() -> None:
    flights, operation = SingleFlight[str, int]("test"), Operation(KeyError("no"))
    callers = [asyncio.create_task(flights.run("key", operation)) for _ in range(3)]
    await settle()
    operation.go.set()
    ends = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(end) for end in ends] == [KeyError] * 3
    with pytest.raises(KeyError):
        await flights.run("key", operation)
    assert operation.runs == 2


async def test_error_that_nobody_hears_is_logged_without_its_text() -> None:
    flights, operation = SingleFlight[str, int]("test"), Operation(KeyError("someone@example.com"))
    caller = asyncio.create_task(flights.run("key", operation))
    await settle()
    caller.cancel()
    await settle()
    with structlog.testing.capture_logs() as logs:
        operation.go.set()
        await settle()
    assert [entry["event"] for entry in logs] == ["single_flight.unheard"]
    assert "someone" not in str(logs)
