"""The error tree: messages come from docstrings, and every kind has a status."""

from tallypost_core.errors import HTTP_STATUS, AppError, ErrorKind


class DomainMissing(AppError):
    """There is no such domain.

    More for the reader of the code.
    """


def test_message_is_the_first_line_of_the_docstring() -> None:
    assert str(DomainMissing()) == "There is no such domain."


def test_own_message_and_fields_are_kept() -> None:
    error = DomainMissing("Not this one.", field="from", retry_after_s=2.5)
    assert (str(error), error.field, error.retry_after_s) == ("Not this one.", "from", 2.5)


def test_every_kind_has_a_status() -> None:
    assert set(HTTP_STATUS) == set(ErrorKind)
