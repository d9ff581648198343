"""Tables of provider accounts, routes, and where sending domains stand at accounts."""

import datetime as dt
from uuid import UUID

from sqlalchemy import ForeignKey, ForeignKeyConstraint, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from tallypost_domain.db.models import Base


class ProviderAccountRow(Base):
    """An account that a tenant has at a provider itself."""

    __tablename__ = "provider_accounts"
    __table_args__ = (
        UniqueConstraint("tenant_id", "name"),
        Index(None, "check_due_at", postgresql_where=text("check_due_at IS NOT NULL")),
    )

    tenant_id: Mapped[UUID] = mapped_column(
        ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True
    )
    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    provider: Mapped[str]
    settings: Mapped[dict[str, object]]
    secrets: Mapped[bytes]
    """JSON object of text, encrypted with the tenant's data key."""
    secret_names: Mapped[list[str]]
    is_on: Mapped[bool] = mapped_column(server_default=text("true"))
    created_at: Mapped[dt.datetime] = mapped_column(server_default=text("now()"))
    changed_at: Mapped[dt.datetime] = mapped_column(server_default=text("now()"))
    """Of settings and secrets."""
    check_due_at: Mapped[dt.datetime | None]
    checked_at: Mapped[dt.datetime | None]
    check_steps: Mapped[list[dict[str, str]]] = mapped_column(server_default=text("'[]'"))


class RouteRow(Base):
    """Which mail goes to which accounts; the first one that fits counts."""

    __tablename__ = "routes"
    __table_args__ = (
        UniqueConstraint("tenant_id", "position", deferrable=True, initially="DEFERRED"),
        ForeignKeyConstraint(
            ["tenant_id", "domain_id"], ["domains.tenant_id", "domains.id"], ondelete="CASCADE"
        ),
    )

    tenant_id: Mapped[UUID] = mapped_column(
        ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True
    )
    id: Mapped[UUID] = mapped_column(primary_key=True)
    position: Mapped[int]
    domain_id: Mapped[UUID | None]
    lane: Mapped[str | None]
    tag_name: Mapped[str | None]
    tag_value: Mapped[str | None]
    share: Mapped[float] = mapped_column(server_default=text("1"))
    accounts: Mapped[list[str]]
    created_at: Mapped[dt.datetime] = mapped_column(server_default=text("now()"))


class AccountDomainRow(Base):
    """Where a sending domain stands at an account whose provider has to know it."""

    __tablename__ = "account_domains"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "domain_id"], ["domains.tenant_id", "domains.id"], ondelete="CASCADE"
        ),
        Index(None, "check_due_at"),
    )

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    domain_id: Mapped[UUID] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(primary_key=True)
    status: Mapped[str] = mapped_column(server_default=text("'unknown'"))
    records: Mapped[list[dict[str, object]]] = mapped_column(server_default=text("'[]'"))
    detail: Mapped[str] = mapped_column(server_default=text("''"))
    checked_at: Mapped[dt.datetime | None]
    check_due_at: Mapped[dt.datetime] = mapped_column(server_default=text("now()"))
    checks: Mapped[int] = mapped_column(server_default=text("0"))


class AccountTroubleRow(Base):
    """A tenant's account that one worker asks nothing at the moment."""

    __tablename__ = "account_troubles"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "account_id"],
            ["provider_accounts.tenant_id", "provider_accounts.id"],
            ondelete="CASCADE",
        ),
        Index(None, "worker_id"),
    )

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[UUID] = mapped_column(primary_key=True)
    worker_id: Mapped[UUID] = mapped_column(
        ForeignKey("workers.id", ondelete="CASCADE"), primary_key=True
    )
    state: Mapped[str]
    since: Mapped[dt.datetime] = mapped_column(server_default=text("now()"))
    asked_again_at: Mapped[dt.datetime | None]
