"""Plugins as the settings see them: which names and variables belong to what is installed.

A provider of another distribution and a subscriber to events read `TALLYPOST_<NAME>_<FIELD>`, the
name being that of their entry point. Nothing of a plugin is imported here, so an app that has no
use for it stays clear.
"""

import re
from collections.abc import Iterable, Mapping
from importlib.metadata import entry_points

from msgspec import Struct

from tallypost_core.settings.loader import PREFIX, TEST_PREFIX, list_variables

PROVIDERS_GROUP = "tallypost.providers"
"""Entry points of providers."""

EVENTS_GROUP = "tallypost.events"
"""Entry points of subscribers to events."""

_PROVIDERS = f"{PREFIX}PROVIDERS"
_SUBSCRIBERS = f"{PREFIX}SUBSCRIBERS"

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


def prefix_of(name: str) -> str:
    """How the variables of a group begin: `TALLYPOST_SMTP_` for `smtp`."""
    return f"{PREFIX}{name.upper()}_"


def find_conflict(name: str, structs: Iterable[type[Struct]]) -> str | None:
    """Why a plugin cannot bear this name beside these settings, in words; None where it can."""
    if not _NAME.fullmatch(name):
        return "its name is not of lower-case letters, digits and single underscores"
    return _find_overlap(prefix_of(name), _taken_prefixes(structs))


def find_plugin_conflict(name: str, group: str, environ: Mapping[str, str]) -> str | None:
    """Why a plugin of a group cannot bear this name beside others that are used, in words.

    Used is what is installed and environ names; anything else reads no settings and is in nobody's
    way. It is asked for subscribers: of a subscriber and a provider that are in each other's way,
    the provider is used, because mail depends on it.
    """
    named = {
        PROVIDERS_GROUP: _read_names(_PROVIDERS, environ),
        EVENTS_GROUP: read_subscriber_names(environ),
    }
    for other_group, names in named.items():
        for entry_point in entry_points(group=other_group):
            other = entry_point.name
            is_same = (other, other_group) == (name, group)
            if other in names and not is_same and _NAME.fullmatch(other):
                taken = [prefix_of(other)]
                conflict = _find_overlap(prefix_of(name), taken, of=f"plugin {other!r}")
                if conflict is not None:
                    return conflict
    return None


def read_subscriber_names(environ: Mapping[str, str]) -> tuple[str, ...]:
    """What TALLYPOST_SUBSCRIBERS names, each name once."""
    return _read_names(_SUBSCRIBERS, environ)


def list_plugin_prefixes(
    structs: Iterable[type[Struct]], environ: Mapping[str, str]
) -> tuple[str, ...]:
    """How the variables of plugins begin that are none of these settings.

    Of plugins that are installed, and of subscribers that environ names: one that was uninstalled
    must not keep anything from starting.
    """
    taken = _taken_prefixes(structs)
    names = [
        *(item.name for item in entry_points(group=PROVIDERS_GROUP)),
        *(item.name for item in entry_points(group=EVENTS_GROUP)),
        *read_subscriber_names(environ),
    ]
    prefixes = {prefix_of(name) for name in names if _NAME.fullmatch(name)}
    return tuple(sorted(prefix for prefix in prefixes if _find_overlap(prefix, taken) is None))


def select_subscriber_variables(
    structs: Iterable[type[Struct]], environ: Mapping[str, str]
) -> dict[str, str]:
    """The variables in environ that belong to the subscribers that it names, and to no app."""
    taken = _taken_prefixes(structs)
    names = [name for name in read_subscriber_names(environ) if _NAME.fullmatch(name)]
    prefixes = tuple(
        prefix for prefix in map(prefix_of, names) if _find_overlap(prefix, taken) is None
    )
    return {name: value for name, value in environ.items() if name.startswith(prefixes)}


def _read_names(variable: str, environ: Mapping[str, str]) -> tuple[str, ...]:
    names = (name.strip() for name in environ.get(variable, "").split(","))
    return tuple(dict.fromkeys(name for name in names if name))


def _find_overlap(prefix: str, taken: Iterable[str], *, of: str = "Tallypost") -> str | None:
    for other in taken:
        if other.startswith(prefix) or prefix.startswith(other):
            return f"{prefix}* would mix with {other}*, which are variables of {of}"
    return None


def _taken_prefixes(structs: Iterable[type[Struct]]) -> list[str]:
    groups = {variable.path[0] for struct in structs for variable in list_variables(struct)}
    return [TEST_PREFIX, *sorted(map(prefix_of, groups))]
