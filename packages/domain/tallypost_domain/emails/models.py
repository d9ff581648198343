"""Tables of emails, their recipients, contents and attempts, the idempotency keys and the queue."""

import datetime as dt
from uuid import UUID

from sqlalchemy import BigInteger, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from tallypost_domain.db.models import Base


class Email(Base):
    """One accepted request and its rolled-up status. Partitioned by week on id."""

    __tablename__ = "emails"
    __table_args__ = (
        Index(None, "tenant_id", "mode", "id"),
        {"postgresql_partition_by": "RANGE (id)"},
    )

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    mode: Mapped[str]
    api_key_id: Mapped[UUID]
    domain_id: Mapped[UUID]
    stream: Mapped[str]
    lane: Mapped[str]
    from_header: Mapped[str]
    from_address: Mapped[str]
    to_header: Mapped[list[str]] = mapped_column(JSONB)
    cc_header: Mapped[list[str]] = mapped_column(JSONB)
    bcc_header: Mapped[list[str]] = mapped_column(JSONB)
    """As the tenant wrote them; kept to be read back, never put in a message."""
    reply_to: Mapped[list[str]] = mapped_column(JSONB)
    subject: Mapped[str]
    headers: Mapped[dict[str, str]]
    tags: Mapped[list[dict[str, str]]]
    size_bytes: Mapped[int]
    """Bodies and attachments before they are encoded for transport."""
    status: Mapped[str]
    scheduled_at: Mapped[dt.datetime | None]
    created_at: Mapped[dt.datetime] = mapped_column(server_default=text("now()"))
    updated_at: Mapped[dt.datetime] = mapped_column(server_default=text("now()"))
    trace_context: Mapped[str | None]
    """Of the span that accepted it, as `trace_contexts` writes it; NULL where not sampled."""


class Recipient(Base):
    """One address of an email and what became of it. Partitioned by week on email_id.

    It has no foreign key: see the migration that took it away.
    """

    __tablename__ = "recipients"
    __table_args__ = (
        # Asked by `find_emails_to` only: see the migration that made it.
        Index(
            "ix_recipients_mailbox",
            text(
                'hashtextextended(lower(address COLLATE "C"), '
                "hashtextextended(mode, uuid_hash_extended(tenant_id, 0)))"
            ),
            "email_id",
        ),
        {"postgresql_partition_by": "RANGE (email_id)"},
    )

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    email_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    mode: Mapped[str]
    kind: Mapped[str]
    address: Mapped[str]
    status: Mapped[str]
    provider_message_id: Mapped[str | None]
    detail: Mapped[str | None]
    """The provider's words about the newest outcome, or our reason."""
    updated_at: Mapped[dt.datetime] = mapped_column(server_default=text("now()"))


class EmailContent(Base):
    """Bodies of an email. An attachment over 256 kB is in the object store, named here."""

    __tablename__ = "email_contents"
    __table_args__ = {"postgresql_partition_by": "RANGE (email_id)"}  # noqa: RUF012 - SQLAlchemy reads a dict here

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    email_id: Mapped[UUID] = mapped_column(primary_key=True)
    html: Mapped[str | None]
    text: Mapped[str | None]
    attachments: Mapped[list[object]]


class Attempt(Base):
    """One handover to a provider, with its evidence. Partitioned by week on email_id."""

    __tablename__ = "attempts"
    __table_args__ = {"postgresql_partition_by": "RANGE (email_id)"}  # noqa: RUF012 - as above

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    email_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    attempt: Mapped[int]
    fence: Mapped[int] = mapped_column(BigInteger)
    worker_id: Mapped[UUID]
    provider: Mapped[str]
    account: Mapped[str]
    outcome: Mapped[str]
    is_late: Mapped[bool] = mapped_column(server_default=text("false"))
    """True where the worker's lease was over when the result came."""
    phase: Mapped[str]
    recipients: Mapped[list[dict[str, object]]]
    evidence: Mapped[dict[str, object]]
    provider_message_id: Mapped[str | None]
    duration_s: Mapped[float]
    created_at: Mapped[dt.datetime] = mapped_column(server_default=text("now()"))


class IdempotencyKey(Base):
    """The answer that a repeated request gets, for 24 hours."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index(None, "created_at"),)

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    mode: Mapped[str] = mapped_column(primary_key=True)
    route: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[bytes]
    answer: Mapped[dict[str, object]]
    created_at: Mapped[dt.datetime] = mapped_column(server_default=text("now()"))


class QueueRow(Base):
    """An email with recipients still to send to: where it stands and who works on it."""

    __tablename__ = "send_queue"
    __table_args__ = (
        Index(
            "ix_send_queue_waiting",
            "lane",
            "tenant_id",
            "due_at",
            "email_id",
            postgresql_where=text("state = 'waiting'"),
        ),
        Index(
            "ix_send_queue_held",
            "tenant_id",
            "domain_id",
            "email_id",
            postgresql_where=text("state = 'held'"),
        ),
        Index(
            "ix_send_queue_ambiguous",
            "tenant_id",
            "email_id",
            postgresql_where=text("state = 'ambiguous'"),
        ),
        Index(None, "worker_id", postgresql_where=text("worker_id IS NOT NULL")),
    )

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    email_id: Mapped[UUID] = mapped_column(primary_key=True)
    lane: Mapped[str]
    due_at: Mapped[dt.datetime] = mapped_column(server_default=text("now()"))
    attempt: Mapped[int] = mapped_column(server_default=text("0"))
    """Handovers begun so far."""
    state: Mapped[str] = mapped_column(server_default="waiting")
    worker_id: Mapped[UUID | None]
    fence: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    """Grows with every claim; a result with an older one is late."""
    domain_id: Mapped[UUID | None]
    """Of the email, where the row is held or was; the database notes it."""
