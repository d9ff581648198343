"""What the codes of mail servers mean."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallypost_console.bounce_codes import meaning_of


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("5.1.1", "There is no such mailbox."),
        ("5.1.10", "The domain says that it takes no mail at all."),
        ("5.2.2", "The mailbox is full."),
        ("5.7.26", "Neither SPF nor DKIM proves the sender."),
    ],
)
def test_code_has_a_meaning_in_plain_words(code: str, cause: str) -> None:
    meaning = meaning_of(code)
    assert meaning is not None
    assert meaning.cause == cause


def test_first_digit_says_only_whether_it_is_for_good() -> None:
    assert meaning_of("4.2.2") == meaning_of("5.2.2")


@pytest.mark.parametrize("subject", range(1, 8))
def test_unknown_detail_means_what_its_subject_means(subject: int) -> None:
    meaning = meaning_of(f"5.{subject}.999")
    assert meaning is not None
    assert meaning == meaning_of(f"5.{subject}.0")


@pytest.mark.parametrize(
    "code", ["", "5", "5.1", "5.1.1.1", "5.0.0", "5.8.1", "5.11.1", " 5.1.1", "5.1.1\n", "five"]
)
def test_what_is_no_known_code_has_no_meaning(code: str) -> None:
    assert meaning_of(code) is None


@given(st.integers(0, 9), st.integers(0, 99))
def test_success_is_never_explained_as_trouble(subject: int, detail: int) -> None:
    assert meaning_of(f"2.{subject}.{detail}") is None


@given(st.text())
def test_any_text_of_a_server_is_borne(code: str) -> None:
    meaning = meaning_of(code)
    assert meaning is None or meaning.next_step


@given(st.sampled_from("45"), st.integers(1, 7), st.integers(0, 999))
def test_every_meaning_says_what_to_do(kind: str, subject: int, detail: int) -> None:
    meaning = meaning_of(f"{kind}.{subject}.{detail}")
    assert meaning is not None
    assert meaning.cause.endswith(".")
    assert meaning.next_step.endswith(".")
