"""The table of worker processes."""

import datetime as dt
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Mapped, mapped_column

from tallypost_domain.db.models import Base


class Worker(Base):
    """A running worker process; its rows are its own while its beat is younger than 30 s."""

    __tablename__ = "workers"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    started_at: Mapped[dt.datetime] = mapped_column(server_default=text("now()"))
    beat_at: Mapped[dt.datetime] = mapped_column(server_default=text("now()"))
