"""The ways to look at the message of an email, each read only when its tab is open."""

import asyncio
from typing import Final, Literal
from uuid import UUID

import structlog
from msgspec import Struct

from tallypost_console.previews import MAX_BODY_CHARS, preview
from tallypost_console.services import Services
from tallypost_core.object_store import ObjectStoreUnavailable
from tallypost_domain.emails.errors import AttachmentGone
from tallypost_domain.emails.messages import AttachmentView, list_attachments
from tallypost_domain.emails.views import EmailView
from tallypost_domain.inbox.contents import read_contents
from tallypost_domain.inbox.headers import decode, read_headers
from tallypost_domain.inbox.types import Header
from tallypost_providers.errors import EmailNotBuildable

log = structlog.get_logger()

Tab = Literal["preview", "html", "text", "headers", "raw", "attachments"]

TABS: Final[tuple[tuple[Tab, str], ...]] = (
    ("preview", "Preview"),
    ("html", "HTML"),
    ("text", "Text"),
    ("headers", "Headers"),
    ("raw", "Raw"),
    ("attachments", "Attachments"),
)
MAX_RAW_BYTES: Final = 200_000


class Shown(Struct, frozen=True, kw_only=True):
    """What a tab shows; what is not its own is empty."""

    text: str | None = None
    is_cut: bool = False
    """True where text is only the beginning."""
    document: str | None = None
    """For the frame; None where there is no HTML body or too much of it."""
    headers: tuple[Header, ...] = ()
    attachments: tuple[AttachmentView, ...] = ()
    problem: str = ""
    """Why there is nothing of the message to be shown."""


async def read_tab(services: Services, tenant_id: UUID, email: EmailView, tab: Tab) -> Shown:
    """What a tab shows; where the message cannot be built, the reason.

    Raises EmailNotFound, DatabaseUnavailable.
    """
    try:
        return await _read(services, tenant_id, email, tab)
    except (AttachmentGone, EmailNotBuildable, ObjectStoreUnavailable) as error:
        # The rest of the page tells what became of the email, most of all of such a one.
        log.warning("message.not_shown", email_id=str(email.id), error=type(error).__name__)
        return Shown(problem=error.message)


async def _read(services: Services, tenant_id: UUID, email: EmailView, tab: Tab) -> Shown:
    if tab == "html":
        return _body(email.html)
    if tab == "text":
        return _body(email.text)
    if tab == "preview":
        return await _preview(services, tenant_id, email)
    if tab == "headers":
        head = read_headers(await services.build_head(tenant_id, email.id))
        return Shown(headers=tuple(Header(each.name, decode(each.value)) for each in head))
    if tab == "raw":
        return _raw(await services.build_message(tenant_id, email.id))
    async with services.session(tenant_id) as session:
        return Shown(attachments=await list_attachments(session, tenant_id, email.id))


async def _preview(services: Services, tenant_id: UUID, email: EmailView) -> Shown:
    if email.html is None:
        return _body(email.text)
    message = await services.build_message(tenant_id, email.id)
    contents = await asyncio.to_thread(read_contents, message)
    return Shown(document=preview(contents))


def _body(text: str | None) -> Shown:
    if text is None:
        return Shown()
    return Shown(text=text[:MAX_BODY_CHARS], is_cut=len(text) > MAX_BODY_CHARS)


def _raw(message: bytes) -> Shown:
    text = message[:MAX_RAW_BYTES].decode("utf-8", "replace").replace("\r\n", "\n")
    return Shown(text=text, is_cut=len(message) > MAX_RAW_BYTES)
