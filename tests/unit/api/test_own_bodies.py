"""A body of a route of our own is read strictly, and what is wrong is said with its place."""

import enum
from typing import Annotated, Literal

import pytest
from msgspec import UNSET, Meta, Struct, UnsetType

from tallypost_api.errors import MalformedJSON, UnknownField, WrongType
from tallypost_api.own.bodies import decode_object
from tallypost_core.errors import AppError
from tallypost_domain.emails.errors import MissingField


class Colour(enum.StrEnum):
    """A choice."""

    RED = "red"
    BLUE = "blue"


class Part(Struct, forbid_unknown_fields=True):
    """Something nested."""

    share: float
    colour: Colour = Colour.RED


class Sample(Struct, forbid_unknown_fields=True):
    """A body with all that may be in one."""

    name: str
    mode: Literal["test", "live"] = "live"
    # A bound that is only described must not hide what is in the list.
    parts: Annotated[list[Part], Meta(extra_json_schema={"maxItems": 9})] = []
    limits: dict[str, int] = {}
    more: Part | None = None


class Change(Struct, forbid_unknown_fields=True):
    """A PATCH."""

    name: str | UnsetType = UNSET
    note: str | UnsetType | None = UNSET


@pytest.mark.parametrize(
    ("body", "error", "field", "said"),
    [
        (b"", MissingField, "name", "is missing"),
        (b"{}", MissingField, "name", "is missing"),
        (b'{"name": 5}', WrongType, "name", "expected `str`, got `int`"),
        (b'{"name": "a", "mode": "x"}', WrongType, "mode", "one of `live`, `test`"),
        (b'{"name": "a", "note": 1}', UnknownField, "note", "`name`, `mode`, `parts`"),
        (b'{"name": "a", "parts": [{}]}', MissingField, "parts[0].share", "is missing"),
        (b'{"name": "a", "parts": [{"share": 1, "b": 1}]}', UnknownField, "parts[0].b", "`colour`"),
        (b'{"name": "a", "parts": [{"share": "1"}]}', WrongType, "parts[0].share", "got `str`"),
        (
            b'{"name": "a", "parts": [{"share": 1, "colour": "x"}]}',
            WrongType,
            "parts[0].colour",
            "one of `red`, `blue`",
        ),
        (b'{"name": "a", "more": {"b": 1}}', UnknownField, "more.b", "`share`, `colour`"),
        (b'{"name": "a", "limits": {"a": "b"}}', WrongType, "limits[...]", "expected `int`"),
        (b'"a"', WrongType, None, "expected `object`"),
        (b"null", WrongType, None, "expected `object`"),
        (b"{", MalformedJSON, None, "not JSON"),
        (b'{"name": "\xff"}', MalformedJSON, None, "UTF-8"),
    ],
)
def test_what_does_not_fit_is_named_with_what_was_expected(
    body: bytes, error: type[AppError], field: str | None, said: str
) -> None:
    with pytest.raises(error) as caught:
        decode_object(Sample, body)
    assert caught.value.field == field
    assert said in caught.value.message


def test_a_name_that_is_too_long_to_repeat_is_cut() -> None:
    for name in (b"x" * 5_000, b"x - at `$." + b"y" * 5_000, b"x` - at `$." + b"y" * 5_000):
        with pytest.raises(UnknownField) as caught:
            decode_object(Change, b'{"' + name + b'": 1}')
        assert len(caught.value.message) < 300
        assert len(caught.value.field or "") <= 100


@pytest.mark.parametrize(
    ("before", "after", "field", "choices"),
    [
        (b'{"name": "a", "mode": "', b'"}', "mode", "`live`, `test`"),
        (
            b'{"name": "a", "parts": [{"share": 1, "colour": "',
            b'"}]}',
            "parts[0].colour",
            "`red`, `blue`",
        ),
    ],
)
@pytest.mark.parametrize(
    "value", [b"secret", b"secret' - at `$.name", b"secret` - at `$.x`", b"secret" * 100_000]
)
def test_a_value_is_never_repeated_whatever_it_looks_like(
    before: bytes, value: bytes, after: bytes, field: str, choices: str
) -> None:
    with pytest.raises(WrongType) as caught:
        decode_object(Sample, before + value + after)
    assert caught.value.field == field
    assert caught.value.message == f"The `{field}` field is wrong: it must be one of {choices}."


def test_a_change_tells_what_is_left_out_from_what_is_null() -> None:
    assert decode_object(Change, b"{}") == Change(UNSET, UNSET)
    assert decode_object(Change, b'{"note": null}') == Change(UNSET, None)
    assert decode_object(Change, b'{"name": "a"}') == Change("a", UNSET)
    with pytest.raises(WrongType, match="expected `str`, got `null`"):
        decode_object(Change, b'{"name": null}')
