"""Tables of subscribers and of the events that they are still to be told of."""

import datetime as dt
from uuid import UUID

from sqlalchemy import Index, text
from sqlalchemy.orm import Mapped, mapped_column

from tallypost_domain.db.models import Base


class EventSubscriber(Base):
    """A plugin that is told of events, from when a worker first named it."""

    __tablename__ = "event_subscribers"

    name: Mapped[str] = mapped_column(primary_key=True)
    seen_at: Mapped[dt.datetime] = mapped_column(server_default=text("now()"))
    """When a worker last named it."""
    hanging_at: Mapped[dt.datetime | None]
    """When a worker last said that it did not come back from an event."""


class EventDeliveryRow(Base):
    """An event that a subscriber is still to be told of.

    The database inserts it with the event; it goes when the subscriber has handled it.
    """

    __tablename__ = "event_deliveries"
    __table_args__ = (
        Index(
            "ix_event_deliveries_waiting",
            "subscriber",
            "due_at",
            postgresql_where=text("state = 'waiting'"),
        ),
        Index(
            "ix_event_deliveries_dead",
            "subscriber",
            "due_at",
            postgresql_where=text("state = 'dead'"),
        ),
    )

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    subscriber: Mapped[str] = mapped_column(primary_key=True)
    subject_id: Mapped[UUID] = mapped_column(primary_key=True)
    event_id: Mapped[UUID] = mapped_column(primary_key=True)
    due_at: Mapped[dt.datetime] = mapped_column(server_default=text("now()"))
    attempt: Mapped[int] = mapped_column(server_default=text("0"))
    state: Mapped[str] = mapped_column(server_default=text("'waiting'"))
    under_way: Mapped[str | None]
    """How the last attempt began, until something is known of it: `among_others` or `alone`."""
    last_error: Mapped[str | None]
    created_at: Mapped[dt.datetime] = mapped_column(server_default=text("now()"))
