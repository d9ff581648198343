"""Why an email is where it is."""

from collections.abc import Sequence
from uuid import UUID

import pytest

from tallypost_console import explanations
from tallypost_console.explanations import Explanation
from tallypost_core.ids import new_id
from tallypost_domain.emails.lifecycle import RecipientStatus
from tallypost_domain.emails.views import AttemptView, EmailView, EventView, RecipientView
from tallypost_domain.queue.unconfirmed import NextStep, UnconfirmedEmail
from tallypost_providers.types import Outcome
from tests.unit.console.examples import NOON, answer, attempt, email, recipient

Status = RecipientStatus

NO_MAILBOX = ("5.1.1", "No such user here")
MAILBOX_FULL = ("5.2.2", "Over quota")


def explain(
    of: EmailView,
    attempts: Sequence[AttemptView] = (),
    events: Sequence[EventView] = (),
    *,
    step: NextStep = NextStep.DECISION,
    is_held: bool = False,
) -> Explanation:
    """The explanation of an email to which nothing happened but this."""
    return explanations.explain(of, attempts, events, unconfirmed=doubt(of, step, is_held=is_held))


def doubt(of: EmailView, step: NextStep, *, is_held: bool = False) -> UnconfirmedEmail | None:
    """What the queue says of an email that is unconfirmed."""
    if of.status is not Status.UNCONFIRMED:
        return None
    is_dated = step in (NextStep.RESEND, NextStep.LOOK_UP) and not is_held
    return UnconfirmedEmail(
        id=of.id,
        subject=of.subject,
        stream=of.stream,
        accepted_at=NOON,
        recipients=(),
        attempt=None,
        next_step=step,
        next_at=NOON if is_dated else None,
    )


def gave_up(reason: str | None) -> EventView:
    """The end of an email, for a reason."""
    data = {"reason": reason} if reason else {}
    return EventView(new_id(), "email.failed", None, data, NOON)


def href(of: EmailView, *attempts: AttemptView) -> str:
    """Where the page leads from here; empty where it leads nowhere."""
    action = explain(of, attempts).action
    return action.href if action else ""


@pytest.mark.parametrize("status", Status)
def test_every_status_has_a_cause_and_a_next_step(status: Status) -> None:
    explanation = explain(email(status=status), [])
    assert explanation.cause.endswith(".")
    assert explanation.next_step.endswith(".")
    assert explanation.evidence == ""


@pytest.mark.parametrize("outcome", Outcome)
@pytest.mark.parametrize("status", Status)
def test_every_status_is_explained_after_any_outcome(status: Status, outcome: Outcome) -> None:
    explanation = explain(email(status=status), [attempt(outcome=outcome)])
    assert explanation.cause
    assert explanation.next_step


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (Status.BOUNCED, "#resend"),
        (Status.CANCELED, "#resend"),
        (Status.QUEUED, "/queue"),
        (Status.HELD, "/queue?only=held"),
        # What was sent again would be left out again, or do more harm.
        (Status.SUPPRESSED, ""),
        (Status.COMPLAINED, ""),
        (Status.DELIVERED, ""),
    ],
)
def test_action_is_offered_where_one_helps(status: Status, expected: str) -> None:
    assert href(email(status=status)) == expected


def test_email_that_was_given_up_leads_to_its_own_dead_letters() -> None:
    failed = email(status=Status.FAILED)
    assert href(failed) == f"/queue/dead-letters?email={failed.id}"


@pytest.mark.parametrize("status", [Status.QUEUED, Status.HELD, Status.UNCONFIRMED, Status.FAILED])
def test_action_keeps_the_mode(status: Status) -> None:
    assert "?mode=test" in href(email(status=status, mode="test"))


def test_bounce_is_sent_again_only_where_the_same_may_get_through() -> None:
    ada = recipient(Status.BOUNCED)
    full = attempt(answer(ada, Outcome.REJECTED, *MAILBOX_FULL))
    assert href(email(ada), full) == "#resend"
    unknown = attempt(answer(ada, Outcome.REJECTED, *NO_MAILBOX))
    assert href(email(ada), unknown) == ""


