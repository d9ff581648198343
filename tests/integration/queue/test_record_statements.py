"""The rows that recording sends are those that the function of the database takes."""

from tallypost_domain.queue import record_statements as sql
from tests.integration.queue.harness import Harness

_PARAMETERS = """
    SELECT p.name
    FROM pg_proc f, unnest(f.proargnames, f.proargmodes::text[]) WITH ORDINALITY
        AS p (name, mode, number)
    WHERE f.proname = 'record_settlements' AND p.mode = 'i'
    ORDER BY p.number
"""

# Of each group by its letter.
_FIELDS = {
    "q": sql.QueueChange._fields,
    "e": sql.EmailChange._fields,
    "r": sql.StatusChange._fields,
    "a": sql.NewAttempt._fields,
    "v": sql.NewEvent._fields,
}
_PLURALS = {
    "data": "data",
    "delay_s": "delays_s",
    "duration_s": "durations_s",
    "evidence": "evidence",
    "expected": "expected",
    "is_late": "are_late",
    "is_unsent": "are_unsent",
    "recipients": "recipients",
    "status": "statuses",
}


async def test_fields_of_a_row_are_the_parameters_of_its_group_in_their_order(
    queue: Harness,
) -> None:
    names = [row["name"] for row in await queue.pool.fetch(_PARAMETERS)]
    for letter, fields in _FIELDS.items():
        group = [f"{letter}_{_PLURALS.get(field, field + 's')}" for field in fields]
        start = names.index(f"{letter}_count") + 1
        assert names[start : start + len(group)] == group
    counts = [name for name in names if name.endswith("_count")]
    assert counts == [f"{letter}_count" for letter in _FIELDS]
