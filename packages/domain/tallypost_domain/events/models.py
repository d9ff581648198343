"""The table of events."""

import datetime as dt
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Mapped, mapped_column

from tallypost_domain.db.models import Base


class Event(Base):
    """Something that happened; append-only. Partitioned by week on subject_id."""

    __tablename__ = "events"
    __table_args__ = {"postgresql_partition_by": "RANGE (subject_id)"}  # noqa: RUF012 - SQLAlchemy reads a dict here

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    subject_id: Mapped[UUID] = mapped_column(primary_key=True)
    """The email's id, or a UUIDv7 of its own for an event about anything else."""
    id: Mapped[UUID] = mapped_column(primary_key=True)
    mode: Mapped[str]
    type: Mapped[str]
    recipient_id: Mapped[UUID | None]
    data: Mapped[dict[str, object]]
    created_at: Mapped[dt.datetime] = mapped_column(server_default=text("now()"))