@pytest.mark.parametrize(
    ("reason", "cause", "next_step"),
    [
        ("attempts_exhausted", "after 3 attempts", "what the last answer names"),
        ("attachment_missing", "not in the object store any more", "with the attachment"),
        ("email_not_buildable", "cannot be written as a message", "Send a new one"),
        ("signing_key_invalid", "DKIM key", "put it back into the queue"),
        ("something_new", "given up: something new", "put it back into the queue"),
        (None, "It was given up.", "put it back into the queue"),
    ],
)
def test_email_that_was_given_up_says_for_which_reason(
    reason: str | None, cause: str, next_step: str
) -> None:
    later = attempt(outcome=Outcome.DEFERRED)
    explanation = explain(email(status=Status.FAILED), [later] * 3, [gave_up(reason)])
    assert cause in explanation.cause
    assert next_step in explanation.next_step


def test_email_that_was_never_handed_over_does_not_speak_of_attempts() -> None:
    explanation = explain(email(status=Status.FAILED), [], [gave_up("email_not_buildable")])
    assert "attempt" not in explanation.cause
    assert "answer" not in explanation.next_step


def test_answer_of_an_earlier_attempt_is_no_evidence_of_a_message_that_cannot_be_built() -> None:
    ada = recipient(Status.FAILED)
    later = attempt(answer(ada, Outcome.DEFERRED, "4.2.2", "Later"))
    assert explain(email(ada), [later], [gave_up("attachment_missing")]).evidence == ""
    assert explain(email(ada), [later], [gave_up("attempts_exhausted")]).evidence != ""


def test_newest_reason_counts_where_it_was_given_up_twice() -> None:
    twice = [gave_up("attempts_exhausted"), gave_up("signing_key_invalid")]
    assert "DKIM key" in explain(email(status=Status.FAILED), [], twice).cause


@pytest.mark.parametrize("status", [Status.QUEUED, Status.DEFERRED])
def test_email_that_has_nobody_to_ask_says_so_and_leads_to_the_routes(status: Status) -> None:
    tried = [attempt(outcome=Outcome.SUSPENDED)] if status is Status.DEFERRED else []
    said = "No account of its route may be asked: A: it is switched off."
    found = explanations.explain(email(status=status), tried, (), is_put_off=True, dead_end=said)
    assert found.cause == said
    assert "moments" not in found.next_step
    assert found.action is not None
    assert found.action.href == "/routes"


def test_email_that_was_put_off_unsent_does_not_speak_of_moments() -> None:
    queued = email(status=Status.QUEUED)
    put_off = explanations.explain(queued, (), (), is_put_off=True)
    assert "was put off" in put_off.cause
    assert "moments" not in put_off.next_step
    assert "moments" in explain(queued).next_step


def test_scheduled_email_says_until_when() -> None:
    waiting = email(status=Status.SCHEDULED, scheduled_at=NOON)
    assert "24 Nov 2026, 12:00:00 UTC" in explain(waiting, []).cause


def test_bounce_says_what_its_code_means() -> None:
    ada = recipient(Status.BOUNCED)
    explanation = explain(email(ada), [attempt(answer(ada, Outcome.REJECTED, *NO_MAILBOX))])
    assert explanation.cause == "There is no such mailbox."
    assert "right address" in explanation.next_step
    assert explanation.evidence == "550 5.1.1 No such user here"


@pytest.mark.parametrize("code", [None, "", "5.99.1", "550", "no code"])
def test_bounce_without_a_known_code_is_explained_in_general(code: str | None) -> None:
    ada = recipient(Status.BOUNCED)
    explanation = explain(email(ada), [attempt(answer(ada, Outcome.REJECTED, code, "Go away"))])
    assert explanation.cause == "The recipient's server refused it for good."
    assert explanation.evidence.endswith("Go away")


def test_bounce_after_the_server_took_it_is_not_explained_by_the_code_of_that() -> None:
    ada = recipient(Status.BOUNCED)
    taken = attempt(answer(ada, Outcome.ACCEPTED, "2.6.0", "Queued mail for delivery"))
    assert explain(email(ada), [taken]).cause == "The recipient's server refused it for good."


def test_evidence_is_of_the_recipient_whose_status_the_email_has() -> None:
    ada, grace = recipient(Status.SENT), recipient(Status.BOUNCED)
    handover = attempt(
        answer(ada, Outcome.ACCEPTED, "2.0.0", "Queued"),
        answer(grace, Outcome.REJECTED, *NO_MAILBOX),
        outcome=Outcome.REJECTED,
    )
    explanation = explain(email(ada, grace), [handover])
    assert explanation.cause == "There is no such mailbox."
    assert explanation.evidence == "550 5.1.1 No such user here"


