"""What each tenant's mail goes by: its routes, and its own accounts beside the platform's."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from uuid import UUID

import structlog
from msgspec import Struct

from tallypost_core.errors import AppError
from tallypost_core.ids import parse_id
from tallypost_domain.routing.directory import RoutingDirectory, TenantRouting
from tallypost_domain.routing.types import (
    PLATFORM,
    PLATFORM_PREFIX,
    OpenedAccount,
    RouteView,
)
from tallypost_providers.router import Route
from tallypost_providers.types import Provider
from tallypost_worker.fleet import Fleet

# Tenants whose routing is kept ready; their accounts keep connections for a while only.
_SIZE = 5_000

log = structlog.get_logger()


class AccountNotUsable(Exception):
    """The account is stored, and nothing can be made of it at the moment: its secrets do not open,
    or its provider is not to be had."""


class TenantRoutes(Struct, frozen=True, kw_only=True):
    """Everything that the router needs for one tenant's mail."""

    routes: tuple[Route, ...]
    accounts: Mapping[str, Provider]
    """The platform's by their names, and the tenant's own by their ids."""
    unverified: frozenset[tuple[str, UUID]]
    """Accounts and domains that must not be sent from there."""


class RouteBook:
    """The routes of all tenants whose mail this worker has; makes their accounts, and ends them."""

    def __init__(
        self,
        directory: RoutingDirectory,
        fleet: Fleet,
        create: Callable[[OpenedAccount], Provider],
    ) -> None:
        """create connects to nothing, and raises AppError for an account that cannot be used."""
        self._directory = directory
        self._fleet = fleet
        self._create = create
        self._pages: OrderedDict[UUID, _Page] = OrderedDict()
        self._closing: set[asyncio.Task[None]] = set()

    async def of(self, tenant_id: UUID) -> TenantRoutes:
        """A tenant's routes as they are now, or were within the last second.

        Raises DatabaseUnavailable.
        """
        routing = await self._directory.get(tenant_id)
        page = self._pages.get(tenant_id)
        if page is None or page.routing is not routing:
            page = self._write(tenant_id, routing, page)
        self._pages.move_to_end(tenant_id)
        return page.routes

    @asynccontextmanager
    async def opened(self, tenant_id: UUID, account: str) -> AsyncIterator[Provider | None]:
        """An account for a question that sends nothing, so also one that is off or in no route.

        None where the tenant has no such account any more. Raises AccountNotUsable, and
        DatabaseUnavailable.
        """
        provider = (await self.of(tenant_id)).accounts.get(account)
        id_ = parse_id(account)
        if provider is not None or id_ is None:
            yield provider
            return
        stored = await self._directory.find_account(tenant_id, id_)
        if stored is None and not await self._directory.has_account(tenant_id, id_):
            yield None
            return
        made = None if stored is None else self._try_create(stored)
        if made is None:
            raise AccountNotUsable
        try:
            yield made
        finally:
            self._close_later(made)

    def own_accounts(self) -> Iterator[tuple[UUID, Provider]]:
        """Each account of a tenant's own that is made, with its tenant."""
        for tenant_id, page in self._pages.items():
            for made in page.made.values():
                yield tenant_id, made.provider

    async def close(self) -> None:
        """Close all accounts; their handovers have ended."""
        while self._pages:
            self._end(self._pages.popitem()[1].made.values())
        if self._closing:
            await asyncio.wait(self._closing)

    def _write(self, tenant_id: UUID, routing: TenantRouting, before: "_Page | None") -> "_Page":
        kept = {} if before is None else before.made
        # An account that no route names costs nothing here.
        named = {name for route in routing.routes for name in route.accounts}
        made: dict[str, _Made] = {}
        for account in routing.accounts:
            name = str(account.id)
            known = kept.get(name)
            if name not in named:
                continue
            if known is not None and known.opened.changed_at == account.changed_at:
                made[name] = known
            elif (provider := self._try_create(account)) is not None:
                made[name] = _Made(account, provider)
        self._end(known for name, known in kept.items() if made.get(name) is not known)
        page = self._pages[tenant_id] = _Page(
            routing,
            made,
            TenantRoutes(
                routes=tuple(map(self._route, routing.routes)),
                accounts={
                    **self._fleet.accounts,
                    **{name: known.provider for name, known in made.items()},
                },
                unverified=routing.unverified,
            ),
        )
        while len(self._pages) > _SIZE:
            self._end(self._pages.popitem(last=False)[1].made.values())
        return page

    def _try_create(self, account: OpenedAccount) -> Provider | None:
        try:
            return self._create(account)
        except Exception as error:
            # The edge to what is stored, of another release perhaps, and to its provider's code:
            # the tenant's mail takes its other ways.
            kind = error.code if isinstance(error, AppError) else type(error).__name__
            log.warning("account.not_made", account=str(account.id), error=kind)
            return None

    def _route(self, route: RouteView) -> Route:
        return Route(
            id=route.id,
            accounts=tuple(dict.fromkeys(self._names(route.accounts))),
            domain_id=route.domain_id,
            lane=route.lane,
            tag_name=route.tag_name,
            tag_value=route.tag_value,
            share=route.share,
        )

    def _names(self, accounts: Iterable[str]) -> Iterable[str]:
        for account in accounts:
            if account == PLATFORM:
                yield from self._fleet.platform
            else:
                yield account.removeprefix(PLATFORM_PREFIX)

    def _end(self, accounts: "Iterable[_Made]") -> None:
        """Close accounts in the background: a handover that is under way ends first."""
        for account in accounts:
            self._fleet.forget(account.provider)
            self._close_later(account.provider)

    def _close_later(self, provider: Provider) -> None:
        task = asyncio.create_task(_close(provider))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


class _Made(Struct, frozen=True):
    opened: OpenedAccount
    provider: Provider


class _Page(Struct, frozen=True):
    routing: TenantRouting
    made: dict[str, _Made]
    routes: TenantRoutes


async def _close(provider: Provider) -> None:
    try:
        await provider.close()
    except Exception:
        # The edge of this task: nobody waits for what it could not give back.
        log.exception("account.not_closed", provider=provider.name)
