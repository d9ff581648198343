"""The Inbox: messages that were sent to nobody, and how they look."""

import asyncio
from typing import Final
from uuid import UUID

from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_console.access import OPT_KEY
from tallypost_console.dependencies import require_tenant_id
from tallypost_console.edge import PREVIEW_STYLES, content_security_policy
from tallypost_console.previews import MAX_BODY_CHARS, preview
from tallypost_console.rendering import AnyRequest, render
from tallypost_console.services import Services
from tallypost_console.visitors import Visitor
from tallypost_core.ids import parse_id
from tallypost_domain.inbox import service as inbox
from tallypost_domain.inbox.contents import read_contents
from tallypost_domain.inbox.errors import MessageNotFound
from tallypost_domain.inbox.types import StoredMessage
from tallypost_domain.people import service as people
from tallypost_domain.people.permissions import Permission
from tallypost_domain.people.types import TenantRow
from tallypost_providers.types import Mode

PAGE_SIZE: Final = 50


class InboxPages(Controller):
    """Pages about messages of the open tenant."""

    path = "/inbox"
    opt = {OPT_KEY: Permission.INBOX_READ}  # noqa: RUF012 - Litestar reads it from the class

    @get("/")
    async def show_messages(
        self,
        request: AnyRequest,
        session: NamedDependency[AsyncSession],
        tenant: NamedDependency[TenantRow],
        mode: FromQuery[Mode | None] = None,
        after: FromQuery[UUID | None] = None,
    ) -> Response[str]:
        """One page of the messages of a mode or of both, newest first."""
        page = await inbox.list_messages(session, tenant.id, mode, limit=PAGE_SIZE, after=after)
        return render(
            request,
            "inbox.html",
            tenant=tenant,
            mode=mode,
            messages=page.items,
            is_newest=after is None,
            after=page.items[-1].id if page.has_more else None,
        )

    @get("/{message_id:str}")
    async def show_message(
        self,
        request: AnyRequest,
        services: NamedDependency[Services],
        visitor: NamedDependency[Visitor],
        message_id: FromPath[str],
    ) -> Response[str]:
        """One message: what its bodies say, its headers and its parts."""
        tenant_id = require_tenant_id(visitor)
        async with services.session(tenant_id) as session:
            tenant = await people.get_tenant(session, tenant_id)
            stored = await _get_message(session, tenant_id, message_id)
        # A large message takes its time, in which no transaction waits.
        contents = await asyncio.to_thread(read_contents, stored.message)
        return render(
            request,
            "message.html",
            # An email styles itself inline; its frame inherits the policy of this page.
            headers={
                "content-security-policy": content_security_policy(
                    request.scope, more_styles=PREVIEW_STYLES
                )
            },
            tenant=tenant,
            mode=stored.summary.mode,
            message=stored.summary,
            contents=contents,
            preview=preview(contents),
            max_chars=MAX_BODY_CHARS,
        )

    @get("/{message_id:str}/message.eml")
    async def download_message(
        self,
        session: NamedDependency[AsyncSession],
        tenant: NamedDependency[TenantRow],
        message_id: FromPath[str],
    ) -> Response[bytes]:
        """The message byte for byte, as a file."""
        stored = await _get_message(session, tenant.id, message_id)
        return Response(
            stored.message,
            media_type="message/rfc822",
            headers={"content-disposition": f'attachment; filename="{stored.summary.id}.eml"'},
        )


async def _get_message(session: AsyncSession, tenant_id: UUID, message_id: str) -> StoredMessage:
    wanted = parse_id(message_id)
    if wanted is None:
        raise MessageNotFound
    return await inbox.get_message(session, tenant_id, wanted)
