"""AES-256-GCM with a version byte and associated data that cannot be read in two ways.

Layout: version (1 byte, 0x01) | nonce (12 bytes, random) | ciphertext | tag (16 bytes).
With random 96-bit nonces one key may seal at most 2**32 messages (NIST SP 800-38D, section 8.3);
a data key seals one tenant's stored secrets, which stays far below.
"""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tallypost_core.crypto.errors import DecryptError

VERSION = b"\x01"
NONCE_SIZE_BYTES = 12
TAG_SIZE_BYTES = 16

_HEADER_SIZE_BYTES = len(VERSION) + NONCE_SIZE_BYTES


def seal(aead: AESGCM, plaintext: bytes, associated: bytes) -> bytes:
    """Encrypt and authenticate; a repeat gives other bytes, because the nonce is random."""
    nonce = os.urandom(NONCE_SIZE_BYTES)
    return VERSION + nonce + aead.encrypt(nonce, plaintext, VERSION + associated)


def unseal(aead: AESGCM, sealed: bytes, associated: bytes) -> bytes:
    """The plaintext; raises DecryptError where anything differs from what was sealed."""
    if len(sealed) < _HEADER_SIZE_BYTES + TAG_SIZE_BYTES or sealed[:1] != VERSION:
        raise DecryptError
    nonce = sealed[len(VERSION) : _HEADER_SIZE_BYTES]
    try:
        return aead.decrypt(nonce, sealed[_HEADER_SIZE_BYTES:], VERSION + associated)
    except InvalidTag:
        raise DecryptError from None


def join_parts(*parts: bytes) -> bytes:
    """Concatenate so that different parts never give the same bytes: each has its length first."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)
