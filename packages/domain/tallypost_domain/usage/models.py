"""The tables of usage: the ledger, and what is granted of quotas."""

import datetime as dt
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, ForeignKeyConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from tallypost_domain.db.models import Base


class LedgerEntry(Base):
    """One billable recipient. Insert-only; its key makes a second count impossible."""

    __tablename__ = "usage_ledger"
    __table_args__ = (Index(None, "tenant_id", "occurred_at"),)

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    email_id: Mapped[UUID] = mapped_column(primary_key=True)
    recipient_id: Mapped[UUID] = mapped_column(primary_key=True)
    units: Mapped[int]
    provider: Mapped[str]
    occurred_at: Mapped[dt.datetime] = mapped_column(server_default=text("now()"))


class QuotaCounter(Base):
    """A month of a tenant that has a quota, and how much of it is granted."""

    __tablename__ = "quota_counters"

    tenant_id: Mapped[UUID] = mapped_column(
        ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True
    )
    period: Mapped[dt.date] = mapped_column(primary_key=True)
    """First day of the month, in UTC."""
    granted: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    """Spent, or in a lease; never more than the quota was when it was granted."""


class QuotaLease(Base):
    """Units that one process may spend, and how many it has."""

    __tablename__ = "quota_leases"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "period"],
            ["quota_counters.tenant_id", "quota_counters.period"],
            ondelete="CASCADE",
        ),
    )

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    period: Mapped[dt.date] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    units: Mapped[int] = mapped_column(BigInteger)
    spent: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    used_at: Mapped[dt.datetime] = mapped_column(server_default=text("now()"))
