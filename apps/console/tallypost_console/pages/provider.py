"""One provider account of the open tenant's own: how it does, its settings, and its end."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect, Stream
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_console.access import OPT_KEY
from tallypost_console.account_findings import describe_check, list_domain_findings
from tallypost_console.account_forms import (
    PROVIDERS,
    list_settings,
    read_raw,
    show_form,
)
from tallypost_console.account_names import AccountNames, name_accounts
from tallypost_console.account_troubles import describe_condition
from tallypost_console.dependencies import require_tenant_id
from tallypost_console.errors import MalformedForm
from tallypost_console.forms import Form, read_form
from tallypost_console.pages.providers import MENDABLE
from tallypost_console.rendering import AnyRequest, render, render_block
from tallypost_console.route_words import RouteLine, describe_routes, name_numbers
from tallypost_console.services import Services
from tallypost_console.streams import stream
from tallypost_console.visitors import Visitor, as_actor
from tallypost_core.errors import HTTP_STATUS, AppError
from tallypost_core.ids import parse_id
from tallypost_domain.domains.service import SendingDomain, list_domains
from tallypost_domain.people.permissions import Permission
from tallypost_domain.people.types import TenantRow
from tallypost_domain.routing.accounts import (
    AccountChange,
    change_account,
    delete_account,
    get_account,
    list_accounts,
    open_account,
    request_check,
)
from tallypost_domain.routing.errors import AccountInUse, AccountNotFound
from tallypost_domain.routing.routes import list_routes
from tallypost_domain.routing.standings import list_standings
from tallypost_domain.routing.troubles import list_troubles
from tallypost_domain.routing.types import AccountView, RouteView
from tallypost_providers.provider_domains import KNOWS_DOMAINS
from tallypost_providers.tenant_accounts import merge_settings

_TEMPLATE: Final = "provider.html"
_WRITE: Final = {OPT_KEY: Permission.ACCOUNTS_WRITE}


class ProviderPage(Controller):
    """Pages about one account."""

    path = "/providers/{account_id:str}"
    opt = {OPT_KEY: Permission.ACCOUNTS_READ}  # noqa: RUF012 - Litestar reads it from the class

    @get("/")
    async def show_account(
        self,
        request: AnyRequest,
        session: NamedDependency[AsyncSession],
        tenant: NamedDependency[TenantRow],
        visitor: NamedDependency[Visitor],
        account_id: FromPath[str],
    ) -> Response[str]:
        """The account with its last check, its domains and its settings."""
        return render(
            request, _TEMPLATE, **await _shown(session, tenant, visitor, _require_id(account_id))
        )

    @get("/live")
    async def follow_account(
        self,
        request: AnyRequest,
        services: NamedDependency[Services],
        visitor: NamedDependency[Visitor],
        account_id: FromPath[str],
    ) -> Stream:
        """Its check, its trouble and its domains, whenever they change. Raises TooManyStreams."""
        tenant_id, wanted = require_tenant_id(visitor), _require_id(account_id)
        may_write = visitor.may(Permission.ACCOUNTS_WRITE)
        async with services.session(tenant_id) as session:
            # A stream that has begun cannot say any more that there is no such account.
            await get_account(session, tenant_id, wanted)

        async def view() -> str:
            async with services.session(tenant_id) as session:
                found = await _find(session, tenant_id, wanted, may_write=may_write)
            return render_block(_TEMPLATE, "state", **found)

        return stream(
            request, services, visitor, ("/providers", tenant_id, wanted, may_write), view
        )

    @post("/", status_code=303, opt=_WRITE)
    async def change(
        self,
        request: AnyRequest,
        services: NamedDependency[Services],
        session: NamedDependency[AsyncSession],
        tenant: NamedDependency[TenantRow],
        visitor: NamedDependency[Visitor],
        account_id: FromPath[str],
    ) -> Response[Any]:
        """Change name and settings; or show the form again with what is wrong."""
        wanted, form = _require_id(account_id), await read_form(request)
        try:
            change = await _read_change(session, tenant.id, wanted, form, services)
            await change_account(
                session,
                tenant.id,
                wanted,
                change,
                key_ring=services.key_ring,
                actor=as_actor(request, visitor.person),
            )
        except AppError as error:
            if error.kind not in MENDABLE:
                raise
            page = await _shown(session, tenant, visitor, wanted, form=form, error=error)
            return render(request, _TEMPLATE, status_code=HTTP_STATUS[error.kind], **page)
        return _back(wanted)

    @post("/check", status_code=303, opt=_WRITE)
    async def check(
        self,
        session: NamedDependency[AsyncSession],
        tenant: NamedDependency[TenantRow],
        account_id: FromPath[str],
    ) -> Redirect:
        """Have a worker check it, and ask about its domains."""
        wanted = _require_id(account_id)
        await request_check(session, tenant.id, wanted)
        return _back(wanted)

    @post("/switch", status_code=303, opt=_WRITE)
    async def switch(
        self,
        request: AnyRequest,
        services: NamedDependency[Services],
        session: NamedDependency[AsyncSession],
        tenant: NamedDependency[TenantRow],
        visitor: NamedDependency[Visitor],
        account_id: FromPath[str],
    ) -> Redirect:
        """Let mail go by it, or not."""
        wanted, named = _require_id(account_id), (await read_form(request)).require("is_on")
        if named not in ("on", "off"):
            raise MalformedForm(field="is_on")
        await change_account(
            session,
            tenant.id,
            wanted,
            AccountChange(is_on=named == "on"),
            key_ring=services.key_ring,
            actor=as_actor(request, visitor.person),
        )
        return _back(wanted)

    @post("/delete", status_code=303, opt=_WRITE)
    async def delete(
        self,
        request: AnyRequest,
        session: NamedDependency[AsyncSession],
        tenant: NamedDependency[TenantRow],
        visitor: NamedDependency[Visitor],
        account_id: FromPath[str],
    ) -> Response[Any]:
        """Delete it with its secrets; where a route names it, say which one instead."""
        wanted = _require_id(account_id)
        try:
            await delete_account(
                session, tenant.id, wanted, actor=as_actor(request, visitor.person)
            )
        except AccountInUse as error:
            page = await _shown(session, tenant, visitor, wanted, is_in_use=True)
            return render(request, _TEMPLATE, status_code=HTTP_STATUS[error.kind], **page)
        return Redirect("/providers", status_code=303)


# Any: what the template shows.
async def _shown(
    session: AsyncSession,
    tenant: TenantRow,
    visitor: Visitor,
    account_id: UUID,
    *,
    form: Form | None = None,
    error: AppError | None = None,
    is_in_use: bool = False,
) -> dict[str, Any]:
    may_write = visitor.may(Permission.ACCOUNTS_WRITE)
    found = await _find(session, tenant.id, account_id, may_write=may_write)
    account: AccountView = found["account"]
    naming: list[RouteLine] = found["routes"]
    return {
        **found,
        "tenant": tenant,
        "settings": list(list_settings(account)),
        "form": show_form(account.provider, account=account, form=form, error=error),
        "is_open": error is not None,
        "is_in_use": is_in_use,
        "naming": name_numbers([line.number for line in naming]) if naming else "",
    }


# Any: as above.
async def _find(
    session: AsyncSession, tenant_id: UUID, account_id: UUID, *, may_write: bool
) -> dict[str, Any]:
    account = await get_account(session, tenant_id, account_id)
    all_routes = await list_routes(session, tenant_id)
    domains = await list_domains(session, tenant_id)
    standings = await list_standings(session, tenant_id, [str(account.id)])
    findings = list_domain_findings(account, domains, standings)
    names = name_accounts(await list_accounts(session, tenant_id))
    routes = _list_naming(account, all_routes, names, domains)
    trouble = (await list_troubles(session, tenant_id)).get(account.id)
    return {
        "account": account,
        "provider_name": PROVIDERS[account.provider][0],
        "finding": describe_check(account, may_write=may_write),
        "domains": findings,
        "is_asked_about_domains": account.provider in KNOWS_DOMAINS,
        "routes": routes,
        "condition": describe_condition(account, trouble, findings, is_named=bool(routes)),
        "may_write": may_write,
    }


def _list_naming(
    account: AccountView,
    routes: Sequence[RouteView],
    names: AccountNames,
    domains: Sequence[SendingDomain],
) -> list[RouteLine]:
    """The routes that name the account, in words."""
    naming = {route.id for route in routes if str(account.id) in route.accounts}
    lines = describe_routes(routes, names, {domain.id: domain.name for domain in domains})
    return [line for line in lines if line.id in naming]


async def _read_change(
    session: AsyncSession, tenant_id: UUID, account_id: UUID, form: Form, services: Services
) -> AccountChange:
    """What a form says, with the secrets that it leaves as they are.

    The account stays locked: a secret is only kept for settings that it was given for.
    """
    known = await open_account(session, tenant_id, account_id, services.key_ring)
    read = merge_settings(
        known.provider,
        known.settings,
        known.secrets,
        read_raw(known.provider, form, known.settings),
        allowed_networks=services.account_networks,
    )
    return AccountChange(name=form.require("name"), settings=read.plain, secrets=read.secret)


def _back(account_id: UUID) -> Redirect:
    return Redirect(f"/providers/{account_id}", status_code=303)


def _require_id(text: str) -> UUID:
    account_id = parse_id(text)
    if account_id is None:
        raise AccountNotFound
    return account_id
