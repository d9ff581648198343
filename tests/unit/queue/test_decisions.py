"""What a settlement does to an email, one row for each rule."""

from typing import Any
from uuid import UUID

import pytest
from msgspec import Struct

from tallypost_core.ids import new_id
from tallypost_domain.emails.lifecycle import RecipientEvent, RecipientStatus, roll_up
from tallypost_domain.queue.decisions import Decision, QueueAction, decide
from tallypost_domain.queue.types import Attempt, Claim, RecipientChange, Settlement, StoredEmail
from tallypost_providers.types import Outcome
from tallypost_resilience.retry import RetryPolicy

# Without jitter, so that a delay can be named.
POLICY = RetryPolicy(schedule_s=(10.0, 20.0, 40.0), jitter=0.0)
# Recipients by a letter each.
IDS = {letter: new_id() for letter in "abcd"}
LETTERS = {id_: letter for letter, id_ in IDS.items()}


class Case(Struct, frozen=True, kw_only=True):
    """One row: statuses before, events, and what comes of them. `a=sent b=queued`."""

    name: str
    before: str
    events: str
    after: str
    """All recipients."""
    email: str
    action: QueueAction
    delay_s: float | None = None
    on_unconfirmed: str = "resend"
    attempts: int = 1
    is_current: bool = True
    has_attempt: bool = True
    hold: bool = False
    retry_in_s: float | None = 0.0
    retry_after_s: float | None = None
    look_up_in_s: float | None = None
    is_look_up: bool = False
    accepted: str = ""
    applied: str = ""
    doubled: str = ""
    gave_up: str = ""


# Any: the optional fields of Case, each with a type of its own.
def case(
    name: str, before: str, events: str, after: str, email: str, action: str, **rest: Any
) -> Case:
    """A row; what is not named is as in Case."""
    return Case(
        name=name,
        before=before,
        events=events,
        after=after,
        email=email,
        action=QueueAction(action),
        **rest,
    )


