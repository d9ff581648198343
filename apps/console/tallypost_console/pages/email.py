"""One email: why it is where it is, everything that happened to it, and what it looks like."""

import secrets
from typing import Any, Final
from uuid import UUID

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.response import Redirect, Stream
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_console.access import OPT_KEY
from tallypost_console.account_names import load_names
from tallypost_console.commands import curl_command
from tallypost_console.dead_ends import find_dead_end
from tallypost_console.dependencies import require_tenant_id
from tallypost_console.downloads import content_disposition
from tallypost_console.edge import PREVIEW_STYLES, content_security_policy
from tallypost_console.email_tabs import TABS, Tab, read_tab
from tallypost_console.explanations import explain
from tallypost_console.forms import read_form
from tallypost_console.rendering import AnyRequest, render, render_block
from tallypost_console.services import Services
from tallypost_console.settlements import read_settled_as
from tallypost_console.streams import stream
from tallypost_console.timelines import timeline
from tallypost_console.visitors import Visitor, as_actor
from tallypost_core.errors import HTTP_STATUS, AppError
from tallypost_core.ids import parse_id
from tallypost_domain.emails import service as emails
from tallypost_domain.emails.errors import EmailNotFound
from tallypost_domain.emails.lifecycle import PENDING, RecipientStatus
from tallypost_domain.emails.messages import load_outline
from tallypost_domain.emails.views import EmailView
from tallypost_domain.inbox import service as inbox
from tallypost_domain.people import service as people
from tallypost_domain.people.permissions import Permission
from tallypost_domain.queue.errors import AttemptSuperseded, EmailUnderWay, NothingUnconfirmed
from tallypost_domain.queue.unconfirmed import find_unconfirmed
from tallypost_domain.queue.unconfirmed_decisions import settle
from tallypost_domain.queue.waiting import find_turn
from tallypost_providers.types import Mode

COPIES_SHOWN: Final = 20

_TEMPLATE: Final = "email.html"
_MODES: Final[tuple[Mode, ...]] = ("live", "test")


class EmailPage(Controller):
    """Pages about one email, of either mode."""

    path = "/emails/{email_id:str}"
    opt = {OPT_KEY: Permission.EMAILS_READ}  # noqa: RUF012 - Litestar reads it from the class

    @get("/")
    async def show_email(
        self,
        request: AnyRequest,
        services: NamedDependency[Services],
        visitor: NamedDependency[Visitor],
        email_id: FromPath[str],
        tab: FromQuery[Tab] = "preview",
    ) -> Response[str]:
        """The email with its recipients, attempts, events and copies, and one of the tabs."""
        return await _show(request, services, visitor, email_id, tab)

    @get("/live")
    async def follow_email(
        self,
        request: AnyRequest,
        services: NamedDependency[Services],
        visitor: NamedDependency[Visitor],
        email_id: FromPath[str],
    ) -> Stream:
        """What happens to the email, as it happens. Raises TooManyStreams."""
        tenant_id = require_tenant_id(visitor)
        permissions = visitor.person.permissions
        async with services.session(tenant_id) as session:
            # A stream that has begun cannot say any more that there is no such email.
            await _get_email(session, tenant_id, _require_id(email_id))

        async def view() -> str:
            async with services.session(tenant_id) as session:
                found = await _find(session, tenant_id, email_id, permissions)
            return render_block(_TEMPLATE, "history", **found)

        # Whoever may do the same shares one view.
        key = ("/emails", tenant_id, email_id, permissions)
        return stream(request, services, visitor, key, view)

    @get("/message.eml")
    async def download_message(
        self,
        services: NamedDependency[Services],
        visitor: NamedDependency[Visitor],
        email_id: FromPath[str],
    ) -> Response[bytes]:
        """The message as a file, as it is before it is signed."""
        tenant_id = require_tenant_id(visitor)
        wanted = _require_id(email_id)
        message = await services.build_message(tenant_id, wanted)
        return Response(
            message,
            media_type="message/rfc822",
            headers={"content-disposition": f'attachment; filename="{wanted}.eml"'},
        )

    @get("/attachments/{index:int}")
    async def download_attachment(
        self,
        services: NamedDependency[Services],
        visitor: NamedDependency[Visitor],
        email_id: FromPath[str],
        index: FromPath[int],
    ) -> Response[bytes]:
        """One attachment as a file, never shown by the browser itself."""
        tenant_id = require_tenant_id(visitor)
        attachment = await services.fetch_attachment(tenant_id, _require_id(email_id), index)
        return Response(
            attachment.body,
            media_type="application/octet-stream",
            headers={"content-disposition": content_disposition(attachment.filename)},
        )

    @post("/resend", status_code=303, opt={OPT_KEY: Permission.EMAILS_SEND})
    async def resend(
        self,
        request: AnyRequest,
        services: NamedDependency[Services],
        visitor: NamedDependency[Visitor],
        email_id: FromPath[str],
    ) -> Redirect:
        """Send it once more, as a new email; the same form sent twice sends once."""
        form = await read_form(request)
        new = await services.resend(
            require_tenant_id(visitor),
            _require_id(email_id),
            key=form.require("key"),
            actor=as_actor(request, visitor.person),
        )
        return Redirect(f"/emails/{new}", status_code=303)

    # Any: a redirect has no body.
    @post("/settle", status_code=303, opt={OPT_KEY: Permission.QUEUE_REQUEUE})
    async def settle(
        self,
        request: AnyRequest,
        services: NamedDependency[Services],
        visitor: NamedDependency[Visitor],
        email_id: FromPath[str],
    ) -> Response[Any]:
        """Believe a person who says whether it arrived; or say on the page what hinders."""
        tenant_id, wanted = require_tenant_id(visitor), _require_id(email_id)
        form = await read_form(request)
        settled_as, attempt_id = read_settled_as(form), parse_id(form.find("attempt"))
        try:
            async with services.session(tenant_id) as session:
                email = await _get_email(session, tenant_id, wanted)
                actor = as_actor(request, visitor.person)
                await settle(
                    session,
                    tenant_id,
                    email.mode,
                    wanted,
                    settled_as,
                    actor=actor,
                    attempt_id=attempt_id,
                )
        except (AttemptSuperseded, EmailUnderWay, NothingUnconfirmed) as error:
            return await _show(request, services, visitor, email_id, "preview", error)
        return Redirect(f"/emails/{wanted}", status_code=303)


