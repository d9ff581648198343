"""What happened to an email, step by step."""

import datetime as dt
from uuid import UUID

import pytest

from tallypost_console.timelines import timeline
from tallypost_core.ids import new_id
from tallypost_domain.emails.lifecycle import RecipientStatus
from tallypost_domain.emails.views import EventView
from tests.unit.console.examples import NOON, email, recipient


def event(
    type_: str,
    *,
    after_s: float = 0,
    recipient_id: UUID | None = None,
    data: dict[str, object] | None = None,
) -> EventView:
    at = NOON + dt.timedelta(seconds=after_s)
    return EventView(new_id(), type_, recipient_id, data or {}, at)


def test_email_without_events_has_no_steps() -> None:
    assert timeline(email(), [], {}) == ()


def test_steps_stand_in_their_order_with_the_time_in_between() -> None:
    events = [
        event("email.queued"),
        event("email.deferred", after_s=0.25),
        event("email.sent", after_s=90.25),
    ]
    steps = timeline(email(), events, {})
    assert [(step.what, step.gap_s) for step in steps] == [
        ("Accepted and queued", None),
        ("Put off; it is tried again", 0.25),
        ("Taken by the provider", 90),
    ]
    assert [step.at for step in steps] == [each.created_at for each in events]


def test_whose_event_it_is_is_said_among_several_recipients() -> None:
    ada = recipient(RecipientStatus.SENT, "ada@recipient.test")
    grace = recipient(RecipientStatus.BOUNCED, "grace@recipient.test")
    names = {str(each.id): each.address for each in (ada, grace)}
    events = [event("email.queued"), event("email.bounced", recipient_id=grace.id)]
    steps = timeline(email(ada, grace), events, names)
    assert [step.address for step in steps] == [None, "grace@recipient.test"]


def test_only_recipient_is_not_named() -> None:
    ada = recipient(RecipientStatus.SENT)
    (step,) = timeline(
        email(ada), [event("email.sent", recipient_id=ada.id)], {str(ada.id): ada.address}
    )
    assert step.address is None


def test_event_of_an_unknown_recipient_is_shown_without_a_name() -> None:
    pair = (recipient(RecipientStatus.SENT), recipient(RecipientStatus.SENT))
    (step,) = timeline(email(*pair), [event("email.sent", recipient_id=new_id())], {})
    assert step.address is None


def test_what_an_event_tells_is_kept() -> None:
    data = {
        "reply_code": 550,
        "enhanced_code": "5.1.1",
        "detail": "no such user",
        "attempt_id": "of no use to a person",
        "cause": "a reason",
    }
    (step,) = timeline(email(), [event("email.bounced", data=data)], {})
    assert step.said == "550 5.1.1 no such user"
    assert step.facts == {"cause": "a reason"}


def test_unknown_event_is_shown_by_its_name() -> None:
    (step,) = timeline(email(), [event("email.seen_by_aliens")], {})
    assert (step.what, step.tone) == ("Seen by aliens", "neutral")


@pytest.mark.parametrize(
    ("type_", "tone"),
    [
        ("email.delivered", "success"),
        ("email.bounced", "danger"),
        ("email.unconfirmed", "warning"),
        ("email.canceled", "neutral"),
    ],
)
def test_harm_is_coloured_as_such(type_: str, tone: str) -> None:
    (step,) = timeline(email(), [event(type_)], {})
    assert step.tone == tone


@pytest.mark.parametrize(
    ("type_", "what"),
    [
        ("email.sent", "Found at the provider, which has taken it"),
        ("email.unconfirmed", "Without proof that the provider took it"),
        ("email.deferred", "Put off; it is tried again"),
    ],
)
def test_look_up_is_not_told_as_a_handover(type_: str, what: str) -> None:
    data: dict[str, object] = {"phase": "lookup", "detail": "words about it"}
    (step,) = timeline(email(), [event(type_, data=data)], {})
    assert (step.what, step.said, step.facts) == (what, "words about it", {})


@pytest.mark.parametrize(
    ("type_", "as_", "said", "tone"),
    [
        ("email.settled", "sent", "Settled as sent: {} said that it arrived", "info"),
        ("email.canceled", "canceled", "Canceled: {} said that it did not arrive", "neutral"),
    ],
)
@pytest.mark.parametrize(
    ("kind", "who"), [("person", "a person"), ("api_key", "a program"), ("system", "somebody")]
)
def test_settlement_by_hand_tells_who_said_so(
    type_: str, as_: str, said: str, tone: str, kind: str, who: str
) -> None:
    data: dict[str, object] = {
        "was": "unconfirmed",
        "as": as_,
        "actor_kind": kind,
        "actor_id": "an id",
    }
    (step,) = timeline(email(), [event(type_, data=data)], {})
    assert step.what == said.format(who)
    assert (step.tone, step.facts) == (tone, {"actor_id": "an id"})
