"""Identifiers: version 7, in order, and readable only in their usual form."""

import datetime as dt
from uuid import UUID, uuid4

import pytest

from tallypost_core.ids import id_created_at, new_id, parse_id


def test_ids_are_version_7_and_sort_by_age() -> None:
    ids = [new_id() for _ in range(1000)]
    assert {(id_.version, id_.variant) for id_ in ids} == {(7, UUID(int=0, version=4).variant)}
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)


def test_moment_of_making_is_read_back() -> None:
    # The example of RFC 9562, appendix A.6.
    moment = id_created_at(UUID("017F22E2-79B0-7CC3-98C4-DC0C0C07398F"))
    assert moment == dt.datetime(2022, 2, 22, 19, 22, 22, tzinfo=dt.UTC)


def test_other_versions_have_no_moment() -> None:
    with pytest.raises(ValueError, match="not a UUIDv7"):
        id_created_at(uuid4())


def test_id_is_read_from_its_usual_form() -> None:
    id_ = new_id()
    assert parse_id(str(id_)) == id_
    assert parse_id(str(id_).upper()) == id_


@pytest.mark.parametrize("text", ["", "abc", "0" * 32, "{017f22e2-79b0-7cc3-98c4-dc0c0c07398f}"])
def test_other_forms_are_no_id(text: str) -> None:
    assert parse_id(text) is None
