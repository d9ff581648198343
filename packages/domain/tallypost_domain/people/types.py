"""People as other parts see them."""

from uuid import UUID

from msgspec import Struct

from tallypost_domain.people.permissions import Permission, Role, permissions_of


class SignedInPerson(Struct, frozen=True):
    """Whoever a session belongs to, and the tenant that is open in it."""

    id: UUID
    name: str
    email: str
    is_operator: bool
    tenant_id: UUID | None
    """The open tenant; None where there is none yet."""
    role: Role | None
    """The role in the open tenant; None for an operator who is no member of it."""

    @property
    def permissions(self) -> frozenset[Permission]:
        """What the person may do in the open tenant."""
        return permissions_of(self.role, is_operator=self.is_operator)

    def __repr__(self) -> str:
        return f"SignedInPerson(id={self.id}, tenant_id={self.tenant_id})"


class Credentials(Struct, frozen=True):
    """What the lookup by e-mail address says about somebody who wants to sign in."""

    person_id: UUID
    password_hash: str
    first_tenant_id: UUID | None

    def __repr__(self) -> str:
        return f"Credentials(person_id={self.person_id})"


class TenantRow(Struct, frozen=True):
    """A tenant as people see it."""

    id: UUID
    name: str
    status: str
