"""All components on one page, with sample data: what a change of the stylesheet is looked at on."""

import datetime as dt
from typing import Final
from uuid import UUID

from litestar import Response, get
from msgspec import Struct

from tallypost_console.access import OPT_KEY
from tallypost_console.account_findings import DomainFinding, StandingMark
from tallypost_console.account_forms import show_form
from tallypost_console.charts import Bar
from tallypost_console.rendering import AnyRequest, render
from tallypost_domain.emails.lifecycle import RecipientStatus
from tallypost_domain.people.permissions import Permission
from tallypost_domain.queue.account_states import AccountCondition, SeenState
from tallypost_domain.routing.types import AccountStep, DomainRecord, StandingView
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


_STEPS: Final = (
    AccountStep("connect", "good", "220 relay.example.net ESMTP"),
    AccountStep("greet", "warning", "the relay offers no SIZE"),
    AccountStep("log in", "failed", "535 5.7.8 authentication failed"),
    AccountStep("send", "not_tried", ""),
)
_RECORDS: Final = (
    DomainRecord(
        type="CNAME",
        name="sample._domainkey.example.com",
        value="sample.dkim.example.net",
        is_found=True,
    ),
    DomainRecord(
        type="TXT",
        name="tp1._domainkey.example.com",
        value="v=DKIM1; k=rsa; p=sample-of-a-key-that-is-longer-than-its-column-is-wide",
        is_found=False,
    ),
)
_FINDING: Final = DomainFinding(
    "example.com",
    "danger",
    "Not verified",
    StandingView(
        domain_id=UUID(int=1),
        domain="example.com",
        account="sendgrid",
        status="unverified",
        records=_RECORDS,
        detail="expected a CNAME, found none",
        checked_at=_SINCE,
    ),
)
_MARKS: Final = (
    StandingMark("success", "Verified", ("ses", "ses-2")),
    StandingMark("danger", "Not verified", ("sendgrid",)),
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
        check_steps=_STEPS,
        domain_finding=_FINDING,
        standing_marks=_MARKS,
        account_form=show_form("sendgrid"),
    )
