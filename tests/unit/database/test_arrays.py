"""Rows become arrays, and a mistake in them is told from an outage."""

import pytest

from tallypost_domain.db.arrays import columns, counted_columns


def test_columns_has_one_array_for_each_value_of_a_row() -> None:
    assert columns([(1, "a"), (2, "b"), (3, "c")]) == [[1, 2, 3], ["a", "b", "c"]]


def test_columns_of_no_rows_are_none() -> None:
    assert columns([]) == []


@pytest.mark.parametrize("rows", [[(1, 2), (3,)], [(1,), (2, 3)]])
def test_rows_of_different_lengths_are_refused(rows: list[tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="argument 2"):
        columns(rows)
    with pytest.raises(ValueError, match="argument 2"):
        counted_columns(rows, 2)


def test_counted_columns_send_a_value_that_all_rows_share_once() -> None:
    rows = [(1, "same", None), (2, "same", None), (1, "same", None)]
    assert counted_columns(rows, 3) == [3, [1, 2, 1], ["same"], [None]]


def test_counted_columns_send_all_values_where_one_is_missing() -> None:
    assert counted_columns([("a",), (None,), ("a",)], 1) == [3, ["a", None, "a"]]


def test_counted_columns_of_one_row_have_its_values() -> None:
    assert counted_columns([(1, None)], 2) == [1, [1], [None]]


def test_counted_columns_of_no_rows_are_empty_arrays_of_their_number() -> None:
    assert counted_columns([], 3) == [0, [], [], []]


@pytest.mark.parametrize("width", [1, 3])
def test_rows_of_another_width_are_refused(width: int) -> None:
    with pytest.raises(ValueError, match="2 values"):
        counted_columns([(1, 2), (3, 4)], width)
