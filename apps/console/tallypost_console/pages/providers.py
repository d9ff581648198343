"""Provider accounts of the open tenant's own: which there are, and a new one."""

import secrets
from collections.abc import Sequence
from typing import Any, Final

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_console.access import OPT_KEY
from tallypost_console.account_findings import (
    describe_check,
    list_domain_findings,
    list_platform_domains,
    sum_up,
)
from tallypost_console.account_forms import PROVIDERS, read_raw, show_form
from tallypost_console.account_troubles import describe_trouble
from tallypost_console.errors import PageNotFound
from tallypost_console.forms import Form, read_form
from tallypost_console.rendering import AnyRequest, render
from tallypost_console.route_words import name_numbers
from tallypost_console.services import Services
from tallypost_console.visitors import Visitor, as_actor
from tallypost_core.errors import HTTP_STATUS, AppError, ErrorKind
from tallypost_domain.domains.service import list_domains
from tallypost_domain.people.permissions import Permission
from tallypost_domain.people.types import TenantRow
from tallypost_domain.routing.accounts import NewAccount, create_account, list_accounts
from tallypost_domain.routing.routes import list_platform_accounts, list_routes
from tallypost_domain.routing.standings import list_standings
from tallypost_domain.routing.troubles import list_troubles
from tallypost_domain.routing.types import AccountView, RouteView
from tallypost_providers.tenant_accounts import read_settings

_PATH: Final = "/providers"
_LIST: Final = "providers.html"
_NEW: Final = "provider_new.html"
_WRITE: Final = {OPT_KEY: Permission.ACCOUNTS_WRITE}
# What whoever sent a form can mend in it.
MENDABLE: Final = frozenset({ErrorKind.INVALID, ErrorKind.CONFLICT})


class ProviderPages(Controller):
    """Accounts of the open tenant."""

    path = _PATH
    opt = {OPT_KEY: Permission.ACCOUNTS_READ}  # noqa: RUF012 - Litestar reads it from the class

    @get("/")
    async def show_accounts(
        self,
        request: AnyRequest,
        session: NamedDependency[AsyncSession],
        tenant: NamedDependency[TenantRow],
    ) -> Response[str]:
        """All accounts, and how each of them stands."""
        return render(request, _LIST, **await _listed(session, tenant))

    @get("/new", opt=_WRITE)
    async def choose_provider(
        self, request: AnyRequest, tenant: NamedDependency[TenantRow]
    ) -> Response[str]:
        """What an account may be at."""
        return render(request, _NEW, tenant=tenant, providers=PROVIDERS, provider=None)

    @get("/new/{provider:str}", opt=_WRITE)
    async def show_new(
        self,
        request: AnyRequest,
        tenant: NamedDependency[TenantRow],
        provider: FromPath[str],
    ) -> Response[str]:
        """The empty form for an account at a provider."""
        return render(request, _NEW, **_filled_in(tenant, _require_provider(provider)))

    @post("/new/{provider:str}", status_code=303, opt=_WRITE)
    async def create(
        self,
        request: AnyRequest,
        services: NamedDependency[Services],
        session: NamedDependency[AsyncSession],
        tenant: NamedDependency[TenantRow],
        visitor: NamedDependency[Visitor],
        provider: FromPath[str],
    ) -> Response[Any]:
        """Store an account and go to its page; or show the form again with what is wrong."""
        form = await read_form(request)
        provider = _require_provider(provider)
        form_id = form.require("form_id")
        if not services.sent_forms.add(form_id):
            listed = await _listed(session, tenant, repeated=True)
            return render(request, _LIST, status_code=409, **listed)
        try:
            with services.sent_forms.forgetting_failure(form_id):
                account_id = await create_account(
                    session,
                    tenant.id,
                    _read_new(provider, form, services),
                    key_ring=services.key_ring,
                    actor=as_actor(request, visitor.person),
                )
        except AppError as error:
            if error.kind not in MENDABLE:
                raise
            filled_in = _filled_in(tenant, provider, form=form, error=error)
            return render(request, _NEW, status_code=HTTP_STATUS[error.kind], **filled_in)
        return Redirect(f"{_PATH}/{account_id}", status_code=303)


# Any: what the template shows.
async def _listed(
    session: AsyncSession, tenant: TenantRow, *, repeated: bool = False
) -> dict[str, Any]:
    routes = await list_routes(session, tenant.id)
    standings = await list_standings(session, tenant.id)
    domains = await list_domains(session, tenant.id)
    troubles = await list_troubles(session, tenant.id)
    platform = await list_platform_accounts(session)
    lines = []
    for account in await list_accounts(session, tenant.id):
        naming = _list_naming(routes, account)
        lines.append(
            {
                "view": account,
                "finding": describe_check(account),
                "domains": sum_up(list_domain_findings(account, domains, standings)),
                "routes": naming,
                "trouble": describe_trouble(
                    account, troubles.get(account.id), is_named=bool(naming)
                ),
            }
        )
    return {
        "tenant": tenant,
        "providers": PROVIDERS,
        "is_repeated": repeated,
        "name_numbers": name_numbers,
        "accounts": lines,
        "platform_domains": list_platform_domains(domains, standings, platform),
    }


def _list_naming(routes: Sequence[RouteView], account: AccountView) -> list[int]:
    """The numbers of the routes that name the account."""
    return [
        number for number, route in enumerate(routes, start=1) if str(account.id) in route.accounts
    ]


# Any: as above.
def _filled_in(
    tenant: TenantRow,
    provider: str,
    *,
    form: Form | None = None,
    error: AppError | None = None,
) -> dict[str, Any]:
    return {
        "tenant": tenant,
        "providers": PROVIDERS,
        "provider": provider,
        "form": show_form(provider, form=form, error=error),
        "form_id": secrets.token_urlsafe(16),
    }


def _read_new(provider: str, form: Form, services: Services) -> NewAccount:
    read = read_settings(
        provider, read_raw(provider, form), allowed_networks=services.account_networks
    )
    return NewAccount(
        name=form.require("name"), provider=provider, settings=read.plain, secrets=read.secret
    )


def _require_provider(name: str) -> str:
    if name not in PROVIDERS:
        raise PageNotFound
    return name
