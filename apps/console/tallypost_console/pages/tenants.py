"""The operators' list of tenants."""

from uuid import UUID

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from tallypost_console.access import OPT_KEY
from tallypost_console.rendering import AnyRequest, render
from tallypost_console.services import Services
from tallypost_console.visitors import Visitor, as_actor
from tallypost_core.ids import parse_id
from tallypost_domain.people import service as people
from tallypost_domain.people.errors import TenantNotFound
from tallypost_domain.people.permissions import Permission


@get("/tenants", opt={OPT_KEY: Permission.TENANTS_OPEN})
async def show_tenants(request: AnyRequest, services: NamedDependency[Services]) -> Response[str]:
    """Every tenant, with a button that opens it."""
    tenants = await people.list_tenants_for_operator(services.sessions)
    return render(request, "tenants.html", tenants=tenants)


@post("/tenants/{tenant_id:str}/open", opt={OPT_KEY: Permission.TENANTS_OPEN}, status_code=303)
async def open_tenant(
    request: AnyRequest,
    services: NamedDependency[Services],
    visitor: NamedDependency[Visitor],
    tenant_id: FromPath[str],
) -> Redirect:
    """Look at a tenant from now on; its audit log says who did."""
    wanted = _require_id(tenant_id)
    async with services.session(wanted) as session:
        await people.open_tenant(
            session,
            wanted,
            token=visitor.token,
            peppers=services.peppers,
            operator=as_actor(request, visitor.person),
        )
    return Redirect("/", status_code=303)


def _require_id(text: str) -> UUID:
    tenant_id = parse_id(text)
    if tenant_id is None:
        raise TenantNotFound
    return tenant_id
