"""Why an email is where it is: a sentence about the cause, the evidence, and what to do next."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from tallypost_console.addresses import address_of
from tallypost_console.bounce_codes import Meaning, meaning_of
from tallypost_console.explanation_words import AFTER_SILENCE, NOT_BUILT
from tallypost_console.words import answer_line, full_time, plural, provider_name
from tallypost_domain.emails.lifecycle import RecipientStatus
from tallypost_domain.emails.types import LOOK_UP_PLANNED
from tallypost_domain.emails.views import AttemptView, EmailView, EventView
from tallypost_domain.people.permissions import Permission
from tallypost_domain.queue.unconfirmed import NextStep, UnconfirmedEmail
from tallypost_domain.queue.unconfirmed_decisions import SETTLED_EVENTS, is_settlement
from tallypost_providers.types import Outcome


class Action(Struct, frozen=True):
    """A link to where a person goes on."""

    label: str
    href: str
    permission: Permission
    """Of those for whom there is something at its end."""


class Explanation(Struct, frozen=True):
    """Of an email in its present state."""

    cause: str
    next_step: str
    evidence: str = ""
    """What the provider said; empty where none was asked."""
    action: Action | None = None
    """None where nothing that a person could do here would help."""


class _Case(Struct, frozen=True):
    """What an explanation is made of."""

    email: EmailView
    outcome: str
    """Of the newest handover; empty where there is none."""
    evidence: str
    meaning: Meaning | None
    attempts: int
    """Handovers, without look-ups."""
    silence: AttemptView | None
    """The newest attempt after which nobody knows: a handover, or a look-up in vain."""
    is_found: bool
    """The newest attempt was a look-up, by which the provider was found to have it."""
    is_settled: bool
    """Of all recipients whose status is the email's, somebody said so after a silence."""
    reason: str
    """For which it was given up last; empty where it never was, or nobody said."""
    unconfirmed: UnconfirmedEmail | None
    is_put_off: bool
    dead_end: str
    """Why no account may be asked at all; empty where one may."""


_RESEND: Final = Action("Resend as new", "#resend", Permission.EMAILS_SEND)


def explain(
    email: EmailView,
    attempts: Sequence[AttemptView],
    events: Sequence[EventView],
    *,
    unconfirmed: UnconfirmedEmail | None = None,
    is_put_off: bool = False,
    dead_end: str = "",
) -> Explanation:
    """Why the email has its status; attempts and events are all that it has, first to last.

    unconfirmed is what is known of those who may have it. is_put_off: it is due later. dead_end
    says why no account may be asked at all.
    """
    newest = attempts[-1] if attempts else None
    handovers = [attempt for attempt in attempts if not attempt.is_look_up]
    silences = [attempt for attempt in attempts if attempt.outcome == Outcome.AMBIGUOUS]
    answer = _telling_answer(email, attempts)
    case = _Case(
        email=email,
        outcome=handovers[-1].outcome if handovers else "",
        evidence=_words(answer, newest) if newest else "",
        meaning=meaning_of(str(answer.get("enhanced_code") or "")),
        attempts=len(handovers),
        silence=silences[-1] if silences else None,
        is_found=newest is not None and newest.is_look_up and newest.outcome == Outcome.ACCEPTED,
        is_settled=_is_settled(email, events),
        reason=_reason(events),
        unconfirmed=unconfirmed,
        is_put_off=is_put_off,
        dead_end=dead_end,
    )
    return _EXPLAIN[email.status](case)


def _scheduled(case: _Case) -> Explanation:
    at = full_time(case.email.scheduled_at) if case.email.scheduled_at else "its time"
    return Explanation(
        f"It waits until {at}.", "It is sent by itself. Your program may move or cancel it."
    )


