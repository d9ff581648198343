"""What the fields of bodies and answers mean, read from the docstrings beneath them.

Python drops a string that stands beneath a field, so it is read from the source.
"""

import ast
import inspect
import textwrap
from collections.abc import Iterable
from typing import Any, Final

import msgspec
from msgspec.inspect import StructType, multi_type_info

# OpenAPI is a tree of JSON whose nodes have no types of their own here.
JSON = dict[str, Any]

_PARTS: Final = ("item_type", "key_type", "value_type", "type")
_LISTS: Final = ("types", "item_types", "fields")


def describe_fields(schemas: JSON, types: Iterable[Any]) -> None:
    """Add to schemas, by the names of their classes, what the fields of types mean.

    types are those of bodies and answers; the structs inside of them are described too.
    """
    for struct in _list_structs(types):
        properties = schemas.get(struct.__name__, {}).get("properties", {})
        for name, words in _read_docstrings(struct).items():
            if name in properties:
                properties[name].setdefault("description", words)


def _list_structs(types: Iterable[Any]) -> list[type]:
    found: list[type] = []
    # Any: msgspec's descriptions of types, and of fields, have no attributes in common.
    open_: list[Any] = [*multi_type_info(types)]
    while open_:
        known = open_.pop()
        if isinstance(known, StructType):
            if known.cls in found:
                continue
            found.append(known.cls)
        open_ += [getattr(known, part) for part in _PARTS if hasattr(known, part)]
        open_ += [inner for name in _LISTS for inner in getattr(known, name, ())]
    return found


def _read_docstrings(struct: type) -> dict[str, str]:
    """By the names that fields have in JSON."""
    names = {field.name: field.encode_name for field in msgspec.structs.fields(struct)}
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(struct))).body
    if not isinstance(tree, ast.ClassDef):
        raise TypeError(f"{struct} is not made by a class statement")
    found: dict[str, str] = {}
    for statement, beneath in zip(tree.body, tree.body[1:], strict=False):
        match statement, beneath:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(words))),
            ) if name in names:
                found[names[name]] = " ".join(words.split())
    return found
