"""Encrypted columns: a value opens only in the tenant, table, column and row it was made for.

A ciphertext copied to another row, column or tenant is refused, so write access to the
database alone does not let anyone swap secrets.
"""

from dataclasses import dataclass
from uuid import UUID

from tallypost_core.crypto import sealing
from tallypost_core.crypto.data_key import DataKey
from tallypost_core.crypto.errors import DecryptError


@dataclass(frozen=True, slots=True)
class Context:
    """The place that a ciphertext is stored in; bound to it as associated data."""

    tenant_id: UUID
    table: str
    column: str
    row_id: UUID


def encrypt(data_key: DataKey, plaintext: bytes, context: Context) -> bytes:
    """Encrypt a value for one place, 29 bytes longer than the plaintext.

    Raises ValueError where the data key is another tenant's.
    """
    if data_key.tenant_id != context.tenant_id:
        raise ValueError("the data key belongs to another tenant than the context")
    return sealing.seal(data_key.aead, plaintext, _associated(context))


def decrypt(data_key: DataKey, ciphertext: bytes, context: Context) -> bytes:
    """The value that was encrypted for this very place; raises DecryptError for any other."""
    if data_key.tenant_id != context.tenant_id:
        raise DecryptError
    return sealing.unseal(data_key.aead, ciphertext, _associated(context))


def _associated(context: Context) -> bytes:
    return sealing.join_parts(
        b"tallypost column",
        context.tenant_id.bytes,
        context.table.encode(),
        context.column.encode(),
        context.row_id.bytes,
    )