def _queued(case: _Case) -> Explanation:
    if case.dead_end:
        return _waits_for_account(case)
    if case.is_put_off:
        return Explanation(
            "It was put off before a provider was asked, and waits for another try.",
            "A worker tries it again by itself. The queue shows when, and what it waits behind.",
            action=_in_queue(case, "See the queue"),
        )
    return Explanation(
        "It is stored, and a worker will take it.",
        "This takes moments. If it does not, the queue shows what it waits behind.",
        action=_in_queue(case, "See the queue"),
    )


def _held(case: _Case) -> Explanation:
    return Explanation(
        "It is held: its sending domain is not verified, or the account is not active.",
        "It goes out by itself as soon as that is mended.",
        case.evidence,
        _in_queue(case, "See what is held", only="held"),
    )


def _waits_for_account(case: _Case) -> Explanation:
    return Explanation(
        case.dead_end,
        "It waits, and goes out by itself as soon as one may. The routes show what is in the way.",
        case.evidence,
        Action("See the routes", "/routes", Permission.ACCOUNTS_READ),
    )


def _deferred(case: _Case) -> Explanation:
    if case.dead_end:
        return _waits_for_account(case)
    causes = {
        Outcome.THROTTLED: "The provider asked us to send more slowly.",
        Outcome.SUSPENDED: "The provider refused our account or its credentials.",
        Outcome.UNAVAILABLE: "The provider could not be reached, and has not taken it.",
    }
    default = case.meaning.cause if case.meaning else "The recipient's server asked us to wait."
    return Explanation(
        causes.get(Outcome(case.outcome), default) if case.outcome else default,
        f"It is tried again by itself; {plural(case.attempts, 'attempt')} so far.",
        case.evidence,
    )


def _unconfirmed(case: _Case) -> Explanation:
    cause = "It may have arrived: the connection ended after the message and before the answer."
    if case.silence is not None and case.silence.is_look_up:
        cause = "It may have arrived: no answer came, and no look-up gave proof."
    if case.unconfirmed is None:
        return Explanation(
            cause,
            "What becomes of it is being decided just now; load the page again.",
            case.evidence,
        )
    step = case.unconfirmed.next_step
    next_step = AFTER_SILENCE[step]
    if step is NextStep.LOOK_UP and case.silence is not None:
        place = provider_name(case.silence.provider)
        next_step = f"It waits to be looked up at {place}. Nothing is sent again before that."
    elif step is NextStep.RESEND and case.unconfirmed.next_at is None:
        next_step = "It is held; once it may go out it is sent again, and may arrive twice."
    action = None
    if step is NextStep.DECISION:
        action = _in_queue(case, "Decide", only="ambiguous", email=str(case.email.id))
    return Explanation(cause, next_step, case.evidence, action)


def _sent(case: _Case) -> Explanation:
    cause = "The provider has taken it, and answers for it from here."
    if case.is_found:
        cause = "The provider has taken it: it did not answer, and had it when it was asked."
    if case.is_settled:
        cause = "Somebody said that it arrived. No answer of the provider is known."
    return Explanation(
        cause,
        "Nothing is left to do. Bounces and complaints show here if the provider reports them.",
        case.evidence,
    )


def _delivered(case: _Case) -> Explanation:
    return Explanation(
        "The recipient's mail server has taken it.", "Nothing is left to do.", case.evidence
    )


def _bounced(case: _Case) -> Explanation:
    meaning = case.meaning or Meaning(
        "The recipient's server refused it for good.", "Read its words, mend it, and send it again."
    )
    is_same_again = case.meaning is None or case.meaning.is_mended_outside
    return Explanation(
        meaning.cause, meaning.next_step, case.evidence, _RESEND if is_same_again else None
    )


def _complained(case: _Case) -> Explanation:
    return Explanation(
        "The recipient reported it as spam.",
        "Do not write to this address again: complaints cost all your mail its good name.",
        case.evidence,
    )


def _suppressed(case: _Case) -> Explanation:
    return Explanation(
        "It was not sent: the address is on your suppression list.",
        "It stays so until the address is taken off the list.",
        case.evidence,
    )


