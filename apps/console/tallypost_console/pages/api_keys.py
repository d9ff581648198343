"""API keys: what there is, a new one, and taking one back."""

import secrets
from typing import Any, Final, get_args
from uuid import UUID

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_console.access import OPT_KEY
from tallypost_console.errors import MalformedForm
from tallypost_console.forms import Form, read_form
from tallypost_console.modes import read_mode
from tallypost_console.rendering import AnyRequest, render
from tallypost_console.services import Services
from tallypost_console.visitors import Visitor, as_actor
from tallypost_core.errors import HTTP_STATUS, AppError
from tallypost_core.ids import parse_id
from tallypost_domain.api_keys.administration import (
    MAX_NAME_CHARS,
    create_for_person,
    list_keys,
    revoke_for_person,
)
from tallypost_domain.api_keys.errors import APIKeyNotFound
from tallypost_domain.api_keys.types import KeyPermission
from tallypost_domain.people.permissions import Permission
from tallypost_domain.people.types import TenantRow
from tallypost_domain.tenants.service import list_streams

_PATH: Final = "/api-keys"
_TEMPLATE: Final = "api_keys.html"
_PERMISSIONS: Final[tuple[KeyPermission, ...]] = get_args(KeyPermission)
_WRITE: Final = {OPT_KEY: Permission.API_KEYS_WRITE}


class APIKeyPages(Controller):
    """Keys of the open tenant."""

    path = _PATH
    opt = {OPT_KEY: Permission.API_KEYS_READ}  # noqa: RUF012 - Litestar reads it from the class

    @get("/")
    async def show_keys(
        self,
        request: AnyRequest,
        session: NamedDependency[AsyncSession],
        tenant: NamedDependency[TenantRow],
    ) -> Response[str]:
        """All keys, and the form for a new one."""
        return render(request, _TEMPLATE, **await _shown(session, tenant))

    @post("/", status_code=200, opt=_WRITE)
    async def create_key(
        self,
        request: AnyRequest,
        services: NamedDependency[Services],
        session: NamedDependency[AsyncSession],
        tenant: NamedDependency[TenantRow],
        visitor: NamedDependency[Visitor],
    ) -> Response[str]:
        """Make a key and show it, this once; or the form again with what is wrong."""
        form = await read_form(request)
        form_id = form.require("form_id")
        if not services.sent_forms.add(form_id):
            return render(
                request, _TEMPLATE, status_code=409, **await _shown(session, tenant, repeated=True)
            )
        try:
            with services.sent_forms.forgetting_failure(form_id):
                created = await create_for_person(
                    session,
                    tenant.id,
                    mode=read_mode(form),
                    name=form.require("name"),
                    permission=_read_permission(form),
                    stream=form.find("stream") or None,
                    peppers=services.peppers,
                    actor=as_actor(request, visitor.person),
                )
        except AppError as error:
            if error.field is None:
                raise
            page = await _shown(session, tenant, error=error, form=form)
            return render(request, _TEMPLATE, status_code=HTTP_STATUS[error.kind], **page)
        return render(request, _TEMPLATE, **await _shown(session, tenant, created=created))

    @post("/{key_id:str}/revoke", status_code=303, opt=_WRITE)
    async def revoke_key(
        self,
        request: AnyRequest,
        session: NamedDependency[AsyncSession],
        tenant: NamedDependency[TenantRow],
        visitor: NamedDependency[Visitor],
        key_id: FromPath[str],
    ) -> Redirect:
        """Take a key back: within a second no request with it is answered."""
        actor = as_actor(request, visitor.person)
        await revoke_for_person(session, tenant.id, _require_id(key_id), actor=actor)
        return Redirect(_PATH, status_code=303)


# Any: what the template shows.
async def _shown(
    session: AsyncSession,
    tenant: TenantRow,
    *,
    created: object = None,
    error: AppError | None = None,
    form: Form | None = None,
    repeated: bool = False,
) -> dict[str, Any]:
    keys = await list_keys(session, tenant.id)
    return {
        "tenant": tenant,
        "working": [key for key in keys if key.revoked_at is None],
        "revoked": [key for key in keys if key.revoked_at is not None],
        "stream_options": [
            ("", "As each email says"),
            *((name, name) for name in await list_streams(session, tenant.id)),
        ],
        "created": created,
        "is_repeated": repeated,
        "form_id": secrets.token_urlsafe(16),
        "max_name_chars": MAX_NAME_CHARS,
        "error": error,
        "form": form or Form(),
    }


def _read_permission(form: Form) -> KeyPermission:
    named = form.require("permission")
    for permission in _PERMISSIONS:
        if named == permission:
            return permission
    raise MalformedForm(field="permission")


def _require_id(text: str) -> UUID:
    key_id = parse_id(text)
    if key_id is None:
        raise APIKeyNotFound
    return key_id
