"""The secrets of a tenant's provider account: one column, encrypted with the tenant's data key."""

from collections.abc import Mapping
from uuid import UUID

import msgspec

from tallypost_core.crypto import Context, DataKey, decrypt, encrypt


def open_secrets(
    data_key: DataKey, tenant_id: UUID, account_id: UUID, sealed: bytes
) -> dict[str, str]:
    """The secrets of an account by their names. Raises DecryptError."""
    plain = decrypt(data_key, sealed, _context(tenant_id, account_id))
    return msgspec.json.decode(plain, type=dict[str, str])


def seal_secrets(
    data_key: DataKey, tenant_id: UUID, account_id: UUID, secrets: Mapping[str, str]
) -> bytes:
    """What is stored of an account's secrets."""
    plain = msgspec.json.encode(dict(secrets))
    return encrypt(data_key, plain, _context(tenant_id, account_id))


def _context(tenant_id: UUID, account_id: UUID) -> Context:
    return Context(
        tenant_id=tenant_id, table="provider_accounts", column="secrets", row_id=account_id
    )
