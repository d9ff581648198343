"""Accounts that the tenant has at providers itself: made, changed, checked and deleted."""

import datetime as dt
from typing import Annotated, Any, Final
from uuid import UUID

from litestar import Controller, Request, delete, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import UNSET, Meta, Struct, UnsetType

from tallypost_api.bodies import BODY_KEY
from tallypost_api.caller import Caller
from tallypost_api.own.account_settings import Settings, merge_settings, read_settings
from tallypost_api.own.bodies import read_object
from tallypost_api.own.reading import get
from tallypost_api.permissions import OPT_KEY, Permission
from tallypost_api.style import STYLE_KEY, Style
from tallypost_core.ids import parse_id
from tallypost_domain.routing import accounts
from tallypost_domain.routing.accounts import AccountChange, NewAccount
from tallypost_domain.routing.errors import AccountNotFound
from tallypost_domain.routing.troubles import Trouble, TroubleState, list_troubles
from tallypost_domain.routing.types import AccountView, StepState
from tallypost_providers.tenant_accounts import TENANT_SETTINGS

_READ: Final = {OPT_KEY: Permission.ROUTING_READ}
_CHANGE: Final = {OPT_KEY: Permission.ROUTING_CHANGE}

# What the domain requires, for the description only: it is the domain that says what is wrong.
AccountName = Annotated[
    str, Meta(extra_json_schema={"minLength": 1, "maxLength": accounts.MAX_NAME_CHARS})
]
ProviderName = Annotated[str, Meta(extra_json_schema={"enum": [*TENANT_SETTINGS]})]


class NewAccountRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """An account to be kept."""

    name: AccountName
    provider: ProviderName
    settings: Settings
    """As the provider needs them, secrets included."""

    def __repr__(self) -> str:
        return f"NewAccountRequest(provider={self.provider!r})"


class AccountChangeRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be different."""

    name: AccountName | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    settings: Settings | UnsetType = UNSET
    """Those that change; null takes one away. A secret that is left out, or null, stays."""

    def __repr__(self) -> str:
        return "AccountChangeRequest()"


class StepAnswer(Struct, frozen=True, kw_only=True):
    """What one step of a check found."""

    name: str
    state: StepState
    detail: str
    """The peer's own words where there are some."""


class CheckAnswer(Struct, frozen=True, kw_only=True):
    """What the last check found."""

    under_way: bool
    """One is due or being made; what stands here is of the one before."""
    checked_at: dt.datetime | None
    steps: tuple[StepAnswer, ...]
    """It ends with the first step that fails."""


class TroubleAnswer(Struct, frozen=True, kw_only=True):
    """Why an account is asked nothing."""

    state: TroubleState
    """`paused`: it asked for a pause. `open`: too much has failed lately. `half_open`: one email
    tries whether it works again."""
    since: dt.datetime
    wait_s: float | None
    """Until it may be asked again, at least 0; null where that is not known."""


class AccountAnswer(Struct, frozen=True, kw_only=True):
    """An account, without what is secret."""

    id: UUID
    """What routes name it by, and attempts."""
    name: str
    provider: str
    enabled: bool
    """False: no mail goes by it."""
    settings: dict[str, object]
    secrets: tuple[str, ...]
    """Settings that are secret and set; they are shown to nobody again."""
    created_at: dt.datetime
    changed_at: dt.datetime
    """Of its settings."""
    check: CheckAnswer
    trouble: TroubleAnswer | None
    """Why workers ask it nothing at the moment; null where they do."""


class AccountList(Struct, frozen=True):
    """All accounts, by name."""

    data: tuple[AccountAnswer, ...]