def _failed(case: _Case) -> Explanation:
    letters = address_of("/queue/dead-letters", mode=case.email.mode, email=case.email.id)
    action = Action("See the dead letters", letters, Permission.QUEUE_READ)
    if case.reason in NOT_BUILT:
        # What was answered to an earlier attempt has nothing to do with it.
        return Explanation(*NOT_BUILT[case.reason], action=action)
    if case.reason == "attempts_exhausted":
        cause = f"It was given up after {plural(case.attempts, 'attempt')}."
        next_step = "Mend what the last answer names, then put it back into the queue."
    else:
        named = f": {case.reason.replace('_', ' ')}" if case.reason else ""
        cause = f"It was given up{named}."
        next_step = "Look at its timeline, mend what went wrong, then put it back into the queue."
    return Explanation(cause, next_step, case.evidence, action)


def _canceled(case: _Case) -> Explanation:
    if case.is_settled:
        return Explanation(
            "Somebody said that it did not arrive, and is not to be sent again.",
            "Nothing is left to do. If the provider says that it took it after all, it becomes sent"
            + (", and is billed." if case.email.mode == "live" else "."),
            case.evidence,
        )
    return Explanation(
        "It was canceled before it was sent.",
        "Send it as new if it was a mistake.",
        action=_RESEND,
    )


_EXPLAIN: Final[Mapping[RecipientStatus, Callable[[_Case], Explanation]]] = {
    RecipientStatus.SCHEDULED: _scheduled,
    RecipientStatus.QUEUED: _queued,
    RecipientStatus.HELD: _held,
    RecipientStatus.DEFERRED: _deferred,
    RecipientStatus.UNCONFIRMED: _unconfirmed,
    RecipientStatus.SENT: _sent,
    RecipientStatus.DELIVERED: _delivered,
    RecipientStatus.BOUNCED: _bounced,
    RecipientStatus.COMPLAINED: _complained,
    RecipientStatus.SUPPRESSED: _suppressed,
    RecipientStatus.FAILED: _failed,
    RecipientStatus.CANCELED: _canceled,
}


_SETTLED_EVENTS: Final[Mapping[RecipientStatus, str]] = {
    RecipientStatus(settled_as): type_ for settled_as, type_ in SETTLED_EVENTS.items()
}


def _in_queue(case: _Case, label: str, only: str = "", email: str = "") -> Action:
    address = address_of("/queue", mode=case.email.mode, only=only, email=email)
    return Action(label, address, Permission.QUEUE_READ)


def _is_settled(email: EmailView, events: Sequence[EventView]) -> bool:
    type_ = _SETTLED_EVENTS.get(email.status)
    settled = {
        event.recipient_id
        for event in events
        if event.type == type_ and is_settlement(event.type, event.data)
    }
    alike = {each.id for each in email.recipients if each.status is email.status}
    return bool(alike) and alike <= settled


def _reason(events: Sequence[EventView]) -> str:
    ends = [event for event in events if event.type == "email.failed"]
    return str(ends[-1].data.get("reason") or "") if ends else ""


def _telling_answer(email: EmailView, attempts: Sequence[AttemptView]) -> Mapping[str, object]:
    """What was said last about a recipient whose status is the email's.

    Not always by the newest attempt, which is only for those who were still to be sent to.
    """
    like_email = {str(each.id) for each in email.recipients if each.status is email.status}
    answers = (answer for attempt in reversed(attempts) for answer in attempt.recipients)
    return next((each for each in answers if each.get("recipient_id") in like_email), {})


def _words(answer: Mapping[str, object], attempt: AttemptView) -> str:
    spoken = answer_line(answer)
    if spoken:
        return spoken
    facts = {name: value for name, value in attempt.evidence.items() if name != LOOK_UP_PLANNED}
    return " · ".join(f"{name}: {value}" for name, value in facts.items() if value)
