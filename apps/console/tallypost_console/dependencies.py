"""What handlers ask for by name: the visitor, a session of the open tenant, and the tenant."""

from collections.abc import AsyncIterator
from uuid import UUID

from litestar.di import NamedDependency
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_console.errors import NoTenantOpen, NotSignedIn
from tallypost_console.rendering import AnyRequest
from tallypost_console.services import Services
from tallypost_console.visitors import Visitor, remembered_visitor
from tallypost_domain.people import service as people
from tallypost_domain.people.types import TenantRow


async def provide_visitor(request: AnyRequest) -> Visitor:
    """Whoever asks; on a public route nobody does. Raises NotSignedIn."""
    visitor = remembered_visitor(request)
    if visitor is None:
        raise NotSignedIn
    return visitor


async def provide_session(
    services: NamedDependency[Services], visitor: NamedDependency[Visitor]
) -> AsyncIterator[AsyncSession]:
    """A transaction in the open tenant; commits before the answer goes out.

    Raises NoTenantOpen, DatabaseUnavailable.
    """
    async with services.session(require_tenant_id(visitor)) as session:
        yield session


async def provide_tenant(
    session: NamedDependency[AsyncSession], visitor: NamedDependency[Visitor]
) -> TenantRow:
    """The open tenant. Raises NoTenantOpen, TenantNotFound."""
    return await people.get_tenant(session, require_tenant_id(visitor))


def require_tenant_id(visitor: Visitor) -> UUID:
    """The id of the open tenant. Raises NoTenantOpen."""
    if visitor.person.tenant_id is None:
        raise NoTenantOpen
    return visitor.person.tenant_id
