"""Renders what people read about settings: `docs/settings.md` and `.env.example`.

Both come from the settings Structs alone, so a test can tell whether the committed files are up
to date.
"""

import textwrap
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from tallypost_core.settings.apps import APP_SETTINGS
from tallypost_core.settings.loader import PREFIX, Secret, Variable, list_variables, split_hint

REFERENCE_PATH = Path("docs/settings.md")
ENV_EXAMPLE_PATH = Path(".env.example")

_WIDTH = 100

_INTRODUCTION = """\
# Settings

Every setting is an environment variable. An app reads only its own; a `TALLYPOST_` variable that
no app knows stops the start, and so does a missing or malformed one. All problems are reported at
once. An empty variable counts as unset. A secret may instead be read from a file: set the variable
of the same name with `_FILE` at its end to the file's path. The items of a list are separated by
commas. Names that start with `TALLYPOST_TEST_` belong to the test suite and are left alone.
The variables of installed [plugins](plugins.md) are listed by `tallypost plugins`.

`tallypost up` sets whatever is missing for a local installation; nothing has to be set for it.

This page is generated from the code; `.env.example` lists the same variables.
"""

_ENV_INTRODUCTION = """\
# Every setting, with its default where it has one; docs/settings.md explains them as tables.
# An empty variable counts as unset. Generated from the code.
"""

_GROUP_TEXTS = {
    "": "Settings without a group.",
    "database": "PostgreSQL 15 or later. Each process has a login of its own, with a role of its "
    "own behind it.",
}


class Entry(msgspec.Struct):
    """One variable with the apps that read it."""

    variable: Variable
    required_by: list[str] = []
    optional_in: list[str] = []
    notes: list[str] = []
    """What it means; where apps describe it differently, each description once."""


class Group(msgspec.Struct):
    """The variables of one group, in the order of their first appearance."""

    name: str
    text: str
    entries: dict[str, Entry] = {}


def render_reference(apps: Mapping[str, type[msgspec.Struct]] = APP_SETTINGS) -> str:
    """The text of `docs/settings.md`: a table for each group."""
    blocks = [_INTRODUCTION]
    for group in list_groups(apps):
        blocks.append(f"## {_heading(group)}\n\n{group.text}\n\n{_table(group.entries.values())}")
    return "\n".join(blocks)


def render_env_example(apps: Mapping[str, type[msgspec.Struct]] = APP_SETTINGS) -> str:
    """The text of `.env.example`: required variables empty, others commented out."""
    blocks = [_ENV_INTRODUCTION]
    for group in list_groups(apps):
        blocks.append(_comment(f"{_heading(group)}: {group.text}") + "\n")
        blocks += [_assignment(entry) for entry in group.entries.values()]
    return "\n".join(blocks)


def list_groups(apps: Mapping[str, type[msgspec.Struct]]) -> list[Group]:
    """All variables of all apps by group; what several apps read appears once."""
    groups: dict[str, Group] = {}
    for app, struct in apps.items():
        hints = typing.get_type_hints(struct)
        for variable in list_variables(struct):
            name = variable.path[0] if len(variable.path) > 1 else ""
            if name not in groups:
                groups[name] = Group(name, _group_text(name, hints))
            entry = groups[name].entries.setdefault(variable.name, Entry(variable))
            _add_app(entry, app, variable)
    # Without a group last: they read as a remainder.
    return sorted(groups.values(), key=lambda group: group.name == "")


def _add_app(entry: Entry, app: str, variable: Variable) -> None:
    (entry.required_by if variable.is_required else entry.optional_in).append(app)
    if variable.description not in entry.notes:
        entry.notes.append(variable.description)


def _group_text(name: str, hints: Mapping[str, Any]) -> str:
    return _GROUP_TEXTS.get(name) or typing.cast(str, hints[name].__doc__)


def _heading(group: Group) -> str:
    return f"`{PREFIX}{group.name.upper()}_*`" if group.name else "Others"


def _table(entries: Iterable[Entry]) -> str:
    rows = [
        ("Variable", "Type", "Default", "Required by", "Optional in", "Meaning"),
        ("---",) * 6,
    ]
    rows += [
        (
            _names(entry.variable),
            describe_type(entry.variable.hint),
            _default(entry.variable, quote="`"),
            ", ".join(entry.required_by),
            ", ".join(entry.optional_in),
            _meaning(entry),
        )
        for entry in entries
    ]
    return "".join("| " + " | ".join(_escape(cell) for cell in row) + " |\n" for row in rows)


def _names(variable: Variable) -> str:
    name = f"`{variable.name}`"
    return f"{name} or `{variable.name}_FILE`" if variable.is_secret else name


def _escape(cell: str) -> str:
    return cell.replace("|", "\\|")


def _assignment(entry: Entry) -> str:
    variable = entry.variable
    comment = _comment(f"{_meaning(entry)} ({describe_type(variable.hint)})")
    if entry.required_by:
        return f"{comment}\n{variable.name}=\n"
    return f"{comment}\n# {variable.name}={_default(variable, quote='')}\n"


def _comment(text: str) -> str:
    return textwrap.fill(
        text.replace("`", ""),
        _WIDTH,
        initial_indent="# ",
        subsequent_indent="# ",
        break_on_hyphens=False,
    )


def _meaning(entry: Entry) -> str:
    # One app may only add to what another says: the longer text then says it all.
    return " ".join(
        note
        for note in entry.notes
        if not any(other != note and other.startswith(note) for other in entry.notes)
    )


def _default(variable: Variable, quote: str) -> str:
    default = variable.default
    if default is None or default is msgspec.NODEFAULT:
        return ""
    items = default if isinstance(default, tuple) else (default,)
    return quote + ",".join(_number_or_text(item) for item in items) + quote


def _number_or_text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def describe_type(hint: Any) -> str:
    """What a value may be, in words, with its bounds: `integer, 1 to 65535`."""
    type_, meta = split_hint(hint)
    if isinstance(type_, types.UnionType) or typing.get_origin(type_) is typing.Union:
        (type_,) = (part for part in typing.get_args(type_) if part is not type(None))
    origin = typing.get_origin(type_)
    if origin is Literal:
        return " or ".join(f"`{choice}`" for choice in typing.get_args(type_))
    if origin is tuple:
        return f"list: {describe_type(typing.get_args(type_)[0])}"
    words = {int: "integer", float: "number", bool: "true or false", Path: "path", Secret: "secret"}
    return ", ".join([words.get(type_, "text"), *_bounds(meta)])


def _bounds(meta: msgspec.Meta | None) -> Iterator[str]:
    if meta is None:
        return
    if meta.ge is not None and meta.le is not None:
        yield f"{meta.ge:g} to {meta.le:g}"
        return
    for value, words in (
        (meta.gt, "more than"),
        (meta.ge, "at least"),
        (meta.lt, "less than"),
        (meta.le, "at most"),
    ):
        if value is not None:
            yield f"{words} {value:g}"
