"""What happened to an email: its events, its handovers, and where each recipient stands."""

import datetime as dt
from collections.abc import Mapping
from typing import Final
from uuid import UUID

from litestar import Controller
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import Struct

from tallypost_api.caller import Caller
from tallypost_api.ids import require_email_id
from tallypost_api.own.reading import get
from tallypost_api.permissions import OPT_KEY, Permission
from tallypost_api.style import STYLE_KEY, Style
from tallypost_domain.emails.lifecycle import RecipientStatus
from tallypost_domain.emails.timelines import Timeline, get_timeline
from tallypost_domain.emails.types import RecipientKind
from tallypost_domain.emails.views import AttemptView, EventView, RecipientView
from tallypost_providers.types import Outcome

# What an event tells its tenant. What a later release writes there besides is not told until it
# stands here: it may be meant for operators.
_TOLD: Final = frozenset(
    {
        "attempt_id",
        "outcome",
        "reply_code",
        "enhanced_code",
        "phase",
        "reason",
        "was",
        "as",
        "actor_kind",
        "actor_id",
    }
)
# Names a process of ours; that it was lost is what `phase` says.
_NOT_TOLD_EVIDENCE: Final = frozenset({"worker_lost"})

Fact = str | int | float | bool | None


class RecipientNow(Struct, frozen=True):
    """A recipient and where it stands; `unconfirmed` is shown as such."""

    id: UUID
    address: str
    kind: RecipientKind
    status: RecipientStatus
    detail: str | None
    """The newest words about it: the provider's, or our own reason."""
    updated_at: dt.datetime


class TimelineEvent(Struct, frozen=True):
    """Something that happened to the email, or to one recipient."""

    id: UUID
    type: str
    at: dt.datetime
    recipient_id: UUID | None
    recipient: str | None
    """Its address."""
    data: dict[str, Fact]
    """What is known besides: the attempt, the outcome, the reason, who decided."""


class RecipientAnswer(Struct, frozen=True):
    """What a provider said about one recipient."""

    recipient_id: UUID
    recipient: str | None
    """Its address."""
    outcome: Outcome
    reply_code: int | None
    enhanced_code: str | None
    detail: str | None
    """The provider's words."""


class TimelineAttempt(Struct, frozen=True, kw_only=True):
    """One handover to a provider; of phase `lookup`, one question about an earlier handover."""

    id: UUID
    round: int
    """Handovers of one round go to one account after the other."""
    provider: str
    """`unknown` where our process was lost with the handover; so is the account."""
    account: str
    outcome: Outcome
    """That of the recipient for which it matters most."""
    phase: str
    """How far it came."""
    late: bool
    """It was recorded after the email had been taken from the process that handed over."""
    at: dt.datetime
    """When it was recorded."""
    duration_s: float
    provider_message_id: str | None
    evidence: dict[str, Fact]
    """What else the provider answered, or did not."""
    recipients: tuple[RecipientAnswer, ...]


class EmailTimeline(Struct, frozen=True, kw_only=True):
    """All that is on record about an email; lists are oldest first."""

    id: UUID
    status: RecipientStatus
    """Of the email: work still to do before ends, and trouble before success."""
    recipients: tuple[RecipientNow, ...]
    events: tuple[TimelineEvent, ...]
    attempts: tuple[TimelineAttempt, ...]


class TimelineController(Controller):
    """`/emails/{email_id}/timeline`."""

    path = "/emails/{email_id:str}/timeline"
    tags = ("Emails",)
    opt = {STYLE_KEY: Style.OURS}  # noqa: RUF012 - Litestar reads it from the class

    @get(opt={OPT_KEY: Permission.EMAILS_READ})
    async def get_timeline(
        self, caller: NamedDependency[Caller], email_id: FromPath[str]
    ) -> EmailTimeline:
        """Read everything that happened to an email, oldest first."""
        known_id = require_email_id(email_id)
        async with caller.session() as session:
            found = await get_timeline(session, caller.tenant_id, caller.mode, known_id)
        return _answer(found)


def _answer(found: Timeline) -> EmailTimeline:
    addresses = {recipient.id: recipient.address for recipient in found.email.recipients}
    return EmailTimeline(
        id=found.email.id,
        status=found.email.status,
        recipients=tuple(_recipient(recipient) for recipient in found.email.recipients),
        events=tuple(_event(event, addresses) for event in found.events),
        attempts=tuple(_attempt(attempt, addresses) for attempt in found.attempts),
    )


def _recipient(view: RecipientView) -> RecipientNow:
    return RecipientNow(view.id, view.address, view.kind, view.status, view.detail, view.updated_at)


def _event(view: EventView, addresses: Mapping[UUID, str]) -> TimelineEvent:
    return TimelineEvent(
        view.id,
        view.type,
        view.created_at,
        view.recipient_id,
        addresses.get(view.recipient_id) if view.recipient_id else None,
        _facts({name: fact for name, fact in view.data.items() if name in _TOLD}),
    )


def _attempt(view: AttemptView, addresses: Mapping[UUID, str]) -> TimelineAttempt:
    evidence = {
        name: fact for name, fact in view.evidence.items() if name not in _NOT_TOLD_EVIDENCE
    }
    return TimelineAttempt(
        id=view.id,
        round=view.attempt,
        provider=view.provider,
        account=view.account,
        outcome=Outcome(view.outcome),
        phase=view.phase,
        late=view.is_late,
        at=view.created_at,
        duration_s=view.duration_s,
        provider_message_id=view.provider_message_id,
        evidence=_facts(evidence),
        recipients=tuple(_said(answer, addresses) for answer in view.recipients),
    )


def _said(answer: Mapping[str, object], addresses: Mapping[UUID, str]) -> RecipientAnswer:
    facts = _facts(answer)
    recipient_id = UUID(str(facts["recipient_id"]))
    code = facts.get("reply_code")
    return RecipientAnswer(
        recipient_id,
        addresses.get(recipient_id),
        Outcome(str(facts["outcome"])),
        code if isinstance(code, int) else None,
        _text(facts.get("enhanced_code")),
        _text(facts.get("detail")),
    )


def _facts(data: Mapping[str, object]) -> dict[str, Fact]:
    """Of what is stored as JSON, that which is neither a list nor an object."""
    return {
        name: fact
        for name, fact in data.items()
        if fact is None or isinstance(fact, str | int | float)
    }


def _text(fact: Fact) -> str | None:
    return None if fact is None else str(fact)