def test_evidence_is_found_though_a_later_attempt_was_for_others_only() -> None:
    ada, grace = recipient(Status.SENT), recipient(Status.BOUNCED)
    first = attempt(
        answer(ada, Outcome.DEFERRED, "4.7.1", "Greylisted"),
        answer(grace, Outcome.REJECTED, *NO_MAILBOX),
    )
    second = attempt(answer(ada, Outcome.ACCEPTED, "2.0.0", "Queued"))
    explanation = explain(email(ada, grace), [first, second])
    assert explanation.cause == "There is no such mailbox."
    assert explanation.evidence == "550 5.1.1 No such user here"


def test_newest_answer_counts() -> None:
    ada = recipient(Status.BOUNCED)
    first = attempt(answer(ada, Outcome.DEFERRED, "4.2.2", "Mailbox full"))
    second = attempt(answer(ada, Outcome.REJECTED, *NO_MAILBOX))
    assert explain(email(ada), [first, second]).cause == "There is no such mailbox."


def test_handover_that_says_nothing_about_recipients_shows_its_own_evidence() -> None:
    silent = attempt(outcome=Outcome.AMBIGUOUS, evidence={"silence": "connection_lost", "tls": ""})
    explanation = explain(email(status=Status.UNCONFIRMED), [silent])
    assert explanation.evidence == "silence: connection_lost"


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (Outcome.THROTTLED, "more slowly"),
        (Outcome.SUSPENDED, "credentials"),
        (Outcome.UNAVAILABLE, "could not be reached"),
    ],
)
def test_delay_by_the_provider_is_not_blamed_on_the_recipient(outcome: Outcome, words: str) -> None:
    ada = recipient(Status.DEFERRED)
    handover = attempt(answer(ada, outcome, "4.2.2", "Later"), outcome=outcome)
    assert words in explain(email(ada), [handover]).cause


def test_delay_by_the_recipient_says_what_its_code_means() -> None:
    ada = recipient(Status.DEFERRED)
    handover = attempt(answer(ada, Outcome.DEFERRED, "4.2.2", "Later"), outcome=Outcome.DEFERRED)
    assert explain(email(ada), [handover]).cause == "The mailbox is full."


def test_delay_says_how_many_attempts_there_were() -> None:
    later = attempt(outcome=Outcome.DEFERRED)
    assert "1 attempt so far" in explain(email(status=Status.DEFERRED), [later]).next_step
    assert "3 attempts so far" in explain(email(status=Status.DEFERRED), [later] * 3).next_step


def test_unconfirmed_email_that_is_sent_again_by_itself_asks_nobody_to_decide() -> None:
    silent = [attempt(outcome=Outcome.AMBIGUOUS)]
    explanation = explain(email(status=Status.UNCONFIRMED), silent, step=NextStep.RESEND)
    assert "may have arrived" in explanation.cause
    assert "again by itself" in explanation.next_step
    assert explanation.action is None


def test_unconfirmed_email_that_is_held_says_what_it_waits_for() -> None:
    silent = [attempt(outcome=Outcome.AMBIGUOUS)]
    held = explain(email(status=Status.UNCONFIRMED), silent, step=NextStep.RESEND, is_held=True)
    assert (
        held.next_step == "It is held; once it may go out it is sent again, and may arrive twice."
    )


def test_recipient_who_waits_for_the_others_is_not_said_to_be_sent_to_again() -> None:
    silent = [attempt(outcome=Outcome.AMBIGUOUS)]
    waits = explain(email(status=Status.UNCONFIRMED), silent, step=NextStep.AFTER_OTHERS)
    assert "nothing is sent again by guess" in waits.next_step
    assert waits.action is None


def test_email_about_which_somebody_decides_just_now_promises_nothing() -> None:
    silent = [attempt(outcome=Outcome.AMBIGUOUS)]
    said = explanations.explain(email(status=Status.UNCONFIRMED), silent, ())
    assert "load the page again" in said.next_step


def test_link_to_a_decision_leads_to_this_email() -> None:
    parked = email(status=Status.UNCONFIRMED)
    assert href(parked).endswith(f"only=ambiguous&email={parked.id}")


def test_unconfirmed_email_warns_of_a_second_copy() -> None:
    explanation = explain(email(status=Status.UNCONFIRMED), [attempt(outcome=Outcome.AMBIGUOUS)])
    assert "may have arrived" in explanation.cause
    assert "twice" in explanation.next_step


def looked_up(to: RecipientView, outcome: Outcome) -> AttemptView:
    words = {Outcome.ACCEPTED: "found when the provider was asked: delivered"}
    said = words.get(outcome, "not found when the provider was asked")
    told = {"recipient_id": str(to.id), "outcome": outcome.value, "detail": said}
    return attempt(told, outcome=outcome, provider="sendgrid", phase="lookup")


