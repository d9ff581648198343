"""The table of events."""

import datetime as dt
from uuid import UUID

from sqlalchemy import Index, text
from sqlalchemy.orm import Mapped, mapped_column

from tallypost_domain.db.models import Base

RARE_TYPES = (
    "email.bounced",
    "email.complained",
    "email.failed",
    "email.suppressed",
    "email.canceled",
)
"""What befalls few emails. Those are found by an index of these events, so whoever gives an email
or a recipient such a status writes its event with it."""


class Event(Base):
    """Something that happened; append-only. Partitioned by week on subject_id."""

    __tablename__ = "events"
    __table_args__ = (
        Index(
            "ix_events_rare",
            "tenant_id",
            "mode",
            "type",
            "subject_id",
            postgresql_where=text(f"type IN ({', '.join(map(repr, RARE_TYPES))})"),
        ),
        {"postgresql_partition_by": "RANGE (subject_id)"},
    )

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    subject_id: Mapped[UUID] = mapped_column(primary_key=True)
    """The email's id, or a UUIDv7 of its own for an event about anything else."""
    id: Mapped[UUID] = mapped_column(primary_key=True)
    mode: Mapped[str]
    type: Mapped[str]
    recipient_id: Mapped[UUID | None]
    data: Mapped[dict[str, object]]
    created_at: Mapped[dt.datetime] = mapped_column(server_default=text("now()"))
