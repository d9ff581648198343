"""Cryptography of the platform: keys from settings, encrypted columns, hashes, API keys, tokens.

Each stored secret is encrypted with its tenant's own data key; the data key is stored wrapped by
the key ring of the settings. What is only compared (API keys, session tokens) is stored as a
keyed hash and cannot be read back.
"""

from tallypost_core.crypto.api_key import API_KEY_PATTERN, APIKeyMode, new_api_key, parse_api_key
from tallypost_core.crypto.cipher import Context, decrypt, encrypt
from tallypost_core.crypto.data_key import (
    DataKey,
    WrappedKey,
    new_data_key,
    rewrap_data_key,
    unwrap_data_key,
)
from tallypost_core.crypto.errors import CryptoError, DecryptError, KeyRingError, UnknownKeyError
from tallypost_core.crypto.hashing import hash_candidates, hash_secret
from tallypost_core.crypto.key_ring import KeyRing, RingKey
from tallypost_core.crypto.token import new_token

__all__ = [
    "API_KEY_PATTERN",
    "APIKeyMode",
    "Context",
    "CryptoError",
    "DataKey",
    "DecryptError",
    "KeyRing",
    "KeyRingError",
    "RingKey",
    "UnknownKeyError",
    "WrappedKey",
    "decrypt",
    "encrypt",
    "hash_candidates",
    "hash_secret",
    "new_api_key",
    "new_data_key",
    "new_token",
    "parse_api_key",
    "rewrap_data_key",
    "unwrap_data_key",
]
