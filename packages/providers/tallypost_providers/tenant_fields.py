"""The fields of a tenant's account, for forms and pages, and how each reads what somebody gave.

A value comes as JSON has it or as the text of a form. Blanks at the ends of a text mean nothing,
unless it is secret: that is kept as given, or refused. No message quotes a value.
"""

import math
import re
import types
import typing
from collections.abc import Callable
from functools import cache
from typing import Any, Literal

import msgspec
from msgspec import Meta, Struct

from tallypost_core.settings.loader import Secret, split_hint
from tallypost_providers.errors import InvalidAccountSettings

Value = str | int | float | bool

_INTEGER = re.compile(r"-?[0-9]{1,9}")
_NUMBER = re.compile(r"-?[0-9]{1,9}(\.[0-9]{1,9})?")
# What browsers send for a box that is ticked, and what people write.
_BOOLEANS = {"on": True, "true": True, "1": True, "yes": True}
_BOOLEANS |= {"off": False, "false": False, "0": False, "no": False}


class Field(Struct, frozen=True, kw_only=True):
    """One setting of an account, as a form or a page needs it."""

    name: str
    label: str
    description: str
    kind: Literal["text", "integer", "number", "boolean", "choice"]
    is_secret: bool = False
    """It is kept encrypted and shown to nobody again."""
    is_required: bool = False
    choices: tuple[str | int, ...] = ()
    default: Value | None = None
    at_least: float | None = None
    at_most: float | None = None
    more_than: float | None = None
    max_length: int | None = None
    """In characters."""


class Reader(Struct, frozen=True):
    """A field with what gives its text the usual form."""

    field: Field
    tidy: Callable[[str], str] | None = None

    def read(self, raw: object) -> Value | None:
        """The value, None where nothing is set; raises InvalidAccountSettings."""
        if is_blank(raw):
            if self.field.is_required:
                raise self.refuse("is missing")
            return self.field.default
        given = raw.strip() if isinstance(raw, str) and not self.field.is_secret else raw
        match self.field.kind:
            case "text":
                return self._read_text(given)
            case "choice":
                return self._read_choice(given)
            case "boolean":
                return self._read_boolean(given)
            case _:
                return self._read_number(given)

    def refuse(self, reason: str) -> InvalidAccountSettings:
        """The error for this field; reason goes on from its name."""
        name = self.field.name
        return InvalidAccountSettings(f"The `{name}` field {reason}.", field=name)

    def _read_text(self, given: object) -> str:
        if not isinstance(given, str):
            raise self.refuse("must be a text")
        if not given.isprintable():
            raise self.refuse("must not have control characters, such as the end of a line")
        if self.field.max_length is not None and len(given) > self.field.max_length:
            raise self.refuse(f"must have at most {self.field.max_length} characters")
        if self.tidy is None:
            return given
        try:
            return self.tidy(given)
        except ValueError as error:
            # Not from it: a check of somebody else's might quote a secret.
            raise self.refuse(str(error)) from None

    def _read_choice(self, given: object) -> str | int:
        for choice in self.field.choices:
            # A form has the text of a number. True is 1 to Python, and nobody's choice.
            if not isinstance(given, bool) and given in (choice, str(choice)):
                return choice
        told = ", ".join(map(str, self.field.choices))
        raise self.refuse(f"must be one of {told}")

    def _read_boolean(self, given: object) -> bool:
        if isinstance(given, bool):
            return given
        found = _BOOLEANS.get(given.lower()) if isinstance(given, str) else None
        if found is None:
            raise self.refuse("must be true or false")
        return found

    def _read_number(self, given: object) -> int | float:
        is_whole = self.field.kind == "integer"
        number: int | float | None = None
        if isinstance(given, str):
            if (_INTEGER if is_whole else _NUMBER).fullmatch(given):
                number = int(given) if is_whole else float(given)
        elif isinstance(given, int | float) and not isinstance(given, bool):
            number = given
        if number is None or not self._is_within(number):
            raise self.refuse(f"must be a {'whole ' if is_whole else ''}number{self._bounds()}")
        if not is_whole:
            return float(number)
        if number != int(number):
            raise self.refuse(f"must be a whole number{self._bounds()}")
        return int(number)

    def _is_within(self, number: float) -> bool:
        if isinstance(number, float) and not math.isfinite(number):
            return False
        field = self.field
        return (
            (field.at_least is None or number >= field.at_least)
            and (field.at_most is None or number <= field.at_most)
            and (field.more_than is None or number > field.more_than)
        )

    def _bounds(self) -> str:
        words = (
            ("more than", self.field.more_than),
            ("at least", self.field.at_least),
            ("at most", self.field.at_most),
        )
        told = [f"{word} {bound:g}" for word, bound in words if bound is not None]
        return f" of {' and '.join(told)}" if told else ""


def is_blank(raw: object) -> bool:
    """True for what a form or a program gives where nothing is set."""
    return raw is None or (isinstance(raw, str) and not raw.strip())


@cache
def list_readers(struct: type[Struct]) -> tuple[Reader, ...]:
    """The fields of a Struct of settings, in its order."""
    hints = typing.get_type_hints(struct, include_extras=True)
    return tuple(_describe(field, hints[field.name]) for field in msgspec.structs.fields(struct))


# Any: a hint may be whatever a Struct takes.
def _describe(field: msgspec.structs.FieldInfo, hint: Any) -> Reader:
    annotated, meta = split_hint(hint)
    meta = meta or Meta()
    type_ = _without_none(annotated)
    choices = typing.get_args(type_) if typing.get_origin(type_) is Literal else ()
    default = None if field.default is msgspec.NODEFAULT else field.default
    described = Field(
        name=field.name,
        label=meta.title or field.name,
        description=meta.description or "",
        kind="choice" if choices else _KINDS[type_],
        is_secret=type_ is Secret,
        is_required=field.required,
        choices=choices,
        default=default,
        at_least=meta.ge,
        at_most=meta.le,
        more_than=meta.gt,
        max_length=meta.max_length,
    )
    return Reader(described, (meta.extra or {}).get("tidy"))


def _without_none(hint: Any) -> Any:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        (hint,) = (part for part in typing.get_args(hint) if part is not type(None))
    return hint


_KINDS: dict[Any, Literal["text", "integer", "number", "boolean"]] = {
    str: "text",
    Secret: "text",
    int: "integer",
    float: "number",
    bool: "boolean",
}
