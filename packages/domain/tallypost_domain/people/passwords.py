"""Passwords: argon2id, off the event loop.

19 MiB, two passes, one lane: the least that the OWASP password storage cheat sheet recommends.
One hash takes about 40 ms of a core.
"""

import asyncio
import unicodedata

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from tallypost_domain.people.errors import PasswordTooShort

MIN_CHARS = 12

_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1, type=Type.ID)

# The hash of a password that nobody has: comparing with it costs what a real comparison costs,
# so that the time of an answer does not tell whether an address is known.
_NOBODYS_HASH = (
    "$argon2id$v=19$m=19456,t=2,p=1$"
    "AAECAwQFBgcICQoLDA0ODw$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
)


async def hash_password(password: str) -> str:
    """The hash to store, with its salt and parameters in it. Raises PasswordTooShort."""
    if len(password) < MIN_CHARS:
        raise PasswordTooShort(field="password")
    return await asyncio.to_thread(_HASHER.hash, _normalise(password))


async def verify_password(password_hash: str | None, password: str) -> bool:
    """True where the password is the one that was hashed.

    None stands for an unknown person: the answer is False and takes as long as any other.
    """
    matches = await asyncio.to_thread(
        _matches, password_hash or _NOBODYS_HASH, _normalise(password)
    )
    return matches and password_hash is not None


def _matches(password_hash: str, password: bytes) -> bool:
    try:
        return _HASHER.verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False


def _normalise(password: str) -> bytes:
    # Keyboards of different systems send the same letter in different forms (RFC 8265, 4.2).
    # surrogatepass: a browser may send anything, and a comparison must fail rather than raise.
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
