"""All components on one page, with sample data: what a change of the stylesheet is looked at on."""

import datetime as dt
from typing import Final

from litestar import Response, get
from msgspec import Struct

from tallypost_console.access import OPT_KEY
from tallypost_console.charts import Bar
from tallypost_console.rendering import AnyRequest, render
from tallypost_domain.emails.lifecycle import RecipientStatus
from tallypost_domain.people.permissions import Permission
from tallypost_domain.queue.account_states import AccountCondition, SeenState
from tallypost_providers.types import Outcome

_BARS: Final = tuple(
    Bar(
        label=day,
        summary=f"{day}: {sent} sent, {waiting} waiting, {bounced} bounced",
        href="#charts",
        parts=(
            ("delivered", sent),
            ("waiting", waiting),
            ("bounced", bounced),
            ("complained", complained),
            ("suppressed", suppressed),
        ),
        is_open=day == "Sun",
    )
    for day, sent, waiting, bounced, complained, suppressed in (
        ("Mon", 820, 0, 12, 1, 4),
        ("Tue", 640, 0, 30, 0, 9),
        ("Wed", 910, 0, 8, 2, 0),
        ("Thu", 0, 0, 0, 0, 0),
        ("Fri", 1204, 20, 60, 4, 30),
        ("Sat", 300, 5, 2, 0, 1),
        ("Sun", 180, 90, 1, 0, 0),
    )
)
_LINES: Final = (
    ("delivered", [0, 4, 8, 12, 11, 13, 12, 9, 3, 2, 8, 12]),
    ("waiting", [0, 0, 0, 0, 2, 6, 8, 9, 4, 1, 0, 0]),
    ("bounced", [0, 0, 1, 0, 0, 1, 0, 0, 0, 1, 0, 0]),
)


_SINCE: Final = dt.datetime(2026, 11, 26, 9, 30, tzinfo=dt.UTC)
_ACCOUNTS: Final = tuple(
    SeenState(name, name, condition, workers, _SINCE, wait_s)
    for name, condition, workers, wait_s in (
        ("smtp", AccountCondition.WELL, 2, None),
        ("sendgrid", AccountCondition.PAUSED, 1, 12.0),
        ("ses", AccountCondition.OPEN, 1, 4.2),
        ("ses", AccountCondition.HALF_OPEN, 1, None),
    )
)


class _Email(Struct, frozen=True):
    """As much of an email as a list shows."""

    id: str
    status: RecipientStatus
    to: tuple[str, ...]
    subject: str
    created_at: dt.datetime


_EMAILS: Final = (
    _Email(
        "sample-1",
        RecipientStatus.SENT,
        ("ada@example.com", "grace@example.org"),
        "[Sample] A subject that is a good deal longer than a narrow screen has room for",
        dt.datetime(2026, 11, 26, 9, 30, tzinfo=dt.UTC),
    ),
    _Email(
        "sample-2",
        RecipientStatus.BOUNCED,
        ("alan@example.net",),
        "",
        dt.datetime(2026, 11, 26, 9, 29, tzinfo=dt.UTC),
    ),
)


@get("/gallery", opt={OPT_KEY: Permission.PLATFORM_READ}, sync_to_thread=False)
def show_gallery(request: AnyRequest) -> Response[str]:
    """Each component in each of its states."""
    return render(
        request,
        "gallery.html",
        statuses=list(RecipientStatus),
        outcomes=list(Outcome),
        bars=_BARS,
        emails=_EMAILS,
        lines=_LINES,
        accounts=_ACCOUNTS,
    )
