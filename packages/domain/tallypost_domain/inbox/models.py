"""The Inbox's table."""

import datetime as dt
from uuid import UUID

from sqlalchemy import Index, text
from sqlalchemy.orm import Mapped, mapped_column

from tallypost_domain.db.models import Base


class InboxMessage(Base):
    """One message that went to the Inbox and nowhere else, as the bytes that were sent."""

    __tablename__ = "inbox_messages"
    __table_args__ = (Index(None, "tenant_id", "email_id"), Index(None, "received_at"))

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    email_id: Mapped[UUID]
    mode: Mapped[str]
    envelope_sender: Mapped[str]
    envelope_recipients: Mapped[list[str]]
    subject: Mapped[str]
    size_bytes: Mapped[int]
    message: Mapped[bytes]
    received_at: Mapped[dt.datetime] = mapped_column(server_default=text("now()"))
