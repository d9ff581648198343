"""Data keys: each tenant's own key, stored wrapped by a key of the key ring.

Deleting a tenant's wrapped key makes everything encrypted with it unreadable at once, in
backups too.
"""

import os
from dataclasses import dataclass, field
from uuid import UUID

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tallypost_core.crypto import sealing
from tallypost_core.crypto.errors import UnknownKeyError
from tallypost_core.crypto.key_ring import KEY_SIZE_BYTES, KeyRing, RingKey


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A data key as it is stored: unreadable without the ring key of that name."""

    key_name: str
    wrapped: bytes = field(repr=False)


class DataKey:
    """One tenant's key in the clear, ready to use; made by `unwrap_data_key` only."""

    __slots__ = ("aead", "tenant_id")

    def __init__(self, tenant_id: UUID, aead: AESGCM) -> None:
        self.tenant_id = tenant_id
        self.aead = aead

    def __repr__(self) -> str:
        return f"DataKey(tenant_id={self.tenant_id})"


def new_data_key(ring: KeyRing, tenant_id: UUID) -> WrappedKey:
    """Make a tenant's data key, wrapped by the newest ring key and bound to the tenant."""
    return _wrap(ring.newest, tenant_id, os.urandom(KEY_SIZE_BYTES))


def unwrap_data_key(ring: KeyRing, tenant_id: UUID, stored: WrappedKey) -> DataKey:
    """Open a stored data key.

    Raises UnknownKeyError where the ring has no key of that name, DecryptError where the bytes
    are damaged or were wrapped for another tenant.
    """
    return DataKey(tenant_id, AESGCM(_unwrap(ring, tenant_id, stored)))


def rewrap_data_key(ring: KeyRing, tenant_id: UUID, stored: WrappedKey) -> WrappedKey:
    """The same data key under the newest ring key; what is encrypted with it stays as it is.

    Returns `stored` itself where it is already under the newest. Raises as `unwrap_data_key`.
    """
    if stored.key_name == ring.newest.name:
        return stored
    return _wrap(ring.newest, tenant_id, _unwrap(ring, tenant_id, stored))


def _wrap(ring_key: RingKey, tenant_id: UUID, secret: bytes) -> WrappedKey:
    sealed = sealing.seal(AESGCM(ring_key.secret), secret, _associated(tenant_id))
    return WrappedKey(ring_key.name, sealed)


def _unwrap(ring: KeyRing, tenant_id: UUID, stored: WrappedKey) -> bytes:
    ring_key = ring.find(stored.key_name)
    if ring_key is None:
        raise UnknownKeyError(stored.key_name)
    return sealing.unseal(AESGCM(ring_key.secret), stored.wrapped, _associated(tenant_id))


def _associated(tenant_id: UUID) -> bytes:
    return sealing.join_parts(b"tallypost data key", tenant_id.bytes)
