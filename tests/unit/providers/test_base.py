"""What adapters share: results for everybody, and a peer's words made safe."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallypost_providers.base import DETAIL_MAX_CHARS, clip, same_for_all
from tallypost_providers.types import Outcome
from tests.unit.providers.emails import make_email, make_recipient


@given(st.text(st.characters(), max_size=700))
def test_clipped_text_is_one_short_line_that_can_be_stored(text: str) -> None:
    clipped = clip(text)
    assert len(clipped) <= DETAIL_MAX_CHARS
    assert "\x00" not in clipped
    assert clipped == "" or len(clipped.splitlines()) == 1
    clipped.encode("utf-8")


def test_lines_of_a_reply_stay_apart_when_they_are_joined() -> None:
    assert clip("5.1.1 no such user\n5.1.1 see help\x00") == "5.1.1 no such user 5.1.1 see help"


def test_bytes_that_were_not_utf8_show_as_replacements() -> None:
    assert clip(b"caf\xe9".decode("utf-8", "surrogateescape")) == "caf\ufffd"


@pytest.mark.parametrize("outcome", list(Outcome))
def test_same_result_has_one_entry_for_each_recipient_in_order(outcome: Outcome) -> None:
    email = make_email(recipients=tuple(make_recipient(f"r{n}@example.net") for n in range(3)))
    result = same_for_all(email, outcome, phase="store", detail="x" * 900)
    assert [entry.recipient_id for entry in result.recipients] == [
        recipient.recipient_id for recipient in email.recipients
    ]
    assert {entry.outcome for entry in result.recipients} == {outcome}
    assert {len(entry.detail) for entry in result.recipients} == {DETAIL_MAX_CHARS}
