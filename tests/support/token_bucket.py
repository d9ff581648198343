"""The exact model that every limiter is judged by."""

from fractions import Fraction

from msgspec import Struct


class TokenBucket(Struct):
    """Tokens as fractions, refilled as time passes; time is in whole microseconds."""

    rate: Fraction
    burst: int
    tokens: Fraction
    at_us: int

    @classmethod
    def full(cls, rate: Fraction, burst: int, now_us: int) -> "TokenBucket":
        """An idle key's bucket."""
        return cls(rate, burst, Fraction(burst), now_us)

    def take(self, now_us: int, cost: int) -> bool:
        """Take cost tokens, or none where there are too few."""
        self.tokens = min(
            Fraction(self.burst),
            self.tokens + self.rate * Fraction(now_us - self.at_us, 1_000_000),
        )
        self.at_us = now_us
        if self.tokens < cost:
            return False
        self.tokens -= cost
        return True

    def reset_s(self) -> float:
        """Seconds until the bucket is full again."""
        return float((self.burst - self.tokens) / self.rate)

    def wait_s(self, cost: int) -> float:
        """Seconds until cost tokens are there; 0 where they are."""
        return float(max(Fraction(0), (cost - self.tokens) / self.rate))
