"""The table of API keys."""

import datetime as dt
from uuid import UUID

from sqlalchemy import ForeignKey, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from tallypost_domain.db.models import Base


class APIKey(Base):
    """One key of a tenant, for one mode. The key itself is shown once and stored as a hash."""

    __tablename__ = "api_keys"
    __table_args__ = (UniqueConstraint("key_hash"),)

    tenant_id: Mapped[UUID] = mapped_column(
        ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True
    )
    id: Mapped[UUID] = mapped_column(primary_key=True)
    mode: Mapped[str]
    name: Mapped[str]
    key_hash: Mapped[bytes]
    prefix: Mapped[str]
    last_four: Mapped[str]
    permission: Mapped[str]
    stream: Mapped[str | None]
    """Stream of emails that name none; None means `transactional`."""
    rate_limit_per_s: Mapped[float | None]
    created_at: Mapped[dt.datetime] = mapped_column(server_default=text("now()"))
    revoked_at: Mapped[dt.datetime | None]
