"""Has a tenant's mail go by one of the platform's accounts, whatever the platform prefers."""

import asyncio

from tallypost_domain.audit.types import Actor
from tallypost_domain.routing.routes import replace_routes
from tallypost_domain.routing.types import PLATFORM_PREFIX, NewRoute
from tests.support.database import SeededTenant
from tests.support.platform import Platform
from tests.support.programs import wait_until

_KNOWN_WITHIN_S = 30.0
_IS_KNOWN = "SELECT count(*) FROM account_states WHERE account = $1"


def route_by(platform: Platform, tenant: SeededTenant, account: str) -> None:
    """Send all mail of a tenant by this account of the platform alone, within a second."""
    wait_until(
        lambda: platform.count(_IS_KNOWN, account),
        within_s=_KNOWN_WITHIN_S,
        what=f"a worker says that it has {account}",
    )
    asyncio.run(_replace(platform, tenant, NewRoute(accounts=(f"{PLATFORM_PREFIX}{account}",))))


async def _replace(platform: Platform, tenant: SeededTenant, route: NewRoute) -> None:
    async with platform.database.session("tp_console", tenant.id) as session:
        await replace_routes(session, tenant.id, [route], actor=Actor("system"))
