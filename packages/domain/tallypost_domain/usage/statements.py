"""Writes the ledger from the hot path."""

from collections.abc import Sequence
from uuid import UUID

from msgspec import Struct

from tallypost_domain.db.pools import Connection

# The key is (tenant, email, recipient): recording the same acceptance again counts nothing.
_INSERT = """
    INSERT INTO usage_ledger (tenant_id, email_id, recipient_id, units, provider)
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::int[], $5::text[])
    ON CONFLICT DO NOTHING
"""


class BillableRecipient(Struct, frozen=True):
    """One recipient whose email a provider took; one unit."""

    tenant_id: UUID
    email_id: UUID
    recipient_id: UUID
    provider: str


async def insert_usage(connection: Connection, entries: Sequence[BillableRecipient]) -> None:
    """Append to the ledger, in the transaction that records the acceptance."""
    if not entries:
        return
    await connection.execute(
        _INSERT,
        [entry.tenant_id for entry in entries],
        [entry.email_id for entry in entries],
        [entry.recipient_id for entry in entries],
        [1 for _ in entries],
        [entry.provider for entry in entries],
    )
