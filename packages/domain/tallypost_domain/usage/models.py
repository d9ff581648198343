"""The usage ledger's table."""

import datetime as dt
from uuid import UUID

from sqlalchemy import Index, text
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