class ProviderAccountController(Controller):
    """`/provider-accounts`."""

    path = "/provider-accounts"
    tags = ("Provider accounts",)
    opt = {STYLE_KEY: Style.OURS}  # noqa: RUF012 - Litestar reads it from the class

    @get(opt=_READ)
    async def list_accounts(self, caller: NamedDependency[Caller]) -> AccountList:
        """List the accounts of one's own, by name."""
        async with caller.session() as session:
            views = await accounts.list_accounts(session, caller.tenant_id)
            troubles = await list_troubles(session, caller.tenant_id)
        return AccountList(tuple(_answer(view, troubles.get(view.id)) for view in views))

    @post(status_code=201, opt=_CHANGE | {BODY_KEY: NewAccountRequest})
    async def create_account(
        self, request: Request[Any, Any, Any], caller: NamedDependency[Caller]
    ) -> AccountAnswer:
        """Keep an account and have it checked. Mail goes by it once a route names it."""
        caller.require_live()
        asked = await read_object(request, NewAccountRequest)
        read = read_settings(
            asked.provider, asked.settings, allowed_networks=caller.services.allowed_networks
        )
        new = NewAccount(
            name=asked.name, provider=asked.provider, settings=read.plain, secrets=read.secret
        )
        async with caller.session() as session:
            account_id = await accounts.create_account(
                session,
                caller.tenant_id,
                new,
                key_ring=caller.services.key_ring,
                actor=caller.as_actor(request),
            )
            view = await accounts.get_account(session, caller.tenant_id, account_id)
        return _answer(view, None)

    @get("/{account_id:str}", opt=_READ)
    async def get_account(
        self, caller: NamedDependency[Caller], account_id: FromPath[str]
    ) -> AccountAnswer:
        """Read one account, with what its last check found."""
        return await _read(caller, _require_id(account_id))

    @patch("/{account_id:str}", opt=_CHANGE | {BODY_KEY: AccountChangeRequest})
    async def change_account(
        self,
        request: Request[Any, Any, Any],
        caller: NamedDependency[Caller],
        account_id: FromPath[str],
    ) -> AccountAnswer:
        """Change an account; new settings have it checked. Within a second mail goes by them."""
        caller.require_live()
        known_id = _require_id(account_id)
        asked = await read_object(request, AccountChangeRequest)
        services = caller.services
        async with caller.session() as session:
            plain: dict[str, object] | UnsetType = UNSET
            secret: dict[str, str] | UnsetType = UNSET
            if asked.settings is not UNSET:
                known = await accounts.open_account(
                    session, caller.tenant_id, known_id, services.key_ring
                )
                merged = merge_settings(
                    known.provider,
                    known.settings,
                    known.secrets,
                    asked.settings,
                    allowed_networks=services.allowed_networks,
                )
                plain, secret = merged.plain, merged.secret
            await accounts.change_account(
                session,
                caller.tenant_id,
                known_id,
                AccountChange(name=asked.name, is_on=asked.enabled, settings=plain, secrets=secret),
                key_ring=services.key_ring,
                actor=caller.as_actor(request),
            )
        return await _read(caller, known_id)

    @delete("/{account_id:str}", opt=_CHANGE)
    async def delete_account(
        self,
        request: Request[Any, Any, Any],
        caller: NamedDependency[Caller],
        account_id: FromPath[str],
    ) -> None:
        """Delete an account that no route names, with its secrets."""
        caller.require_live()
        known_id = _require_id(account_id)
        async with caller.session() as session:
            await accounts.delete_account(
                session, caller.tenant_id, known_id, actor=caller.as_actor(request)
            )

    @post("/{account_id:str}/check", status_code=202, opt=_CHANGE)
    async def check_account(
        self, caller: NamedDependency[Caller], account_id: FromPath[str]
    ) -> AccountAnswer:
        """Have an account checked hop by hop, and its provider asked about the domains."""
        caller.require_live()
        known_id = _require_id(account_id)
        async with caller.session() as session:
            await accounts.request_check(session, caller.tenant_id, known_id)
        return await _read(caller, known_id)


async def _read(caller: Caller, account_id: UUID) -> AccountAnswer:
    async with caller.session() as session:
        view = await accounts.get_account(session, caller.tenant_id, account_id)
        troubles = await list_troubles(session, caller.tenant_id)
    return _answer(view, troubles.get(account_id))


def _answer(view: AccountView, trouble: Trouble | None) -> AccountAnswer:
    return AccountAnswer(
        id=view.id,
        name=view.name,
        provider=view.provider,
        enabled=view.is_on,
        settings=dict(view.settings),
        secrets=view.secret_names,
        created_at=view.created_at,
        changed_at=view.changed_at,
        check=CheckAnswer(
            under_way=view.is_being_checked,
            checked_at=view.checked_at,
            steps=tuple(
                StepAnswer(name=step.name, state=step.state, detail=step.detail)
                for step in view.check_steps
            ),
        ),
        trouble=None if trouble is None else _trouble(trouble),
    )


def _trouble(trouble: Trouble) -> TroubleAnswer:
    return TroubleAnswer(state=trouble.state, since=trouble.since, wait_s=trouble.wait_s)


def _require_id(text: str) -> UUID:
    account_id = parse_id(text)
    if account_id is None:
        # A malformed id is an id that does not exist: the same answer, without a look-up.
        raise AccountNotFound
    return account_id
