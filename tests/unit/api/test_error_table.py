"""Every error has one answer, and the page about errors says which."""

import inspect
from pathlib import Path
from types import ModuleType

import pytest

from tallypost_api import error_docs
from tallypost_api import errors as api_errors
from tallypost_api.error_table import ROWS, find_row
from tallypost_core import errors as core
from tallypost_core.errors import AppError, ErrorKind
from tallypost_domain.api_keys.errors import InvalidAPIKey
from tallypost_domain.db import errors as db_errors
from tallypost_domain.emails import errors as email_errors
from tallypost_domain.usage import errors as usage_errors

ROOT = Path(__file__).resolve().parents[3]

# The pairs that the contract knows; a client finds its exception by them.
CONTRACT = {
    400: {"invalid_idempotency_key", "validation_error"},
    401: {"missing_api_key", "restricted_api_key"},
    403: {"invalid_api_key", "validation_error"},
    404: {"not_found"},
    405: {"method_not_allowed"},
    409: {"invalid_idempotent_request", "concurrent_idempotent_requests"},
    422: {
        "missing_required_field",
        "invalid_attachment",
        "invalid_from_address",
        "invalid_access",
        "invalid_parameter",
        "invalid_region",
        "validation_error",
    },
    429: {"rate_limit_exceeded", "daily_quota_exceeded", "monthly_quota_exceeded"},
    451: {"security_error"},
    500: {"application_error", "internal_server_error"},
    # Statuses beside the contract, under names that it has.
    408: {"validation_error"},
    413: {"validation_error"},
    415: {"validation_error"},
    503: {"application_error"},
}


# Raised where only the console goes: its search, and reading what is attached.
OF_THE_CONSOLE = {
    email_errors.InvalidSearch,
    email_errors.AttachmentNotFound,
    email_errors.AttachmentGone,
}
# Raised by routes of our own only, whose errors are problems.
OF_OUR_OWN = {api_errors.UnknownField, api_errors.LiveKeyRequired}


def errors_of(module: ModuleType) -> list[type[AppError]]:
    """The errors that a module defines."""
    return [
        member
        for _, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, AppError) and member.__module__ == module.__name__
    ]


@pytest.mark.parametrize("module", [api_errors, email_errors, db_errors, usage_errors])
def test_every_error_of_a_send_has_a_row(module: ModuleType) -> None:
    known = {row.error for row in ROWS} | OF_THE_CONSOLE | OF_OUR_OWN
    assert [error for error in errors_of(module) if error not in known] == []


def test_no_two_rows_share_a_code() -> None:
    codes = [row.error.code for row in ROWS]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.error.__name__)
def test_status_and_name_are_a_pair_of_the_contract(row: object) -> None:
    assert row in ROWS
    found = next(other for other in ROWS if other == row)
    assert found.name in CONTRACT[found.status]


def test_each_row_answers_its_own_error() -> None:
    assert [find_row(row.error()) for row in ROWS] == list(ROWS)


def test_an_error_without_a_row_is_ours_unless_it_is_an_outage() -> None:
    class Unheard(AppError):
        """Never heard of."""

        code = "unheard"

    class Away(AppError):
        """Away."""

        code = "away"
        kind = ErrorKind.UNAVAILABLE

    assert find_row(Unheard()).status == 500
    assert find_row(Away()).status == 503
    assert find_row(InvalidAPIKey()).status == 403


def test_the_page_about_errors_is_what_the_code_makes() -> None:
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    assert page == error_docs.render(), "run: python -m tallypost_api.error_docs docs/errors.md"


def test_the_page_has_a_line_for_each_row() -> None:
    lines = error_docs.render().splitlines()
    for row in ROWS:
        meaning = core.first_line(row.error.__doc__)
        assert any(f"| {row.status} | `{row.name}` | {meaning} |" in line for line in lines)
