"""Slows down guessing of passwords.

Five attempts in 15 minutes for each account from each address: somebody else's guesses do not
lock the owner out, who comes from another address.
"""

import hashlib
import secrets

from tallypost_core.ttl_cache import TTLCache
from tallypost_domain.people.errors import TooManySignIns
from tallypost_resilience.limiter import Limiter

ATTEMPTS = 5
WINDOW_S = 15 * 60

_MAX_ACCOUNTS = 100_000


class SignInThrottle:
    """Counts attempts to sign in, by account and address. A success ends the count."""

    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter
        self._counts: TTLCache[str, str] = TTLCache(size=_MAX_ACCOUNTS, ttl_s=WINDOW_S)

    async def require_attempt(self, email: str, ip_address: str | None) -> None:
        """Count one attempt; raises TooManySignIns with the time to wait where it is one too many.

        Call it before the password is looked at, so that guesses made at once count as well.
        """
        account = _account(email, ip_address)
        count = self._counts.find(account) or ""
        if count:
            # Kept while it is in use: forgotten earlier, it would give its attempts once more.
            self._counts.put(account, count)
        key = f"sign_in:{account}:{count}"
        decision = await self._limiter.take(key, ATTEMPTS / WINDOW_S, ATTEMPTS)
        if not decision.allowed:
            raise TooManySignIns(retry_after_s=decision.retry_after_s)

    def record_success(self, email: str, ip_address: str | None) -> None:
        """Begin a new count. It has a name of its own, because a limiter forgets nothing early."""
        self._counts.put(_account(email, ip_address), secrets.token_hex(8))


def _account(email: str, ip_address: str | None) -> str:
    # Hashed, so that a key has one length and shows nobody's address.
    text = f"{email.strip().lower()} {ip_address}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
