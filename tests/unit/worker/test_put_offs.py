"""What cannot leave comes back ever more rarely, spread, and soon enough for a person."""

import time
from uuid import UUID

import pytest

from tallypost_core.ids import new_id
from tallypost_domain.queue.claims import FIRST_FENCE_AGAIN, FIRST_FENCE_RELEASED
from tallypost_domain.queue.types import Claim
from tallypost_worker.put_offs import LONGEST_S, next_wait_s

DAY_S = 86_400.0


def claim(fence: int, *, attempt: int = 0, age_s: float = DAY_S) -> Claim:
    """Of an email that was accepted so long ago."""
    made_ms = int((time.time() - age_s) * 1000)
    email_id = UUID(int=new_id().int & ((1 << 80) - 1) | made_ms << 80)
    return Claim(new_id(), email_id, "transactional", fence, attempt)


def bounds(
    *args: float, fence: int = 1, attempt: int = 0, age_s: float = DAY_S
) -> tuple[float, float]:
    """The shortest and the longest of many waits."""
    waits = [next_wait_s(claim(fence, attempt=attempt, age_s=age_s), *args) for _ in range(300)]
    return min(waits), max(waits)


def test_first_wait_is_what_is_known_and_a_little_more() -> None:
    shortest_s, longest_s = bounds(5.0, 2.0)
    assert 5.0 <= shortest_s < longest_s <= 7.0


def test_email_that_is_put_off_for_some_seconds_waits_as_long_each_time() -> None:
    for fence in range(1, 6):
        assert bounds(0.0, 2.0, fence=fence)[1] <= 2.0
    assert bounds(0.0, 2.0, fence=9)[1] > 4.0


def test_email_that_is_put_off_again_waits_longer_and_apart_from_the_others() -> None:
    before_s = 0.0
    for fence in range(2, 40):
        shortest_s, longest_s = bounds(0.0, 60.0, fence=fence)
        assert longest_s <= LONGEST_S
        assert longest_s > 1.3 * shortest_s
        assert longest_s > before_s or longest_s > 0.9 * LONGEST_S
        before_s = longest_s
    assert shortest_s >= LONGEST_S / 3


def test_longest_wait_counts_for_what_is_known_to_last_longer() -> None:
    shortest_s, longest_s = bounds(600.0, 2.0)
    assert LONGEST_S / 2 <= shortest_s < longest_s <= LONGEST_S


@pytest.mark.parametrize("base", [FIRST_FENCE_RELEASED, FIRST_FENCE_AGAIN, 7 * FIRST_FENCE_AGAIN])
def test_row_that_was_let_go_on_begins_with_a_short_wait(base: int) -> None:
    assert bounds(0.0, 2.0, fence=base + 1)[1] <= 2.0


def test_nothing_waits_much_longer_than_it_has_been_there() -> None:
    # Many claims in a minute: it went from one account to the next, round after round.
    assert bounds(0.0, 2.0, fence=60, age_s=60.0)[1] <= 30.0
    assert bounds(0.0, 2.0, fence=60, age_s=1.0)[1] <= 2.0
    assert bounds(0.0, 2.0, fence=60)[1] > 200.0


def test_claims_that_led_to_a_handover_are_no_put_offs() -> None:
    assert bounds(0.0, 2.0, fence=9, attempt=8)[1] <= 2.0


def test_fence_however_high_has_a_wait() -> None:
    assert bounds(0.0, 2.0, fence=FIRST_FENCE_RELEASED - 1)[1] <= LONGEST_S
