"""Keyed hashes for what is looked up but never read back: API keys, tokens, addresses.

HMAC-SHA256 with a pepper. Keys and tokens have at least 190 bits of chance in them, so a slow
password hash would only burn CPU on every request. An address can be guessed: what protects its
hash is the pepper alone, which is not in the database.
"""

import hmac

from tallypost_core.crypto.key_ring import KeyRing


def hash_secret(peppers: KeyRing, secret: str) -> bytes:
    """The 32-byte hash to store for a new secret, under the newest pepper."""
    return _hash(peppers.newest.secret, secret)


def hash_candidates(peppers: KeyRing, secret: str) -> list[bytes]:
    """The hashes that a presented secret may be stored under, newest pepper first.

    Look up by all of them, so that a rotation of peppers breaks no key.
    """
    return [_hash(key.secret, secret) for key in peppers.keys]


def _hash(pepper: bytes, secret: str) -> bytes:
    # surrogatepass: a client may present anything, and a lookup must miss rather than raise.
    return hmac.digest(pepper, secret.encode("utf-8", "surrogatepass"), "sha256")