async def _show(
    request: AnyRequest,
    services: Services,
    visitor: Visitor,
    email_id: str,
    tab: Tab,
    error: AppError | None = None,
) -> Response[str]:
    tenant_id = require_tenant_id(visitor)
    async with services.session(tenant_id) as session:
        tenant = await people.get_tenant(session, tenant_id)
        found = await _find(session, tenant_id, email_id, visitor.person.permissions)
        outline = await load_outline(session, tenant_id, found["email"].id)
    # Opens its own session where it needs one: building a large message takes its time.
    shown = await read_tab(services, tenant_id, found["email"], tab)
    here = f"/emails/{found['email'].id}"
    return render(
        request,
        _TEMPLATE,
        status_code=HTTP_STATUS[error.kind] if error else 200,
        # An email styles itself inline; its frame inherits the policy of this page.
        headers={
            "content-security-policy": content_security_policy(
                request.scope, more_styles=PREVIEW_STYLES
            )
        },
        tenant=tenant,
        **found,
        error=error,
        back=here,
        tab=tab,
        tabs=[(name, label, f"{here}?tab={name}#message") for name, label in TABS],
        shown=shown,
        command=curl_command(
            found["email"], outline.headers, has_attachments=bool(outline.attachments)
        ),
        resend_key=secrets.token_urlsafe(16),
    )


# Any: what the template shows.
async def _find(
    session: AsyncSession, tenant_id: UUID, email_id: str, permissions: frozenset[Permission]
) -> dict[str, Any]:
    email = await _get_email(session, tenant_id, _require_id(email_id))
    attempts = await emails.list_attempts(session, tenant_id, email.id)
    events = await emails.list_events(session, tenant_id, email.id)
    copies = await inbox.list_messages(
        session, tenant_id, email.mode, limit=COPIES_SHOWN, email_id=email.id
    )
    names = {str(recipient.id): recipient.address for recipient in email.recipients}
    turn = await find_turn(session, tenant_id, email.id)
    unconfirmed = None
    if email.status is RecipientStatus.UNCONFIRMED:
        unconfirmed = await find_unconfirmed(session, tenant_id, email.mode, email.id)
    why = explain(
        email,
        attempts,
        events,
        unconfirmed=unconfirmed,
        is_put_off=turn is not None and turn.is_put_off,
        dead_end=await find_dead_end(session, tenant_id, email, turn) if turn else "",
    )
    return {
        "mode": email.mode,
        "email": email,
        "names": names,
        "why": why,
        "unconfirmed": sum(
            recipient.status is RecipientStatus.UNCONFIRMED for recipient in email.recipients
        ),
        "silence": None if unconfirmed is None else unconfirmed.attempt,
        "has_others": any(
            recipient.status in PENDING - {RecipientStatus.UNCONFIRMED}
            for recipient in email.recipients
        ),
        "may_settle": Permission.QUEUE_REQUEUE in permissions,
        "action": why.action if why.action and why.action.permission in permissions else None,
        "steps": timeline(email, events, names),
        "attempts": attempts,
        "accounts": await load_names(session, tenant_id, {each.account for each in attempts}),
        "copies": copies.items,
    }


async def _get_email(session: AsyncSession, tenant_id: UUID, email_id: UUID) -> EmailView:
    """The email of that id, whichever its mode: an address that was copied has no mode in it."""
    try:
        return await emails.get_email(session, tenant_id, _MODES[0], email_id)
    except EmailNotFound:
        return await emails.get_email(session, tenant_id, _MODES[1], email_id)


def _require_id(text: str) -> UUID:
    wanted = parse_id(text)
    if wanted is None:
        raise EmailNotFound
    return wanted