CASES = [
    # An answer that settles everybody ends the row.
    case("accepted", "a=queued", "a=accepted", "a=sent", "sent", "delete", accepted="a",
         applied="a"),
    case("accepted after a deferral", "a=deferred", "a=accepted", "a=sent", "sent", "delete",
         accepted="a", applied="a", attempts=3),
    case("accepted when scheduled", "a=scheduled", "a=accepted", "a=sent", "sent", "delete",
         accepted="a", applied="a"),
    case("rejected", "a=queued", "a=rejected", "a=bounced", "bounced", "delete", applied="a"),
    case("one accepted, one rejected", "a=queued b=queued", "a=accepted b=rejected",
         "a=sent b=bounced", "bounced", "delete", accepted="a", applied="ab"),
    case("suppressed since it was accepted", "a=queued b=queued", "a=accepted b=suppressed",
         "a=sent b=suppressed", "sent", "delete", accepted="a", applied="ab"),
    # Who is still pending is tried again, by the schedule.
    case("first deferral", "a=queued", "a=deferred", "a=deferred", "deferred", "retry",
         delay_s=10, applied="a"),
    case("second deferral", "a=deferred", "a=deferred", "a=deferred", "deferred", "retry",
         delay_s=20, applied="a", attempts=2),
    case("last retry", "a=deferred", "a=deferred", "a=deferred", "deferred", "retry",
         delay_s=40, applied="a", attempts=3),
    case("one accepted, one deferred", "a=queued b=queued", "a=accepted b=deferred",
         "a=sent b=deferred", "deferred", "retry", delay_s=10, accepted="a", applied="ab"),
    case("no word about one of them", "a=queued b=queued", "a=accepted", "a=sent b=queued",
         "queued", "retry", delay_s=10, accepted="a", applied="a"),
    # The peer's wish counts, within the bounds of the policy.
    case("peer asks for more time", "a=queued", "a=deferred", "a=deferred", "deferred", "retry",
         retry_after_s=15, delay_s=15, applied="a"),
    case("peer asks for far too much", "a=queued", "a=deferred", "a=deferred", "deferred", "retry",
         retry_after_s=9e9, delay_s=20, applied="a"),
    case("peer asks for less", "a=queued", "a=deferred", "a=deferred", "deferred", "retry",
         retry_after_s=1, delay_s=10, applied="a"),
    # Attempts used up: a dead letter, but never of somebody who may have the email.
    case("used up", "a=deferred", "a=deferred", "a=failed", "failed", "delete",
         attempts=4, applied="a", gave_up="a"),
    case("used up for one of two", "a=deferred b=deferred", "a=accepted b=deferred",
         "a=sent b=failed", "failed", "delete", attempts=4, accepted="a", applied="ab",
         gave_up="b"),
    case("used up, one unconfirmed", "a=deferred b=unconfirmed", "a=deferred b=deferred",
         "a=failed b=unconfirmed", "unconfirmed", "wait_for_proof", attempts=4, applied="ab",
         gave_up="a"),
    case("used up by silence", "a=unconfirmed", "a=unconfirmed", "a=unconfirmed", "unconfirmed",
         "wait_for_proof", attempts=4, applied="a"),
    case("used up, nobody may be sent to again", "a=deferred b=unconfirmed", "a=deferred",
         "a=failed b=unconfirmed", "unconfirmed", "wait_for_proof", attempts=4, applied="a",
         gave_up="a", on_unconfirmed="hold"),
    case("used up before the other's first handover", "a=deferred b=queued", "a=deferred",
         "a=failed b=queued", "queued", "retry", attempts=4, delay_s=0, applied="a", gave_up="a"),
    case("used up beside an unconfirmed one that was not asked", "a=deferred b=unconfirmed",
         "a=deferred", "a=failed b=unconfirmed", "unconfirmed", "wait_for_proof", attempts=4,
         applied="a", gave_up="a"),
    case("given up on purpose", "a=queued b=queued", "a=gave_up b=suppressed",
         "a=failed b=suppressed", "failed", "delete", has_attempt=False, applied="ab"),
    # No statement: sent again, or put aside, as the stream says.
    case("silence, resend", "a=queued", "a=unconfirmed", "a=unconfirmed", "unconfirmed", "retry",
         delay_s=10, applied="a"),
    case("silence, hold", "a=queued", "a=unconfirmed", "a=unconfirmed", "unconfirmed",
         "wait_for_proof", applied="a", on_unconfirmed="hold"),
    case("silence, hold, another deferred", "a=queued b=queued", "a=unconfirmed b=deferred",
         "a=unconfirmed b=deferred", "unconfirmed", "retry", delay_s=10, applied="ab",
         on_unconfirmed="hold"),
    case("the other is settled, hold", "a=unconfirmed b=deferred", "b=accepted",
         "a=unconfirmed b=sent", "unconfirmed", "wait_for_proof", accepted="b", applied="b",
         on_unconfirmed="hold", attempts=2),
    case("sent again and accepted", "a=unconfirmed", "a=accepted", "a=sent", "sent", "delete",
         accepted="a", applied="a", attempts=2),
    case("sent again and deferred", "a=unconfirmed", "a=deferred", "a=unconfirmed", "unconfirmed",
         "retry", delay_s=20, applied="a", attempts=2),
    case("sent again and rejected", "a=unconfirmed", "a=rejected", "a=bounced", "bounced",
         "delete", applied="a", attempts=2),
    # Where the provider can be asked, it is asked before the policy counts, whatever that is.
    case("silence, to be looked up, resend", "a=queued", "a=unconfirmed", "a=unconfirmed",
         "unconfirmed", "retry", look_up_in_s=60, delay_s=60, applied="a"),
    case("silence, to be looked up, hold", "a=queued", "a=unconfirmed", "a=unconfirmed",
         "unconfirmed", "retry", look_up_in_s=60, delay_s=60, applied="a", on_unconfirmed="hold"),
    case("silence, to be looked up after the last attempt", "a=deferred", "a=unconfirmed",
         "a=unconfirmed", "unconfirmed", "retry", look_up_in_s=60, delay_s=60, applied="a",
         attempts=4),
    case("one silent, to be looked up, the other used up", "a=queued b=deferred",
         "a=unconfirmed b=deferred", "a=unconfirmed b=failed", "unconfirmed", "retry",
         look_up_in_s=60, delay_s=60, applied="ab", gave_up="b", attempts=4),
    case("one rejected, one silent, to be looked up", "a=queued b=queued",
         "a=rejected b=unconfirmed", "a=bounced b=unconfirmed", "unconfirmed", "retry",
         look_up_in_s=60, delay_s=60, applied="ab", on_unconfirmed="hold"),
    case("nobody silent, nothing to look up", "a=queued", "a=deferred", "a=deferred", "deferred",
         "retry", look_up_in_s=60, delay_s=10, applied="a"),
    case("silence to be looked up, recorded late", "a=queued", "a=unconfirmed", "a=queued",
         "queued", "keep", look_up_in_s=60, is_current=False),
    case("look-up put off", "a=unconfirmed", "", "a=unconfirmed", "unconfirmed", "retry",
         has_attempt=False, look_up_in_s=30, delay_s=30, on_unconfirmed="hold"),
    case("look-up put off after the last attempt", "a=unconfirmed", "", "a=unconfirmed",
         "unconfirmed", "retry", has_attempt=False, look_up_in_s=30, delay_s=30, attempts=4),
    case("look-up put off, settled meanwhile", "a=sent", "", "a=sent", "sent", "delete",
         has_attempt=False, look_up_in_s=30),
    case("look-up put off when it is somebody else's", "a=unconfirmed", "", "a=unconfirmed",
         "unconfirmed", "keep", has_attempt=False, look_up_in_s=30, is_current=False),
    case("found", "a=unconfirmed", "a=accepted", "a=sent", "sent", "delete", is_look_up=True,
         accepted="a", applied="a", on_unconfirmed="hold"),
    case("one found, the other looked up again", "a=unconfirmed b=unconfirmed", "a=accepted",
         "a=sent b=unconfirmed", "unconfirmed", "retry", is_look_up=True, look_up_in_s=120,
         delay_s=120, accepted="a", applied="a", on_unconfirmed="hold"),
    case("found beside one who was put off", "a=unconfirmed b=deferred", "a=accepted",
         "a=sent b=deferred", "deferred", "retry", is_look_up=True, delay_s=10, accepted="a",
         applied="a"),
    case("found by a worker that lost the row", "a=unconfirmed", "a=accepted", "a=sent", "sent",
         "clear", is_look_up=True, is_current=False, accepted="a", applied="a"),
    case("found, and known by a late acceptance", "a=sent", "a=accepted", "a=sent", "sent",
         "delete", is_look_up=True),
    # Not found: the policy counts, at once.
    case("not found, resend", "a=unconfirmed", "a=unconfirmed", "a=unconfirmed", "unconfirmed",
         "retry", is_look_up=True, applied="a"),
    case("not found, resend, attempts used up", "a=unconfirmed", "a=unconfirmed",
         "a=unconfirmed", "unconfirmed", "wait_for_proof", is_look_up=True, applied="a",
         attempts=4),
    case("not found, hold", "a=unconfirmed", "a=unconfirmed", "a=unconfirmed", "unconfirmed",
         "wait_for_proof", is_look_up=True, applied="a", on_unconfirmed="hold"),
    case("one found, the other not, hold", "a=unconfirmed b=unconfirmed",
         "a=accepted b=unconfirmed", "a=sent b=unconfirmed", "unconfirmed", "wait_for_proof",
         is_look_up=True, accepted="a", applied="ab", on_unconfirmed="hold"),
    case("not found, hold, beside one who was put off", "a=unconfirmed b=deferred",
         "a=unconfirmed", "a=unconfirmed b=deferred", "unconfirmed", "retry", is_look_up=True,
         delay_s=10, applied="a", on_unconfirmed="hold"),
    case("not found, resend, beside one who was put off", "a=unconfirmed b=deferred",
         "a=unconfirmed", "a=unconfirmed b=deferred", "unconfirmed", "retry", is_look_up=True,
         delay_s=20, applied="a", attempts=2),
    case("one found, the other not, resend", "a=unconfirmed b=unconfirmed",
         "a=accepted b=unconfirmed", "a=sent b=unconfirmed", "unconfirmed", "retry",
         is_look_up=True, accepted="a", applied="ab"),
    case("not found beside one who is settled, resend", "a=suppressed b=unconfirmed",
         "b=unconfirmed", "a=suppressed b=unconfirmed", "unconfirmed", "retry", is_look_up=True,
         applied="b"),
    # Nothing was handed over: nothing counts against the email.
    case("postponed", "a=queued", "", "a=queued", "queued", "retry", has_attempt=False,
         retry_in_s=30, delay_s=30),
    case("postponed after the last attempt", "a=deferred", "", "a=deferred", "deferred", "retry",
         has_attempt=False, attempts=9, retry_in_s=30, delay_s=30),
    case("postponed, one suppressed", "a=queued b=queued", "b=suppressed", "a=queued b=suppressed",
         "queued", "retry", has_attempt=False, delay_s=0, applied="b"),
    # Without a time to wait, the email keeps its turn.
    case("given back", "a=queued", "", "a=queued", "queued", "release", has_attempt=False,
         retry_in_s=None),
    case("given back after the last attempt", "a=deferred", "", "a=deferred", "deferred",
         "release", has_attempt=False, attempts=9, retry_in_s=None),
    case("given back, one suppressed", "a=queued b=queued", "b=suppressed", "a=queued b=suppressed",
         "queued", "release", has_attempt=False, retry_in_s=None, applied="b"),
    case("given back, nobody left to send to", "a=sent", "", "a=sent", "sent", "delete",
         has_attempt=False, retry_in_s=None),
    case("given back, only the unconfirmed are left", "a=unconfirmed", "", "a=unconfirmed",
         "unconfirmed", "wait_for_proof", has_attempt=False, retry_in_s=None,
         on_unconfirmed="hold"),
    case("given back when it is somebody else's", "a=queued", "", "a=queued", "queued", "keep",
         has_attempt=False, retry_in_s=None, is_current=False),
    case("handed over, whatever the turn says", "a=queued", "a=deferred", "a=deferred", "deferred",
         "retry", retry_in_s=None, delay_s=10, applied="a"),
    case("all suppressed", "a=queued b=scheduled", "a=suppressed b=suppressed",
         "a=suppressed b=suppressed", "suppressed", "delete", has_attempt=False, applied="ab"),
    case("all suppressed but the unconfirmed one", "a=queued b=unconfirmed", "a=suppressed",
         "a=suppressed b=unconfirmed", "unconfirmed", "wait_for_proof", has_attempt=False,
         applied="a", on_unconfirmed="hold"),
    case("nobody left to send to", "a=sent b=bounced", "", "a=sent b=bounced", "bounced", "delete",
         has_attempt=False),
    case("only the unconfirmed are left", "a=unconfirmed", "", "a=unconfirmed", "unconfirmed",
         "wait_for_proof", has_attempt=False, on_unconfirmed="hold"),
    # Held for a reason of the tenant's.
    case("held", "a=queued b=deferred", "a=held b=held", "a=held b=held", "held", "hold",
         has_attempt=False, hold=True, applied="ab"),
    case("held with nobody pending", "a=sent", "", "a=sent", "sent", "delete", has_attempt=False,
         hold=True),
    # The row is somebody else's by now.
    case("late acceptance", "a=queued", "a=accepted", "a=sent", "sent", "clear", is_current=False,
         accepted="a", applied="a"),
    case("late acceptance of an unconfirmed one", "a=unconfirmed b=unconfirmed", "a=accepted",
         "a=sent b=unconfirmed", "unconfirmed", "keep", is_current=False, accepted="a",
         applied="a"),
    case("late acceptance of a held one", "a=held", "a=accepted", "a=sent", "sent", "clear",
         is_current=False, accepted="a", applied="a"),
    case("late and settled by another acceptance", "a=sent", "a=accepted", "a=sent", "sent",
         "clear", is_current=False, doubled="a"),
    case("late and delivered long since", "a=delivered", "a=accepted", "a=delivered", "delivered",
         "clear", is_current=False, doubled="a"),
    case("late and given up meanwhile", "a=failed", "a=accepted", "a=failed", "failed", "clear",
         is_current=False, doubled="a"),
    case("late bad news", "a=queued b=queued c=queued", "a=rejected b=deferred c=unconfirmed",
         "a=queued b=queued c=queued", "queued", "keep", is_current=False),
    case("late and mixed", "a=unconfirmed b=sent c=queued", "a=accepted b=accepted c=rejected",
         "a=sent b=sent c=queued", "queued", "keep", is_current=False, accepted="a", applied="a",
         doubled="b"),
    case("late suppression and hold", "a=queued", "a=held", "a=queued", "queued", "keep",
         is_current=False, has_attempt=False, hold=True),
    case("late with attempts used up", "a=deferred", "a=deferred", "a=deferred", "deferred", "keep",
         is_current=False, attempts=9),
    # The row is ours, and a late result was quicker.
    case("doubled", "a=sent", "a=accepted", "a=sent", "sent", "delete", doubled="a", attempts=2),
    # Somebody had said that it did not arrive: it is the only copy.
    case("canceled, and accepted after all", "a=canceled", "a=accepted", "a=sent", "sent", "clear",
         is_current=False, accepted="a", applied="a"),
    case("canceled, and found by a look-up that was late", "a=canceled", "a=accepted", "a=sent",
         "sent", "clear", is_current=False, is_look_up=True, accepted="a", applied="a"),
    case("canceled, and refused after all", "a=canceled", "a=rejected", "a=canceled", "canceled",
         "clear", is_current=False),
    case("copy too many rejected", "a=sent", "a=rejected", "a=sent", "sent", "delete", attempts=2),
    case("copy too many deferred", "a=sent b=deferred", "a=deferred b=accepted", "a=sent b=sent",
         "sent", "delete", accepted="b", applied="b", attempts=2),
    # The message may have arrived: it stays listed, and nobody sends it again unasked.
    case("unconfirmed and given up", "a=unconfirmed", "a=gave_up", "a=unconfirmed", "unconfirmed",
         "wait_for_proof", has_attempt=False),
    case("unconfirmed and suppressed since", "a=unconfirmed", "a=suppressed", "a=unconfirmed",
         "unconfirmed", "wait_for_proof", has_attempt=False),
    case("unconfirmed and held", "a=unconfirmed b=queued", "a=held b=held", "a=unconfirmed b=held",
         "unconfirmed", "hold", has_attempt=False, hold=True, applied="b"),
    case("unconfirmed, given up beside a fresh one", "a=unconfirmed b=queued",
         "a=gave_up b=gave_up", "a=unconfirmed b=failed", "unconfirmed", "wait_for_proof",
         has_attempt=False, applied="b"),
    case("event about a stranger", "a=queued", "a=accepted d=accepted", "a=sent", "sent", "delete",
         accepted="a", applied="a"),
]  # fmt: skip


