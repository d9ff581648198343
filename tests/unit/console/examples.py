"""Emails as the console reads them, for tests; a test names only what matters to it."""

import datetime as dt
from collections.abc import Mapping

from tallypost_core.ids import new_id
from tallypost_domain.emails.lifecycle import RecipientStatus, last_event, roll_up
from tallypost_domain.emails.types import Tag
from tallypost_domain.emails.views import AttemptView, EmailView, RecipientView
from tallypost_providers.types import Mode, Outcome

NOON = dt.datetime(2026, 11, 24, 12, 0, tzinfo=dt.UTC)


def recipient(status: RecipientStatus, address: str = "first@recipient.test") -> RecipientView:
    """Somebody of whom the email stands like this."""
    return RecipientView(new_id(), address, "to", status, None, NOON)


def email(
    *recipients: RecipientView,
    status: RecipientStatus | None = None,
    subject: str = "A subject",
    html: str | None = "<p>Hello</p>",
    text: str | None = None,
    cc: tuple[str, ...] = (),
    bcc: tuple[str, ...] = (),
    reply_to: tuple[str, ...] = (),
    tags: tuple[Tag, ...] = (),
    stream: str = "transactional",
    scheduled_at: dt.datetime | None = None,
    mode: Mode = "live",
) -> EmailView:
    """An email of the status of its recipients; where a status is given, of one like that."""
    given = recipients or (recipient(status or RecipientStatus.SENT),)
    rolled_up = roll_up(each.status for each in given)
    id_ = new_id()
    return EmailView(
        id=id_,
        mode=mode,
        message_id=f"<{id_}@example.com>",
        from_header="Sample Sender <hello@example.com>",
        to=tuple(each.address for each in given),
        cc=cc,
        bcc=bcc,
        reply_to=reply_to,
        subject=subject,
        html=html,
        text=text,
        status=rolled_up,
        last_event=last_event(rolled_up),
        stream=stream,
        scheduled_at=scheduled_at,
        created_at=NOON,
        tags=tags,
        recipients=given,
        trace_id=None,
    )


def answer(
    to: RecipientView, outcome: Outcome, enhanced_code: str | None, detail: str
) -> Mapping[str, object]:
    """What a server said about one recipient."""
    codes = {Outcome.ACCEPTED: 250, Outcome.REJECTED: 550}
    return {
        "recipient_id": str(to.id),
        "outcome": outcome.value,
        "reply_code": codes.get(outcome, 451),
        "enhanced_code": enhanced_code,
        "detail": detail,
    }


def attempt(
    *answers: Mapping[str, object],
    outcome: Outcome = Outcome.ACCEPTED,
    evidence: Mapping[str, object] | None = None,
    provider: str = "smtp",
    phase: str = "final",
) -> AttemptView:
    """A handover with these answers."""
    return AttemptView(
        id=new_id(),
        attempt=1,
        provider=provider,
        account=provider,
        outcome=outcome.value,
        is_late=False,
        phase=phase,
        recipients=answers,
        evidence=evidence or {},
        provider_message_id=None,
        duration_s=0.1,
        created_at=NOON,
    )
