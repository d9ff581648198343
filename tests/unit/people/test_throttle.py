"""Attempts to sign in are few enough that nobody guesses a password."""

import pytest

from tallypost_core import clock
from tallypost_domain.people.errors import TooManySignIns
from tallypost_domain.people.throttle import ATTEMPTS, WINDOW_S, SignInThrottle
from tallypost_resilience.limiter import LocalLimiter

ADA = "ada@example.com"
HOME = "192.0.2.7"


class Clock:
    """Seconds that move by hand."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the throttle and of its memory."""
    fake = Clock()
    monkeypatch.setattr(clock, "monotonic_s", fake)
    return fake


@pytest.fixture
def throttle(time: Clock) -> SignInThrottle:
    """A throttle that has counted nothing."""
    return SignInThrottle(LocalLimiter(clock=time))


async def use_up(throttle: SignInThrottle) -> None:
    for _ in range(ATTEMPTS):
        await throttle.require_attempt(ADA, HOME)


async def test_sixth_attempt_is_refused_with_the_time_to_wait(throttle: SignInThrottle) -> None:
    await use_up(throttle)
    with pytest.raises(TooManySignIns) as raised:
        await throttle.require_attempt(ADA, HOME)
    assert raised.value.retry_after_s == pytest.approx(WINDOW_S / ATTEMPTS)


async def test_spelling_of_the_address_makes_no_other_account(throttle: SignInThrottle) -> None:
    await use_up(throttle)
    with pytest.raises(TooManySignIns):
        await throttle.require_attempt(" ADA@Example.com ", HOME)


@pytest.mark.parametrize(
    ("email", "ip_address"), [(ADA, "192.0.2.8"), ("bo@example.com", HOME), (ADA, None)]
)
async def test_another_account_or_address_is_counted_apart(
    throttle: SignInThrottle, email: str, ip_address: str | None
) -> None:
    await use_up(throttle)
    await throttle.require_attempt(email, ip_address)


async def test_one_attempt_comes_back_every_three_minutes(
    throttle: SignInThrottle, time: Clock
) -> None:
    await use_up(throttle)
    time.now_s += WINDOW_S / ATTEMPTS
    await throttle.require_attempt(ADA, HOME)
    with pytest.raises(TooManySignIns):
        await throttle.require_attempt(ADA, HOME)


async def test_success_ends_the_count(throttle: SignInThrottle) -> None:
    for _ in range(3):
        await use_up(throttle)
        throttle.record_success(ADA, HOME)
    await use_up(throttle)
    with pytest.raises(TooManySignIns):
        await throttle.require_attempt(ADA, HOME)


async def test_count_after_a_success_is_kept_while_it_is_in_use(
    throttle: SignInThrottle, time: Clock
) -> None:
    throttle.record_success(ADA, HOME)
    time.now_s += WINDOW_S - 1
    await use_up(throttle)
    time.now_s += 2
    with pytest.raises(TooManySignIns):
        await throttle.require_attempt(ADA, HOME)
