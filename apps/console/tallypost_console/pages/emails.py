"""The list of emails, and everything about one of them."""

from typing import Final
from uuid import UUID

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.response import Template
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_console.access import OPT_KEY
from tallypost_console.rendering import AnyRequest, render
from tallypost_core.ids import parse_id
from tallypost_domain.emails import service as emails
from tallypost_domain.emails.errors import EmailNotFound
from tallypost_domain.emails.views import EmailView
from tallypost_domain.inbox import service as inbox
from tallypost_domain.people.permissions import Permission
from tallypost_domain.people.types import TenantRow
from tallypost_providers.types import Mode

PAGE_SIZE: Final = 50
COPIES_SHOWN: Final = 20

_MODES: Final[tuple[Mode, ...]] = ("live", "test")


class EmailPages(Controller):
    """Pages about emails of the open tenant."""

    path = "/emails"
    opt = {OPT_KEY: Permission.EMAILS_READ}  # noqa: RUF012 - Litestar reads it from the class

    @get("/")
    async def show_emails(
        self,
        request: AnyRequest,
        session: NamedDependency[AsyncSession],
        tenant: NamedDependency[TenantRow],
        mode: FromQuery[Mode] = "live",
        after: FromQuery[UUID | None] = None,
        before: FromQuery[UUID | None] = None,
    ) -> Template:
        """One page of the emails of a mode, newest first."""
        page = await emails.list_emails(
            session, tenant.id, mode, limit=PAGE_SIZE, after=after, before=before
        )
        # has_more speaks of the direction that was asked for; in the other one is the page that
        # the visitor came from.
        has_older = page.has_more or before is not None
        has_newer = page.has_more if before is not None else after is not None
        return render(
            request,
            "emails.html",
            tenant=tenant,
            mode=mode,
            emails=page.items,
            is_newest=after is None and before is None,
            after=page.items[-1].id if page.items and has_older else None,
            before=page.items[0].id if page.items and has_newer else None,
        )

    @get("/{email_id:str}")
    async def show_email(
        self,
        request: AnyRequest,
        session: NamedDependency[AsyncSession],
        tenant: NamedDependency[TenantRow],
        email_id: FromPath[str],
    ) -> Template:
        """One email of either mode, with its recipients, attempts, events and copies."""
        email = await _get_email(session, tenant.id, email_id)
        copies = await inbox.list_messages(
            session, tenant.id, email.mode, limit=COPIES_SHOWN, email_id=email.id
        )
        return render(
            request,
            "email.html",
            tenant=tenant,
            mode=email.mode,
            email=email,
            names={str(recipient.id): recipient.address for recipient in email.recipients},
            attempts=await emails.list_attempts(session, tenant.id, email.id),
            events=await emails.list_events(session, tenant.id, email.id),
            copies=copies.items,
        )


async def _get_email(session: AsyncSession, tenant_id: UUID, email_id: str) -> EmailView:
    """The email of that id, whichever its mode: an address that was copied has no mode in it."""
    wanted = parse_id(email_id)
    if wanted is None:
        raise EmailNotFound
    try:
        return await emails.get_email(session, tenant_id, _MODES[0], wanted)
    except EmailNotFound:
        return await emails.get_email(session, tenant_id, _MODES[1], wanted)
