"""Tables of sending domains and their DKIM keys."""

import datetime as dt
from uuid import UUID

from sqlalchemy import ForeignKey, ForeignKeyConstraint, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from tallypost_domain.db.models import Base


class Domain(Base):
    """A domain that a tenant sends from, once verified."""

    __tablename__ = "domains"
    __table_args__ = (
        UniqueConstraint("tenant_id", "name"),
        Index(
            "uq_domains_name_verified",
            "name",
            unique=True,
            postgresql_where=text("status = 'verified'"),
        ),
    )

    tenant_id: Mapped[UUID] = mapped_column(
        ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True
    )
    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    """Lower case, in ASCII form."""
    status: Mapped[str]
    created_at: Mapped[dt.datetime] = mapped_column(server_default=text("now()"))
    verified_at: Mapped[dt.datetime | None]


class DKIMKeyRow(Base):
    """One signing key of a domain; every key of a verified domain signs."""

    __tablename__ = "dkim_keys"
    __table_args__ = (
        UniqueConstraint("tenant_id", "domain_id", "selector"),
        ForeignKeyConstraint(
            ["tenant_id", "domain_id"], ["domains.tenant_id", "domains.id"], ondelete="CASCADE"
        ),
    )

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    domain_id: Mapped[UUID]
    selector: Mapped[str]
    algorithm: Mapped[str]
    private_key: Mapped[bytes]
    """Encrypted with the tenant's data key; PKCS#8 DER inside."""
    public_key: Mapped[str]
    """Base64, as it stands in the DNS record's `p=`."""
    created_at: Mapped[dt.datetime] = mapped_column(server_default=text("now()"))
