"""The audit log's table."""

import datetime as dt
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from tallypost_domain.db.models import Base


class AuditEntry(Base):
    """One act in a tenant. Entries form a chain: each hash covers the one before it."""

    __tablename__ = "audit_log"
    __table_args__ = (UniqueConstraint("tenant_id", "sequence"),)

    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    sequence: Mapped[int] = mapped_column(BigInteger)
    actor_kind: Mapped[str]
    actor_id: Mapped[UUID | None]
    action: Mapped[str]
    subject_kind: Mapped[str | None]
    subject_id: Mapped[UUID | None]
    changes: Mapped[dict[str, object]]
    ip_address: Mapped[str | None]
    user_agent: Mapped[str | None]
    created_at: Mapped[dt.datetime]
    previous_hash: Mapped[bytes]
    hash: Mapped[bytes]
