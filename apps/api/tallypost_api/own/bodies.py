"""Reads bodies of our own routes: nothing is taken for right that is not known to be.

A body is a Struct with `forbid_unknown_fields=True`. A field that may be left out is `UnsetType`
beside its type, with UNSET as its default: in a PATCH that leaves it as it is, and null is a value.
"""

import re
from collections.abc import Iterator
from typing import Any, Final, TypeVar

import msgspec
from litestar import Request
from msgspec import inspect

from tallypost_api.bodies import decode_body, read_body
from tallypost_api.errors import UnknownField, WrongType
from tallypost_core.errors import AppError
from tallypost_domain.emails.errors import MissingField

T = TypeVar("T")

MAX_BODY_BYTES: Final = 1_000_000
"""Of a body of our own, which has no attachments. The largest list of routes has a tenth of it."""

# msgspec: "Object contains unknown field `as` - at `$.settings[0]`". The place is the last thing
# that it says, and what stands before may hold a text of the caller's that looks like one.
_AT: Final = " - at `$"
_UNKNOWN: Final = "Object contains unknown field `"
_MISSING: Final = "Object missing required field `"
_NO_CHOICE: Final = "Invalid enum value "
_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_MAX_NAME_CHARS: Final = 100


async def read_object(request: Request[Any, Any, Any], type_: type[T]) -> T:
    """The body of a request, at most MAX_BODY_BYTES. Raises as `read_body`, `decode_object`."""
    return decode_object(type_, await read_body(request, max_bytes=MAX_BODY_BYTES))


def decode_object(type_: type[T], body: bytes) -> T:
    """A body of this type.

    Raises UnknownField, MissingField and WrongType, which name the field and what was expected, and
    repeat no value; MalformedJSON, JSONTooDeep, JSONTooIntricate.
    """
    return decode_body(
        msgspec.json.Decoder(type_),
        body,
        lambda error: _explain(inspect.type_info(type_), str(error)),
    )


def _explain(type_: inspect.Type, message: str) -> AppError:
    what, place = _divide(message)
    field = place.removeprefix(".")
    if what.startswith(_UNKNOWN):
        name = _joined(field, what.removeprefix(_UNKNOWN).removesuffix("`"))
        known = ", ".join(f"`{known}`" for known in _field_names(_at(type_, place)))
        expected = f"the fields here are {known}" if known else "this has no fields"
        return UnknownField(f"There is no field `{name}`; {expected}.", field=name)
    if what.startswith(_MISSING):
        name = _joined(field, what.removeprefix(_MISSING).removesuffix("`"))
        return MissingField(f"The `{name}` field is missing.", field=name)
    # What is no choice is quoted there, whole: it may be a megabyte, or a secret at a wrong place.
    said, choices = what[:1].lower() + what[1:], ", ".join(_choices(_at(type_, place)))
    if what.startswith(_NO_CHOICE):
        said = f"it must be one of {choices}"
    elif choices:
        said = f"{said}; it is one of {choices}"
    if not field:
        return WrongType(f"The request body has the wrong type: {said}.")
    return WrongType(f"The `{field}` field is wrong: {said}.", field=field)


def _divide(message: str) -> tuple[str, str]:
    """What is wrong, and the place of it, such as `.routes[0].share`; empty for the whole body."""
    what, mark, place = message.rpartition(_AT)
    if not mark or (what.startswith(_UNKNOWN) and not what.endswith("`")):
        return message, ""
    return what, place.removesuffix("`")


def _joined(place: str, name: str) -> str:
    return (f"{place}.{name}" if place else name)[:_MAX_NAME_CHARS]


def _at(type_: inspect.Type, place: str) -> inspect.Type:
    """The type at a place such as `.routes[0].share`; its nearest known parent where it is open."""
    for step in _STEP.finditer(place):
        name = step[1] or ""
        following = [inner for part in _parts(type_) for inner in _inside(part, name)]
        if not following:
            break
        type_ = following[0]
    return type_


def _parts(type_: inspect.Type) -> tuple[inspect.Type, ...]:
    """What a value may be: the members of a union, without what is noted beside a type."""
    if isinstance(type_, inspect.Metadata):
        return _parts(type_.type)
    if isinstance(type_, inspect.UnionType):
        return tuple(part for member in type_.types for part in _parts(member))
    return (type_,)


def _inside(type_: inspect.Type, name: str) -> Iterator[inspect.Type]:
    """What is in it: under a name, or for each element where there is none."""
    if isinstance(type_, inspect.StructType):
        yield from (field.type for field in type_.fields if field.encode_name == name)
    elif isinstance(type_, inspect.DictType):
        yield type_.value_type
    elif not name and isinstance(type_, inspect.CollectionType | inspect.VarTupleType):
        yield type_.item_type


def _field_names(type_: inspect.Type) -> tuple[str, ...]:
    return tuple(
        field.encode_name
        for part in _parts(type_)
        if isinstance(part, inspect.StructType)
        for field in part.fields
    )


def _choices(type_: inspect.Type) -> Iterator[str]:
    for part in _parts(type_):
        if isinstance(part, inspect.LiteralType):
            yield from (f"`{value}`" for value in part.values)
        elif isinstance(part, inspect.EnumType):
            yield from (f"`{value.value}`" for value in part.cls)
