"""Every error that can reach a route of our own is a problem with a page."""

from types import ModuleType

import pytest

from tallypost_api import error_docs
from tallypost_api import errors as api_errors
from tallypost_api.problem_table import INTERNAL, ROWS, find_problem_row
from tallypost_api.problems import problem_of
from tallypost_core.errors import HTTP_STATUS, AppError, ErrorKind
from tallypost_domain.db import errors as db_errors
from tallypost_domain.queue import errors as queue_errors
from tests.unit.api.test_error_table import errors_of

# A path that no route has is answered as Resend's API does.
ELSEWHERE = {api_errors.RouteNotFound}


@pytest.mark.parametrize("module", [api_errors, db_errors, queue_errors])
def test_every_error_that_may_be_raised_there_has_a_row(module: ModuleType) -> None:
    known = {row.error for row in ROWS} | ELSEWHERE
    assert [error for error in errors_of(module) if error not in known] == []


def test_no_two_rows_share_a_code_and_each_answers_its_own_error() -> None:
    assert len({row.error.code for row in ROWS}) == len(ROWS)
    assert [find_problem_row(row.error()) for row in ROWS] == list(ROWS)


def test_the_kind_gives_the_status_but_where_http_has_one() -> None:
    by_kind = {row.error.code for row in ROWS if row.status == HTTP_STATUS[row.error.kind]}
    assert {row.error.code: row.status for row in ROWS if row.error.code not in by_kind} == {
        "malformed_request": 400,
        "malformed_json": 400,
        "json_too_deep": 400,
        "json_too_intricate": 400,
        "method_not_allowed": 405,
        "request_timeout": 408,
        "request_too_large": 413,
        "unsupported_encoding": 415,
        "internal_error": 500,
    }
    assert {"invalid_api_key", "nothing_unconfirmed", "wrong_type", "unavailable"} <= by_kind


def test_an_error_without_a_row_is_ours_and_says_nothing_unless_it_is_an_outage() -> None:
    class Unheard(AppError):
        """Never heard of."""

        code = "unheard"

    class Away(AppError):
        """Away."""

        code = "away"
        kind = ErrorKind.UNAVAILABLE

    assert find_problem_row(Away()).status == 503
    row = find_problem_row(Unheard())
    assert row is INTERNAL
    problem = problem_of(row, Unheard("a secret", field="secret"), "some-id")
    assert (problem.status, problem.request_id) == (500, "some-id")
    assert "secret" not in repr(problem)


def test_the_page_has_a_heading_for_each_code() -> None:
    page = error_docs.render()
    for row in ROWS:
        assert f"\n### {row.error.code}\n\n{row.status}. {row.title} What to do: " in page