def read(pairs: str) -> dict[UUID, str]:
    return {IDS[letter]: word for letter, word in (pair.split("=") for pair in pairs.split())}


def settle(row: Case) -> tuple[Settlement, StoredEmail, Decision]:
    claim = Claim(new_id(), new_id(), "transactional", fence=1, attempt=row.attempts)
    attempt = Attempt(
        id=new_id(), number=row.attempts, provider="smtp", account="smtp",
        outcome=Outcome.ACCEPTED, phase="lookup" if row.is_look_up else "final", recipients=(),
        evidence={},
        provider_message_id=None, duration_s=0.1,
    )  # fmt: skip
    settlement = Settlement(
        claim=claim,
        worker_id=new_id(),
        attempt=attempt if row.has_attempt else None,
        changes=tuple(
            RecipientChange(
                recipient_id=id_, event=RecipientEvent(event), retry_after_s=row.retry_after_s
            )
            for id_, event in read(row.events).items()
        ),
        hold=row.hold,
        retry_in_s=row.retry_in_s,
        look_up_in_s=row.look_up_in_s,
    )
    statuses = {id_: RecipientStatus(word) for id_, word in read(row.before).items()}
    stored = StoredEmail(
        mode="live",
        on_unconfirmed=row.on_unconfirmed,
        attempts_begun=row.attempts,
        is_current=row.is_current,
        status=roll_up(statuses.values()),
        statuses=statuses,
    )
    return settlement, stored, decide(settlement, stored, POLICY)


