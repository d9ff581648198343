"""What distributions offer under a group of entry points: found, loaded, and looked at.

Whoever uses a group says in its own words which setting named what cannot be used.
"""

from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import cast

from msgspec import Struct

from tallypost_core.settings.loader import list_variables


class PluginUnusable(Exception):
    """An entry point cannot be used; the text says why."""


def list_entry_points(group: str) -> list[EntryPoint]:
    """What is installed, sorted by name; a name that two distributions claim is there twice."""
    found = entry_points(group=group)
    return sorted(found, key=lambda entry_point: (entry_point.name, entry_point.value))


def find_entry_point(group: str, name: str) -> EntryPoint | None:
    """The entry point of a name; raises PluginUnusable where several distributions claim it."""
    found = tuple(entry_points(group=group, name=name))
    if len({entry_point.value for entry_point in found}) > 1:
        offered_by = ", ".join(sorted(map(distribution_of, found)))
        raise PluginUnusable(
            f"is offered by several distributions: {offered_by}. Uninstall all but one."
        )
    return found[0] if found else None


def load(entry_point: EntryPoint) -> object:
    """Import what it names; raises PluginUnusable, whatever the module does meanwhile."""
    try:
        return cast("object", entry_point.load())
    except ImportError as error:
        raise PluginUnusable(f"{entry_point.value} cannot be imported: {error}") from error
    except (Exception, SystemExit) as error:
        # The edge to code that may be a plugin's; its module runs while it is imported.
        kind = type(error).__name__
        raise PluginUnusable(f"{entry_point.value} cannot be loaded: {kind}") from error


def distribution_of(entry_point: EntryPoint) -> str:
    """Name and version of the distribution that an entry point came with."""
    found = entry_point.dist
    return f"{found.name} {found.version}" if found is not None else "an unknown distribution"


def settings_faults(struct: object) -> Iterator[str]:
    """What keeps a plugin's settings from being read by the loader of ours, in words."""
    if not (isinstance(struct, type) and issubclass(struct, Struct)):
        yield "its `settings` is no msgspec Struct"
        return
    if not struct.__struct_config__.frozen:
        yield "its settings are not frozen"
    try:
        variables = list_variables(struct)
    except (NameError, TypeError) as error:
        yield f"its settings cannot be read: {error}"
        return
    for variable in variables:
        if not variable.description:
            yield f"its setting {'.'.join(variable.path)} has no Meta(description=...)"
