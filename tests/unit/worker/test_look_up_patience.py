"""How long a process waits for answers about one email, and how many emails it remembers."""

import pytest

from tallypost_core.ids import new_id
from tallypost_worker import look_up_patience
from tallypost_worker.look_up_patience import Patience

EVER_S = 1e9


class Clock:
    """A clock that the test turns."""

    now_s = 0.0

    def __call__(self) -> float:
        """What it shows."""
        return self.now_s


def test_email_that_finds_no_room_waits_and_takes_nobodys_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(look_up_patience, "_SIZE", 2)
    clock = Clock()
    patience = Patience(100.0, clock)
    first, second, third = new_id(), new_id(), new_id()
    for email_id in (first, second, third):
        assert not patience.is_over(email_id, EVER_S)
    clock.now_s = 100.0
    assert not patience.is_over(third, EVER_S)
    assert patience.is_over(first, EVER_S)
    patience.forget(first)
    assert not patience.is_over(third, EVER_S)
    assert patience.is_over(second, EVER_S)
    clock.now_s = 200.0
    assert patience.is_over(third, EVER_S)


def test_emails_that_others_settled_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look_up_patience, "_SIZE", 2)
    clock = Clock()
    patience = Patience(100.0, clock)
    for _ in range(2):
        patience.is_over(new_id(), EVER_S)
    clock.now_s = 401.0
    email_id = new_id()
    assert not patience.is_over(email_id, EVER_S)
    clock.now_s = 501.0
    assert patience.is_over(email_id, EVER_S)
    assert [*patience._since_s] == [email_id]


def test_without_patience_the_first_failure_is_one_too_many() -> None:
    assert Patience(0.0, Clock()).is_over(new_id(), 60.0)
