"""How a rate limit is told on each kind of route."""

import pytest

from tallypost_api.limit_headers import limit_headers
from tallypost_api.style import Style
from tallypost_resilience.limiter import Decision, LocalLimiter


def _told(decision: Decision, rate_per_s: float, burst: int) -> dict[bytes, bytes]:
    return dict(limit_headers(Style.OURS, decision, rate_per_s=rate_per_s, burst=burst))


def test_resends_routes_keep_their_three_numbers() -> None:
    decision = Decision(allowed=True, limit=10, remaining=7, reset_s=2.1, retry_after_s=0.0)
    assert limit_headers(Style.RESEND, decision, rate_per_s=1.0, burst=10) == [
        (b"ratelimit-limit", b"10"),
        (b"ratelimit-remaining", b"7"),
        (b"ratelimit-reset", b"3"),
    ]


@pytest.mark.parametrize(
    ("rate_per_s", "burst", "policy"),
    [
        (10.0, 10, b'"default";q=10;w=1'),
        (0.01, 10, b'"default";q=10;w=1000'),
        (100_000.0, 100_000, b'"default";q=100000;w=1'),
        (3.0, 10, b'"default";q=10;w=4'),
    ],
)
def test_a_policy_says_what_a_key_may_send_at_once_and_when_that_is_back(
    rate_per_s: float, burst: int, policy: bytes
) -> None:
    decision = LocalLimiter(clock=lambda: 0.0).take_now("key", rate_per_s, burst)
    assert _told(decision, rate_per_s, burst)[b"ratelimit-policy"] == policy


def test_what_is_left_and_for_how_long_it_has_to_do() -> None:
    now = 0.0
    limiter = LocalLimiter(clock=lambda: now)
    told = [_told(limiter.take_now("key", 0.1, 3), 0.1, 3)[b"ratelimit"] for _ in range(4)]
    # One more every ten seconds.
    assert told == [
        b'"default";r=2;t=10',
        b'"default";r=1;t=10',
        b'"default";r=0;t=10',
        b'"default";r=0;t=10',
    ]
    now = 4.0
    refused = limiter.take_now("key", 0.1, 3)
    assert _told(refused, 0.1, 3)[b"ratelimit"] == b'"default";r=0;t=6'
    assert refused.retry_after_s == pytest.approx(6.0)