def to_be_looked_up(provider: str = "sendgrid") -> AttemptView:
    return attempt(outcome=Outcome.AMBIGUOUS, evidence={"look_up": "planned"}, provider=provider)


@pytest.mark.parametrize(("provider", "name"), [("sendgrid", "SendGrid"), ("pigeon", "pigeon")])
def test_unconfirmed_email_says_where_it_is_to_be_looked_up(provider: str, name: str) -> None:
    silent = [to_be_looked_up(provider)]
    explanation = explain(email(status=Status.UNCONFIRMED), silent, step=NextStep.LOOK_UP)
    assert "may have arrived" in explanation.cause
    assert f"looked up at {name}" in explanation.next_step
    assert explanation.evidence == ""
    assert explanation.action is None


def test_email_that_was_looked_up_in_vain_goes_on_as_its_stream_says() -> None:
    ada = recipient(Status.UNCONFIRMED)
    tried = [to_be_looked_up(), looked_up(ada, Outcome.AMBIGUOUS)]
    waits = explain(email(ada), tried, step=NextStep.RESEND)
    assert "no look-up gave proof" in waits.cause
    assert waits.evidence == "not found when the provider was asked"
    assert "again by itself" in waits.next_step
    assert "Ask the recipient" in explain(email(ada), tried).next_step


def test_silence_after_a_look_up_in_vain_is_to_be_looked_up_anew() -> None:
    ada = recipient(Status.UNCONFIRMED)
    tried = [to_be_looked_up(), looked_up(ada, Outcome.AMBIGUOUS), to_be_looked_up()]
    assert "looked up at" in explain(email(ada), tried, step=NextStep.LOOK_UP).next_step


def test_email_that_was_found_says_how_that_is_known() -> None:
    ada = recipient(Status.SENT)
    found = [to_be_looked_up(), looked_up(ada, Outcome.ACCEPTED)]
    explanation = explain(email(ada), found)
    assert "did not answer" in explanation.cause
    assert explanation.evidence == "found when the provider was asked: delivered"


def test_look_up_is_not_counted_as_an_attempt() -> None:
    ada, grace = recipient(Status.SENT), recipient(Status.DEFERRED)
    tried = [attempt(outcome=Outcome.DEFERRED), looked_up(ada, Outcome.ACCEPTED)]
    assert "1 attempt so far" in explain(email(ada, grace), tried).next_step


def settled(type_: str, recipient_id: UUID | None) -> EventView:
    """Somebody said what became of a recipient after a silence."""
    return EventView(new_id(), type_, recipient_id, {"was": "unconfirmed"}, NOON)


def test_email_of_which_somebody_said_that_it_arrived_does_not_claim_a_providers_word() -> None:
    ada = recipient(Status.SENT)
    silent = [attempt(outcome=Outcome.AMBIGUOUS)]
    by_hand = settled("email.settled", ada.id)
    assert "Somebody said that it arrived" in explain(email(ada), silent, [by_hand]).cause
    # Somebody else's settlement does not tell about the one whom the provider took.
    for other in (recipient(Status.DELIVERED), recipient(Status.SENT)):
        of_other = settled("email.settled", other.id)
        assert "The provider has taken it" in explain(email(ada, other), silent, [of_other]).cause


def test_email_of_which_somebody_said_that_it_did_not_arrive_is_not_one_that_never_left() -> None:
    ada = recipient(Status.CANCELED)
    silent = [attempt(outcome=Outcome.AMBIGUOUS)]
    explanation = explain(email(ada), silent, [settled("email.canceled", ada.id)])
    assert "did not arrive" in explanation.cause
    assert explanation.next_step.endswith("it becomes sent, and is billed.")
    # The provider took it after all.
    sent = recipient(Status.SENT)
    late = [*silent, attempt(outcome=Outcome.ACCEPTED)]
    was_canceled = settled("email.canceled", sent.id)
    assert "The provider has taken it" in explain(email(sent), late, [was_canceled]).cause
    # Another recipient's cancellation is no word about the one whom the provider took.
    of_other = settled("email.canceled", ada.id)
    assert "The provider has taken it" in explain(email(ada, sent), late, [of_other]).cause
    # Scheduled mail that was canceled.
    before = EventView(new_id(), "email.canceled", None, {}, NOON)
    assert "before it was sent" in explain(email(ada), [], [before]).cause
