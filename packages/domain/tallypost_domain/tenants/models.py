"""Tables of tenants, their data keys and their streams."""

import datetime as dt
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, text
from sqlalchemy.orm import Mapped, mapped_column

from tallypost_domain.db.models import Base


class Tenant(Base):
    """One customer of the platform; everything it owns carries its id."""

    __tablename__ = "tenants"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    status: Mapped[str] = mapped_column(server_default="active")
    rate_limit_per_s: Mapped[float | None]
    """Requests per second of its keys; a key's own limit goes first."""
    monthly_quota: Mapped[int | None] = mapped_column(BigInteger)
    """Billable recipients that it may have accepted in a calendar month (UTC); None: any number."""
    created_at: Mapped[dt.datetime] = mapped_column(server_default=text("now()"))


class TenantDataKey(Base):
    """The key that encrypts a tenant's secrets, itself wrapped by the platform's key ring."""

    __tablename__ = "tenant_data_keys"

    tenant_id: Mapped[UUID] = mapped_column(
        ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True
    )
    ring_key_name: Mapped[str]
    wrapped_key: Mapped[bytes]
    created_at: Mapped[dt.datetime] = mapped_column(server_default=text("now()"))


class Stream(Base):
    """A tenant's name for one kind of mail; decides the lane and what an unknown outcome means."""

    __tablename__ = "streams"

    tenant_id: Mapped[UUID] = mapped_column(
        ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True
    )
    name: Mapped[str] = mapped_column(primary_key=True)
    lane: Mapped[str]
    on_unconfirmed: Mapped[str]
    created_at: Mapped[dt.datetime] = mapped_column(server_default=text("now()"))
