"""Identifiers: version 7, in order, and readable only in their usual form."""

import datetime as dt
from uuid import UUID

import pytest

from tallypost_core.ids import new_id, parse_id, time_of


def test_ids_are_version_7_and_sort_by_age() -> None:
    ids = [new_id() for _ in range(1000)]
    assert {(id_.version, id_.variant) for id_ in ids} == {(7, UUID(int=0, version=4).variant)}
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)


def test_id_is_read_from_its_usual_form() -> None:
    id_ = new_id()
    assert parse_id(str(id_)) == id_
    assert parse_id(str(id_).upper()) == id_


@pytest.mark.parametrize("text", ["", "abc", "0" * 32, "{017f22e2-79b0-7cc3-98c4-dc0c0c07398f}"])
def test_other_forms_are_no_id(text: str) -> None:
    assert parse_id(text) is None


def test_id_tells_when_it_was_made() -> None:
    before = dt.datetime.now(dt.UTC) - dt.timedelta(milliseconds=1)
    made = time_of(new_id())
    assert before <= made <= dt.datetime.now(dt.UTC)
    # The example of RFC 9562, appendix A.6.
    example = UUID("017F22E2-79B0-7CC3-98C4-DC0C0C07398F")
    assert time_of(example).isoformat() == "2022-02-22T19:22:22+00:00"
