"""A column that is the same in all rows is sent once, and spread in the database."""

import pytest

from tests.support.database import Database

_SPREAD = {
    "text": "SELECT spread($1::text[], $2)",
    "float8": "SELECT spread($1::float8[], $2)",
}


@pytest.mark.parametrize(
    ("kind", "sent", "row_count", "spread"),
    [
        pytest.param("text", ["a"], 3, ["a", "a", "a"], id="one value"),
        pytest.param("float8", [1.5], 2, [1.5, 1.5], id="one number"),
        pytest.param("text", [None], 3, [None, None, None], id="all NULL"),
        pytest.param("text", ["a", None, "b"], 3, ["a", None, "b"], id="mixed values"),
        pytest.param("float8", [None, 1.5], 2, [None, 1.5], id="mixed numbers"),
        pytest.param("text", ["a"], 1, ["a"], id="one row"),
        pytest.param("text", [None], 1, [None], id="one row of NULL"),
        pytest.param("text", [], 0, [], id="no row"),
    ],
)
async def test_spread_gives_each_row_its_value(
    database: Database, kind: str, sent: list[object], row_count: int, spread: list[object]
) -> None:
    async with database.connect("tp_deliver") as connection:
        assert await connection.fetchval(_SPREAD[kind], sent, row_count) == spread
