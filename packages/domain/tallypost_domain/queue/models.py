"""Tables of worker processes, of what they did lately, and of dead letters."""

import datetime as dt
from uuid import UUID

from sqlalchemy import ForeignKey, Integer, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.schema import Index

from tallypost_domain.db.models import Base


class Worker(Base):
    """A running worker process; its rows are its own while its beat is younger than 30 s."""

    __tablename__ = "workers"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    started_at: Mapped[dt.datetime] = mapped_column(server_default=text("now()"))
    beat_at: Mapped[dt.datetime] = mapped_column(server_default=text("now()"))


class DeadLetterRow(Base):
    """A recipient that failed for a cause not its own; there for as long as it is `failed`.

    The database inserts it with the event that tells of the failure.
    """

    __tablename__ = "dead_letters"
    __table_args__ = (
        Index(None, "tenant_id", "mode", "id"),
        Index(None, "tenant_id", "mode", "cause", "id"),
        Index(None, "tenant_id", "mode", "stream", "id"),
        Index(None, "tenant_id", "mode", "recipient_domain", "id"),
    )

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID]
    """Of the event: newer ones sort later."""
    mode: Mapped[str]
    email_id: Mapped[UUID] = mapped_column(primary_key=True)
    recipient_id: Mapped[UUID] = mapped_column(primary_key=True)
    cause: Mapped[str]
    stream: Mapped[str]
    recipient_domain: Mapped[str]
    failed_at: Mapped[dt.datetime] = mapped_column(server_default=text("now()"))


class AccountStateRow(Base):
    """How one provider account does, as one worker sees it; goes with the worker."""

    __tablename__ = "account_states"

    worker_id: Mapped[UUID] = mapped_column(
        ForeignKey("workers.id", ondelete="CASCADE"), primary_key=True
    )
    account: Mapped[str] = mapped_column(primary_key=True)
    provider: Mapped[str]
    state: Mapped[str]
    since: Mapped[dt.datetime] = mapped_column(server_default=text("now()"))
    asked_again_at: Mapped[dt.datetime | None]


class DeliverySample(Base):
    """What one worker handed to one provider in about a second; kept for an hour."""

    __tablename__ = "delivery_samples"

    at: Mapped[dt.datetime] = mapped_column(primary_key=True, server_default=text("now()"))
    """The end of the second."""
    worker_id: Mapped[UUID] = mapped_column(primary_key=True)
    provider: Mapped[str] = mapped_column(primary_key=True)
    accepted: Mapped[int]
    rejected: Mapped[int]
    deferred: Mapped[int]
    throttled: Mapped[int]
    suspended: Mapped[int]
    unavailable: Mapped[int]
    ambiguous: Mapped[int]
    ages: Mapped[list[int]] = mapped_column(ARRAY(Integer))
    """How many emails were that old at the answer to their first handover; see `samples`."""
