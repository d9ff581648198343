"""What goes on record is clean, complete and true, whatever a provider answered."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallypost_core.ids import new_id
from tallypost_core.object_store import ObjectNotFound, ObjectStoreUnavailable
from tallypost_domain.queue.types import attempt_of, changes_of
from tallypost_providers.base import DETAIL_MAX_CHARS
from tallypost_providers.errors import EmailNotBuildable, SigningKeyInvalid
from tallypost_providers.types import (
    Outcome,
    OutgoingEmail,
    RecipientResult,
    SendResult,
)
from tallypost_worker.settlements import permanent_reason, storable
from tests.unit.providers.emails import make_email, make_recipient

WORDS = st.text(st.characters(), max_size=700)


def two_recipients() -> OutgoingEmail:
    return make_email(recipients=(make_recipient("a@a.test"), make_recipient("b@b.test")))


# Any: a plugin may put anything into its answer.
def answer(outgoing: OutgoingEmail, **fields: Any) -> SendResult:
    return SendResult(
        recipients=tuple(
            RecipientResult(recipient_id=recipient.recipient_id, outcome=Outcome.ACCEPTED)
            for recipient in outgoing.recipients
        ),
        **fields,
    )


@given(WORDS, WORDS, WORDS, WORDS, WORDS)
def test_any_text_of_a_provider_can_be_stored(
    detail: str, code: str, phase: str, name: str, message_id: str
) -> None:
    outgoing = make_email()
    (recipient,) = outgoing.recipients
    result = storable(
        SendResult(
            recipients=(
                RecipientResult(
                    recipient_id=recipient.recipient_id,
                    outcome=Outcome.DEFERRED,
                    enhanced_code=code,
                    detail=detail,
                ),
            ),
            phase=phase,
            evidence={name: detail},
            provider_message_id=message_id,
        ),
        outgoing,
    )
    attempt = attempt_of(
        result, attempt_id=new_id(), number=1, provider="p", account="a", duration_s=0.1
    )
    # UTF-8 without NUL: what Postgres takes as text and as jsonb.
    written = msgspec.json.encode([attempt, changes_of(result)]).decode()
    assert "\\u0000" not in written
    assert len(json.loads(written)[0]["recipients"][0]["detail"]) <= DETAIL_MAX_CHARS


def test_good_answer_stays_as_it_is() -> None:
    outgoing = two_recipients()
    result = answer(
        outgoing, phase="final", evidence={"reply": "250 ok"}, provider_message_id="ABC"
    )
    assert storable(result, outgoing) == result


@pytest.mark.parametrize(
    "fields",
    [
        {"evidence": {"a": object()}},
        {"evidence": {"a": 5}},
        {"phase": None},
        {"provider_message_id": 7},
    ],
)
def test_answer_of_another_type_breaks_the_contract(fields: dict[str, Any]) -> None:
    outgoing = two_recipients()
    with pytest.raises((ValueError, TypeError)):
        storable(answer(outgoing, **fields), outgoing)


def test_answer_that_leaves_out_doubles_or_adds_a_recipient_breaks_the_contract() -> None:
    outgoing = two_recipients()
    complete = answer(outgoing).recipients
    stranger = RecipientResult(recipient_id=new_id(), outcome=Outcome.ACCEPTED)
    for recipients in ((), complete[:1], (*complete, complete[0]), (*complete, stranger)):
        with pytest.raises(ValueError, match="each recipient once"):
            storable(SendResult(recipients=recipients), outgoing)


@pytest.mark.parametrize(
    ("outcome", "event"),
    [
        ("accepted", "accepted"),
        ("rejected", "rejected"),
        ("deferred", "deferred"),
        ("throttled", "deferred"),
        ("suspended", "deferred"),
        ("unavailable", "deferred"),
        ("ambiguous", "unconfirmed"),
    ],
)
def test_each_outcome_is_an_event_of_its_recipient(outcome: str, event: str) -> None:
    recipient_id = new_id()
    result = SendResult(
        recipients=(
            RecipientResult(
                recipient_id=recipient_id,
                outcome=Outcome(outcome),
                reply_code=451,
                enhanced_code="4.3.0",
                detail="words",
                retry_after_s=7.0,
            ),
        ),
        phase="final",
        provider_message_id="ABC",
    )
    (change,) = changes_of(result)
    assert (change.recipient_id, change.event, change.detail) == (recipient_id, event, "words")
    assert (change.provider_message_id, change.retry_after_s) == ("ABC", 7.0)
    assert change.data == {
        "outcome": outcome,
        "reply_code": 451,
        "enhanced_code": "4.3.0",
        "phase": "final",
    }


def test_every_outcome_has_a_row_above() -> None:
    mark = test_each_outcome_is_an_event_of_its_recipient.pytestmark[0]  # type: ignore[attr-defined]  # Set by the decorator.
    assert {row[0] for row in mark.args[1]} == set(Outcome)


@pytest.mark.parametrize(
    ("outcomes", "shown"),
    [
        ("accepted", "accepted"),
        ("accepted rejected", "rejected"),
        ("rejected deferred", "deferred"),
        ("deferred throttled", "throttled"),
        ("throttled unavailable", "unavailable"),
        ("unavailable suspended", "suspended"),
        ("accepted ambiguous suspended", "ambiguous"),
    ],
)
def test_attempt_shows_the_outcome_that_matters_most(outcomes: str, shown: str) -> None:
    result = SendResult(
        recipients=tuple(
            RecipientResult(recipient_id=new_id(), outcome=Outcome(word))
            for word in outcomes.split()
        )
    )
    attempt = attempt_of(
        result, attempt_id=new_id(), number=2, provider="p", account="a", duration_s=0.5
    )
    assert attempt.outcome == shown
    assert [entry["outcome"] for entry in attempt.recipients] == outcomes.split()
    assert (attempt.number, attempt.provider, attempt.account) == (2, "p", "a")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (EmailNotBuildable(), "email_not_buildable"),
        (SigningKeyInvalid(), "signing_key_invalid"),
        (ObjectNotFound("k"), "attachment_missing"),
        (ObjectStoreUnavailable(), None),
        (TimeoutError(), None),
        (KeyError("a"), None),
    ],
)
def test_only_what_no_retry_can_mend_is_given_up(error: Exception, reason: str | None) -> None:
    assert permanent_reason(error) == reason
