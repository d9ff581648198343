"""Writing the audit log, and proving that nobody changed it since.

Entries of a tenant form one chain: each carries a sequence without gaps and the hash of the
entry before it. No role may update or delete one. What only a database owner could do, changing
or removing an entry, shows in `verify`; cutting off the end shows only against a hash that was
kept elsewhere.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_core.ids import new_id
from tallypost_domain.audit.chain import FIRST_PREVIOUS_HASH, hash_entry
from tallypost_domain.audit.models import AuditEntry
from tallypost_domain.audit.types import Actor, Change, Verification

_BATCH_SIZE = 500
_USER_AGENT_MAX_CHARS = 500

_WORD = re.compile(r"[A-Za-z0-9_.:-]{0,100}")
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")

_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")


async def record(
    session: AsyncSession,
    tenant_id: UUID,
    action: str,
    *,
    actor: Actor,
    subject_kind: str | None = None,
    subject_id: UUID | None = None,
    changes: Mapping[str, Change] | None = None,
) -> UUID:
    """Write down one act, in the transaction of the act itself; returns the entry's id.

    action is a noun and a past verb (`tenant.opened`). changes holds ids, states and numbers:
    an entry outlives whoever it is about, so names, addresses and free text do not belong there.
    Raises ValueError for text in it that is not a bare word.

    Writers of one tenant wait for each other until commit, so this comes last in a transaction.
    """
    _require_words(changes or {})
    await _lock(session, tenant_id)
    # A statement of its own after the lock: it has to see what the writer before has committed.
    previous = (
        await session.execute(
            select(AuditEntry.sequence, AuditEntry.hash)
            .where(AuditEntry.tenant_id == tenant_id)
            .order_by(AuditEntry.sequence.desc())
            .limit(1)
        )
    ).one_or_none()
    entry_id = new_id()
    columns: dict[str, object] = {
        "tenant_id": tenant_id,
        "id": entry_id,
        "sequence": 1 if previous is None else previous.sequence + 1,
        "actor_kind": actor.kind,
        "actor_id": actor.id,
        "action": action,
        "subject_kind": subject_kind,
        "subject_id": subject_id,
        "changes": dict(changes or {}),
        "ip_address": actor.ip_address,
        "user_agent": _clip(actor.user_agent),
        # now() is the start of the transaction, which may be older than the entry before.
        "created_at": (await session.execute(select(func.clock_timestamp()))).scalar_one(),
        "previous_hash": FIRST_PREVIOUS_HASH if previous is None else previous.hash,
    }
    await session.execute(insert(AuditEntry).values(**columns, hash=hash_entry(columns)))
    return entry_id


async def record_once(
    session: AsyncSession,
    tenant_id: UUID,
    action: str,
    *,
    actor: Actor,
    subject_kind: str,
    subject_id: UUID,
    changes: Mapping[str, Change] | None = None,
) -> None:
    """As `record`, unless this was written of this subject before: for acts that may be repeated.

    Reads all entries of the tenant, so it is for what people do by hand.
    """
    await _lock(session, tenant_id)
    written = select(AuditEntry.id).where(
        AuditEntry.tenant_id == tenant_id,
        AuditEntry.action == action,
        AuditEntry.subject_id == subject_id,
    )
    if await session.scalar(written.limit(1)) is None:
        await record(
            session,
            tenant_id,
            action,
            actor=actor,
            subject_kind=subject_kind,
            subject_id=subject_id,
            changes=changes,
        )


async def verify(session: AsyncSession, tenant_id: UUID) -> Verification:
    """Walk a tenant's chain from its first entry and compute every hash anew."""
    entries, last_hash = 0, FIRST_PREVIOUS_HASH
    while True:
        batch = await _list_after(session, tenant_id, entries)
        for entry in batch:
            follows = entry.sequence == entries + 1 and entry.previous_hash == last_hash
            if not follows or hash_entry(entry._asdict()) != entry.hash:
                return Verification(entries, last_hash, broken_at=entries + 1)
            entries, last_hash = entry.sequence, entry.hash
        if len(batch) < _BATCH_SIZE:
            return Verification(entries, last_hash, broken_at=None)


async def _lock(session: AsyncSession, tenant_id: UUID) -> None:
    await session.execute(_LOCK, {"name": f"tallypost.audit:{tenant_id}"})


async def _list_after(session: AsyncSession, tenant_id: UUID, sequence: int) -> Sequence[Row[Any]]:
    # Any: the columns are those of the table.
    statement = (
        select(*AuditEntry.__table__.columns)
        .where(AuditEntry.tenant_id == tenant_id, AuditEntry.sequence > sequence)
        .order_by(AuditEntry.sequence)
        .limit(_BATCH_SIZE)
    )
    return (await session.execute(statement)).all()


def _require_words(changes: Mapping[str, Change]) -> None:
    for name, value in changes.items():
        if not _WORD.fullmatch(name) or (isinstance(value, str) and not _WORD.fullmatch(value)):
            raise ValueError(f"changes[{name!r}] is not a bare word")


def _clip(user_agent: str | None) -> str | None:
    if user_agent is None:
        return None
    return _UNPRINTABLE.sub(" ", user_agent)[:_USER_AGENT_MAX_CHARS]
