"""The table of suppressed addresses."""

import datetime as dt
from uuid import UUID

from sqlalchemy import ForeignKey, text
from sqlalchemy.orm import Mapped, mapped_column

from tallypost_domain.db.models import Base


class Suppression(Base):
    """An address that a tenant must not send to, kept as a keyed hash."""

    __tablename__ = "suppressions"

    tenant_id: Mapped[UUID] = mapped_column(
        ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True
    )
    mode: Mapped[str] = mapped_column(primary_key=True)
    address_hash: Mapped[bytes] = mapped_column(primary_key=True)
    id: Mapped[UUID]
    origin: Mapped[str]
    created_at: Mapped[dt.datetime] = mapped_column(server_default=text("now()"))
