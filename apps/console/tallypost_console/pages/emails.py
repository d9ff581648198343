"""The list of emails: filters and search in the address, page by page, and live."""

from typing import Any, Final
from uuid import UUID

from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.params import FromQuery
from litestar.response import Stream
from msgspec.structs import replace
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_console.access import OPT_KEY
from tallypost_console.addresses import address_of
from tallypost_console.dependencies import require_tenant_id
from tallypost_console.rendering import AnyRequest, render, render_block
from tallypost_console.services import Services
from tallypost_console.streams import stream
from tallypost_console.visitors import Visitor
from tallypost_core.errors import HTTP_STATUS
from tallypost_domain.emails.errors import InvalidSearch
from tallypost_domain.emails.lifecycle import RecipientStatus
from tallypost_domain.emails.search import find_emails
from tallypost_domain.emails.search_terms import EmailFilter, format_search, parse_search
from tallypost_domain.people.permissions import Permission
from tallypost_domain.people.types import TenantRow
from tallypost_providers.types import Mode

PAGE_SIZE: Final = 50

_PATH: Final = "/emails"
_TEMPLATE: Final = "emails.html"
# What people look for most; any other status is a word in the search.
_QUICK: Final[tuple[tuple[str, frozenset[RecipientStatus]], ...]] = (
    ("All", frozenset()),
    (
        "Waiting",
        frozenset({RecipientStatus.QUEUED, RecipientStatus.HELD, RecipientStatus.SCHEDULED}),
    ),
    ("Sent", frozenset({RecipientStatus.SENT, RecipientStatus.DELIVERED})),
    ("Delayed", frozenset({RecipientStatus.DEFERRED, RecipientStatus.UNCONFIRMED})),
    ("Bounced", frozenset({RecipientStatus.BOUNCED})),
    ("Complained", frozenset({RecipientStatus.COMPLAINED})),
    ("Failed", frozenset({RecipientStatus.FAILED})),
    ("Suppressed", frozenset({RecipientStatus.SUPPRESSED})),
)
_HELP: Final = (
    ("welcome", "A word of the subject; several words all have to be in it"),
    ('"your order"', "These words of the subject together"),
    ("ada@example.com", "An address in To, Cc or Bcc; also `to:`"),
    ("from:hello@example.com", "The sender"),
    ("status:bounced", "A status; of several one is enough"),
    ("tag:campaign=welcome", "A tag and its value"),
    ("stream:bulk", "A stream"),
    ("after:2026-11-20", "Accepted on this day or later, UTC; `before:` leaves its day out"),
    ("id:… or key:…", "The id of the email, or of the API key that it came with"),
)


class EmailPages(Controller):
    """The list."""

    path = _PATH
    opt = {OPT_KEY: Permission.EMAILS_READ}  # noqa: RUF012 - Litestar reads it from the class

    @get("/")
    async def show_emails(
        self,
        request: AnyRequest,
        session: NamedDependency[AsyncSession],
        tenant: NamedDependency[TenantRow],
        mode: FromQuery[Mode] = "live",
        q: FromQuery[str] = "",
        after: FromQuery[UUID | None] = None,
        before: FromQuery[UUID | None] = None,
    ) -> Response[str]:
        """One page of the emails of a mode that match, newest first."""
        page: dict[str, Any] = {"tenant": tenant, "mode": mode, "q": q, "help": _HELP}
        try:
            wanted = parse_search(q)
        except InvalidSearch as error:
            status = HTTP_STATUS[error.kind]
            return render(request, _TEMPLATE, status_code=status, **page, error=error, quick=[])
        found = await _find(session, tenant.id, mode, wanted, after, before)
        return render(
            request, _TEMPLATE, **page, **found, error=None, quick=_quick_filters(wanted, mode)
        )

    @get("/live")
    async def follow_emails(
        self,
        request: AnyRequest,
        services: NamedDependency[Services],
        visitor: NamedDependency[Visitor],
        mode: FromQuery[Mode] = "live",
        q: FromQuery[str] = "",
    ) -> Stream:
        """The newest page of the list whenever it changes. Raises InvalidSearch, TooManyStreams."""
        tenant_id = require_tenant_id(visitor)
        wanted = parse_search(q)

        async def view() -> str:
            async with services.session(tenant_id) as session:
                found = await _find(session, tenant_id, mode, wanted)
            return render_block(_TEMPLATE, "list", mode=mode, **found)

        key = (_PATH, tenant_id, mode, format_search(wanted))
        return stream(request, services, visitor, key, view)


# Any: what the template shows.
async def _find(
    session: AsyncSession,
    tenant_id: UUID,
    mode: Mode,
    wanted: EmailFilter,
    after: UUID | None = None,
    before: UUID | None = None,
) -> dict[str, Any]:
    page = await find_emails(
        session, tenant_id, mode, wanted, limit=PAGE_SIZE, after=after, before=before
    )
    # has_more speaks of the direction that was asked for; in the other one is the page that the
    # visitor came from.
    has_older = page.has_more or before is not None
    has_newer = page.has_more if before is not None else after is not None
    search = format_search(wanted)
    return {
        "emails": page.items,
        "is_filtered": bool(search),
        "is_newest": after is None and before is None,
        "here": address_of(_PATH, mode=mode, q=search),
        "live": address_of(f"{_PATH}/live", mode=mode, q=search),
        "after": page.items[-1].id if page.items and has_older else None,
        "before": page.items[0].id if page.items and has_newer else None,
        "searched_back_to": page.searched_back_to,
        "continue_after": page.continue_after,
        "continue_before": page.continue_before,
    }


def _quick_filters(wanted: EmailFilter, mode: Mode) -> list[tuple[str, str, bool]]:
    """Label, address and whether it is the present one."""
    quick = []
    for label, statuses in _QUICK:
        search = format_search(replace(wanted, statuses=tuple(statuses)))
        is_current = frozenset(wanted.statuses) == statuses
        quick.append((label, address_of(_PATH, mode=mode, q=search), is_current))
    return quick
