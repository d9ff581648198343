"""The hash covers everything that an entry says."""

import datetime as dt

import pytest

from tallypost_core.ids import new_id
from tallypost_domain.audit.chain import FIRST_PREVIOUS_HASH, HASHED_COLUMNS, hash_entry
from tallypost_domain.audit.models import AuditEntry

ENTRY: dict[str, object] = {
    "tenant_id": new_id(),
    "id": new_id(),
    "sequence": 1,
    "actor_kind": "person",
    "actor_id": new_id(),
    "action": "key.created",
    "subject_kind": "api_key",
    "subject_id": new_id(),
    "changes": {"mode": "live", "count": 1},
    "ip_address": "192.0.2.7",
    "user_agent": "Browser/1.0",
    "created_at": dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC),
    "previous_hash": FIRST_PREVIOUS_HASH,
}


def test_every_column_but_the_hash_is_hashed() -> None:
    assert {*HASHED_COLUMNS, "hash"} == set(AuditEntry.__table__.columns.keys())


@pytest.mark.parametrize("column", HASHED_COLUMNS)
def test_another_value_in_any_column_is_another_hash(column: str) -> None:
    other = {**ENTRY, column: b"other" if column == "previous_hash" else "other"}
    assert hash_entry(other) != hash_entry(ENTRY)


def test_none_and_the_empty_text_hash_differently() -> None:
    assert hash_entry({**ENTRY, "ip_address": None}) != hash_entry({**ENTRY, "ip_address": ""})


def test_order_of_changes_does_not_matter() -> None:
    reordered = {**ENTRY, "changes": {"count": 1, "mode": "live"}}
    assert hash_entry(reordered) == hash_entry(ENTRY)


def test_one_moment_in_another_time_zone_is_the_same_entry() -> None:
    zone = dt.timezone(dt.timedelta(hours=2))
    moved = dt.datetime(2026, 11, 23, 14, tzinfo=zone)
    assert hash_entry({**ENTRY, "created_at": moved}) == hash_entry(ENTRY)
