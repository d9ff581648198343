"""The cache forgets in time and never grows."""

import pytest

from tallypost_core import clock
from tallypost_core.ttl_cache import TTLCache


class Clock:
    """Time as the test sets it."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The monotonic clock, in the test's hands."""
    stopped = Clock()
    monkeypatch.setattr(clock, "monotonic_s", stopped)
    return stopped


def test_value_is_found_until_it_is_as_old_as_the_limit(now: Clock) -> None:
    cache: TTLCache[str, int] = TTLCache(size=10, ttl_s=1.0)
    assert cache.find("a") is None
    cache.put("a", 1)
    now.now_s += 0.999
    assert cache.find("a") == 1
    now.now_s += 0.001
    assert cache.find("a") is None


def test_finding_a_value_does_not_make_it_live_longer(now: Clock) -> None:
    cache: TTLCache[str, int] = TTLCache(size=10, ttl_s=1.0)
    cache.put("a", 1)
    for _ in range(3):
        now.now_s += 0.3
        assert cache.find("a") == 1
    now.now_s += 0.3
    assert cache.find("a") is None


def test_answer_that_took_a_while_is_that_much_older(now: Clock) -> None:
    cache: TTLCache[str, int] = TTLCache(size=10, ttl_s=1.0)
    asked_at_s = now.now_s
    now.now_s += 0.8
    cache.put("a", 1, as_of_s=asked_at_s)
    assert cache.find("a") == 1
    now.now_s += 0.2
    assert cache.find("a") is None


def test_answer_that_is_too_old_when_it_comes_is_not_found(now: Clock) -> None:
    cache: TTLCache[str, int] = TTLCache(size=10, ttl_s=1.0)
    cache.put("a", 1, as_of_s=now.now_s - 1.0)
    assert cache.find("a") is None


@pytest.mark.usefixtures("now")
def test_full_cache_gives_the_place_of_the_oldest_to_a_new_value() -> None:
    cache: TTLCache[str, int] = TTLCache(size=2, ttl_s=1.0)
    cache.put("a", 1)
    cache.put("b", 2)
    # Put again, it is the newest.
    cache.put("a", 3)
    cache.put("c", 4)
    assert [cache.find(key) for key in "abc"] == [3, None, 4]


@pytest.mark.usefixtures("now")
def test_forgotten_value_is_gone_and_forgetting_twice_is_harmless() -> None:
    cache: TTLCache[str, int] = TTLCache(size=2, ttl_s=1.0)
    cache.put("a", 1)
    cache.forget("a")
    cache.forget("a")
    assert cache.find("a") is None


@pytest.mark.usefixtures("now")
def test_falsy_values_are_values() -> None:
    cache: TTLCache[str, tuple[int, ...]] = TTLCache(size=2, ttl_s=1.0)
    cache.put("a", ())
    assert cache.find("a") == ()
