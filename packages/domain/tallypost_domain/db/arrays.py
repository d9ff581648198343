"""Rows as arrays: what one statement takes that writes or reads many."""

from collections.abc import Iterable, Sequence
from typing import Any

# Any: the values of a row differ in their types.
Row = tuple[Any, ...]


def columns(rows: Iterable[Row]) -> list[list[Any]]:
    """The rows turned into one array for each parameter; none without rows.

    Raises ValueError where rows differ in their number of values.
    """
    return [list(column) for column in zip(*rows, strict=True)]


def counted_columns(rows: Sequence[Row], width: int) -> list[Any]:
    """How many rows there are, and their columns, for a function of the database.

    A column that is the same in all rows comes with one value, which the function gives to all of
    them (`spread`): asyncpg takes a third of a microsecond for each value of an array.
    Raises ValueError where a row has not exactly width values.
    """
    if not rows:
        return [0, *([] for _ in range(width))]
    turned = columns(rows)
    # asyncpg would report the wrong number of arguments as it reports a broken connection.
    if len(turned) != width:
        raise ValueError(f"a row has {len(turned)} values in place of {width}")
    return [len(rows), *map(_shared, turned)]


def _shared(column: list[Any]) -> list[Any]:
    return column[:1] if column.count(column[0]) == len(column) else column
