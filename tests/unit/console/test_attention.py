"""What somebody should look at."""

import pytest

from tallypost_console.attention import ENOUGH, Concern, list_concerns
from tallypost_domain.emails.lifecycle import RecipientStatus
from tallypost_domain.queue.waiting import QueueCounts
from tallypost_providers.types import Mode

COMPLAINTS, BOUNCES = "reported as spam", "bounced"


def queue(*, held: int = 0, ambiguous: int = 0) -> QueueCounts:
    """A queue that is busy, which worries nobody."""
    return QueueCounts(waiting=500, claimed=20, handing_over=5, held=held, ambiguous=ambiguous)


def week(whole: int, *, complained: int = 0, bounced: int = 0) -> dict[RecipientStatus, int]:
    """So many emails of a week, of which so many ended badly."""
    return {
        RecipientStatus.SENT: whole - complained - bounced,
        RecipientStatus.COMPLAINED: complained,
        RecipientStatus.BOUNCED: bounced,
    }


def concerns(
    emails: dict[RecipientStatus, int] | None = None,
    *,
    mode: Mode = "live",
    held: int = 0,
    ambiguous: int = 0,
    dead_letters: int = 0,
) -> list[Concern]:
    counts = queue(held=held, ambiguous=ambiguous)
    return list_concerns(mode, emails or {}, counts, dead_letters)


def tones(emails: dict[RecipientStatus, int], words: str) -> list[str]:
    return [each.tone for each in concerns(emails) if words in each.text]


@pytest.mark.parametrize("emails", [{}, week(10_000), week(10_000, complained=9, bounced=499)])
def test_calm_tenant_has_no_concerns(emails: dict[RecipientStatus, int]) -> None:
    assert concerns(emails) == []


@pytest.mark.parametrize(
    ("complained", "expected"), [(9, []), (10, ["warning"]), (29, ["warning"]), (30, ["danger"])]
)
def test_complaints_are_judged_by_the_limits_of_mailbox_providers(
    complained: int, expected: list[str]
) -> None:
    assert tones(week(10_000, complained=complained), COMPLAINTS) == expected


@pytest.mark.parametrize(("bounced", "expected"), [(49, []), (50, ["warning"]), (900, ["warning"])])
def test_bounces_are_a_concern_from_one_in_twenty(bounced: int, expected: list[str]) -> None:
    assert tones(week(1000, bounced=bounced), BOUNCES) == expected


def test_share_of_a_few_emails_says_nothing() -> None:
    assert concerns(week(ENOUGH - 1, complained=20, bounced=20)) == []
    assert len(concerns(week(ENOUGH, complained=20, bounced=20))) == 2


def test_most_harmful_comes_first() -> None:
    listed = concerns(week(1000, complained=30, bounced=100), held=1, ambiguous=1, dead_letters=1)
    assert [each.tone for each in listed] == ["danger", "danger", "warning", "warning", "warning"]
    assert [each.action for each in listed] == [
        "See the complaints",
        "See the dead letters",
        "Decide",
        "See the bounces",
        "See what is held",
    ]


def test_each_concern_keeps_the_mode() -> None:
    listed = concerns(
        week(1000, complained=30, bounced=100), mode="test", held=1, ambiguous=1, dead_letters=1
    )
    assert len(listed) == 5
    assert all("mode=test" in each.href for each in listed)


def test_each_concern_says_how_much_and_what_to_do() -> None:
    listed = concerns(
        week(1000, complained=30, bounced=100), held=1, ambiguous=1200, dead_letters=2
    )
    begins = ["3 % of", "2 recipients given up", "1,200 emails may", "10 % of", "1 email held"]
    assert [each.text[: len(begin)] for each, begin in zip(listed, begins, strict=True)] == begins
    assert all(each.action for each in listed)