def letters(ids: object) -> str:
    assert isinstance(ids, tuple)
    return "".join(
        LETTERS[id_.recipient_id if isinstance(id_, RecipientChange) else id_] for id_ in ids
    )


@pytest.mark.parametrize("row", CASES, ids=lambda row: row.name)
def test_settlement_does_what_the_table_says(row: Case) -> None:
    _, stored, decision = settle(row)
    assert {**stored.statuses, **decision.statuses} == read(row.after)
    assert decision.email_status == row.email
    assert (decision.action, decision.delay_s) == (row.action, row.delay_s)
    for name in ("accepted", "applied", "doubled", "gave_up"):
        assert letters(getattr(decision, name)) == getattr(row, name), name


@pytest.mark.parametrize("row", CASES, ids=lambda row: row.name)
def test_only_statuses_that_change_are_written(row: Case) -> None:
    _, stored, decision = settle(row)
    for recipient_id, status in decision.statuses.items():
        assert stored.statuses[recipient_id] is not status


@pytest.mark.parametrize("row", CASES, ids=lambda row: row.name)
def test_row_goes_exactly_when_nobody_is_left_to_send_to(row: Case) -> None:
    pending = {"scheduled", "queued", "held", "deferred", "unconfirmed"}
    _, stored, decision = settle(row)
    is_pending = any(
        status in pending for status in {**stored.statuses, **decision.statuses}.values()
    )
    if row.is_current:
        assert (decision.action is QueueAction.DELETE) is not is_pending
    else:
        assert decision.action is (QueueAction.KEEP if is_pending else QueueAction.CLEAR)


def test_table_has_every_action_and_every_event_of_a_settlement() -> None:
    assert {row.action for row in CASES} == set(QueueAction)
    events = {event for row in CASES for event in read(row.events).values()}
    from_elsewhere = {"released", "canceled", "requeued", "delivered", "bounced", "complained"}
    assert events == set(RecipientEvent) - from_elsewhere


def test_retries_without_jitter_add_up_to_the_schedule_and_then_end() -> None:
    status, delays = "queued", []
    for attempts in range(1, 5):
        row = case("", f"a={status}", "a=deferred", "", "", "retry", attempts=attempts)
        _, _, decision = settle(row)
        status = "deferred"
        if decision.action is QueueAction.RETRY:
            delays.append(decision.delay_s)
    assert tuple(delays) == POLICY.schedule_s
    assert decision.action is QueueAction.DELETE
