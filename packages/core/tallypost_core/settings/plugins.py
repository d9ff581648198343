"""Plugins as the settings see them: which names and variables belong to what is installed.

A provider of another distribution reads `TALLYPOST_<NAME>_<FIELD>`, the name being that of its
entry point. Nothing of a plugin is imported here, so an app that has no use for it stays clear.
"""

import re
from collections.abc import Iterable
from importlib.metadata import entry_points

from msgspec import Struct

from tallypost_core.settings.loader import PREFIX, TEST_PREFIX, list_variables

PROVIDERS_GROUP = "tallypost.providers"
"""Entry points of providers."""

EVENTS_GROUP = "tallypost.events"
"""Entry points of subscribers to events."""

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


def prefix_of(name: str) -> str:
    """How the variables of a group begin: `TALLYPOST_SMTP_` for `smtp`."""
    return f"{PREFIX}{name.upper()}_"


def find_conflict(name: str, structs: Iterable[type[Struct]]) -> str | None:
    """Why a plugin cannot bear this name beside these settings, in words; None where it can."""
    if not _NAME.fullmatch(name):
        return "its name is not of lower-case letters, digits and single underscores"
    return _find_overlap(prefix_of(name), _taken_prefixes(structs))


def list_plugin_prefixes(structs: Iterable[type[Struct]]) -> tuple[str, ...]:
    """How the variables of installed providers begin that are none of these settings."""
    taken = _taken_prefixes(structs)
    prefixes = {
        prefix_of(entry_point.name)
        for entry_point in entry_points(group=PROVIDERS_GROUP)
        if _NAME.fullmatch(entry_point.name)
    }
    return tuple(sorted(prefix for prefix in prefixes if _find_overlap(prefix, taken) is None))


def _find_overlap(prefix: str, taken: Iterable[str]) -> str | None:
    for other in taken:
        if other.startswith(prefix) or prefix.startswith(other):
            return f"{prefix}* would mix with {other}*, which are variables of Tallypost"
    return None


def _taken_prefixes(structs: Iterable[type[Struct]]) -> list[str]:
    groups = {variable.path[0] for struct in structs for variable in list_variables(struct)}
    return [TEST_PREFIX, *sorted(map(prefix_of, groups))]
