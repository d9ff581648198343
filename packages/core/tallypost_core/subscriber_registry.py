"""Finds subscribers to events by name, and makes them.

A subscriber is anything under the entry point group `tallypost.events`; Tallypost has none of its
own. Only one that is asked for by name is imported.
"""

import asyncio
import inspect
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint
from typing import Any, cast

import msgspec
from msgspec import Struct

from tallypost_core.plugin_events import CLOSE_LIMIT_S, Subscriber, SubscriberMisconfigured
from tallypost_core.plugin_loading import (
    PluginUnusable,
    distribution_of,
    find_entry_point,
    list_entry_points,
    load,
    settings_faults,
)
from tallypost_core.settings.apps import APP_SETTINGS
from tallypost_core.settings.loader import SettingsError, load_settings
from tallypost_core.settings.plugins import (
    EVENTS_GROUP,
    find_conflict,
    find_plugin_conflict,
    prefix_of,
)


def get_settings_struct(name: str, environ: Mapping[str, str]) -> type[Struct]:
    """The settings that a subscriber is made with.

    environ says which other plugins are used. Raises SubscriberMisconfigured for a name that is not
    installed, that two distributions claim or that mixes with our settings or theirs, and for a
    class that cannot be imported or does not have what `plugin_events` says.
    """
    # Any: the Protocol has no settings. They were looked at.
    return cast("type[Struct]", cast("Any", _get_class(name, environ)).settings)


def create_subscriber(name: str, environ: Mapping[str, str]) -> Subscriber:
    """A subscriber with its settings, which are the variables of its group in environ.

    It is made where an event loop runs. Raises what `read_settings` raises, and
    SubscriberMisconfigured where the constructor fails.
    """
    settings = read_settings(name, environ)
    create = cast("Callable[[Struct], Subscriber]", _get_class(name, environ))
    try:
        return create(settings)
    except SubscriberMisconfigured as error:
        raise _unusable(_get_entry_point(name), error.message) from error
    except (Exception, SystemExit) as error:
        # The edge to a plugin's code. What the error says may quote a setting.
        reason = f"its constructor raised {type(error).__name__}"
        raise _unusable(_get_entry_point(name), reason) from error


async def try_out(name: str, environ: Mapping[str, str]) -> None:
    """Make a subscriber as a worker does, and close it; no event comes to it.

    Raises what `create_subscriber` raises, and SubscriberMisconfigured where it does not close.
    """
    subscriber = create_subscriber(name, environ)
    try:
        async with asyncio.timeout(CLOSE_LIMIT_S):
            await subscriber.close()
    except (Exception, SystemExit) as error:
        # The same edge.
        reason = f"its close raised {type(error).__name__}"
        raise _unusable(_get_entry_point(name), reason) from error


def read_settings(name: str, environ: Mapping[str, str]) -> Struct:
    """The settings of a subscriber, from the variables of its group in environ.

    Raises what `get_settings_struct` raises, and SubscriberMisconfigured with every problem of the
    settings at once.
    """
    struct = get_settings_struct(name, environ)
    group = msgspec.defstruct(name, [(name, struct)], module=__name__, frozen=True)
    # The rest is for the app's own settings to judge.
    own = {key: value for key, value in environ.items() if key.startswith(prefix_of(name))}
    try:
        loaded = load_settings(group, own, (group,))
    except SettingsError as error:
        raise _unusable(_get_entry_point(name), "; ".join(error.problems)) from None
    return cast("Struct", getattr(loaded, name))


def not_installed(name: str) -> str:
    """What is said of a name that no distribution offers."""
    known = ", ".join(sorted({item.name for item in list_entry_points(EVENTS_GROUP)})) or "none"
    return f"TALLYPOST_SUBSCRIBERS names {name!r}, which is not installed. Installed: {known}."


def _get_class(name: str, environ: Mapping[str, str]) -> type:
    entry_point = _get_entry_point(name)
    conflict = find_conflict(name, APP_SETTINGS.values())
    conflict = conflict or find_plugin_conflict(name, EVENTS_GROUP, environ)
    if conflict is not None:
        raise _unusable(entry_point, conflict)
    try:
        loaded = load(entry_point)
    except PluginUnusable as error:
        raise _unusable(entry_point, str(error)) from error
    told = "; ".join(_faults(loaded, name))
    if told:
        raise _unusable(entry_point, f"{entry_point.value} breaks the contract: {told}")
    return cast("type", loaded)


def _get_entry_point(name: str) -> EntryPoint:
    try:
        found = find_entry_point(EVENTS_GROUP, name)
    except PluginUnusable as error:
        raise SubscriberMisconfigured(f"Subscriber {name!r} {error}") from error
    if found is None:
        raise SubscriberMisconfigured(not_installed(name))
    return found


def _faults(loaded: object, name: str) -> Iterator[str]:
    """What is wrong with a class, in words."""
    if not isinstance(loaded, type):
        yield "it is no class"
        return
    own_name = getattr(loaded, "name", None)
    if own_name != name:
        yield f"its name is {own_name!r}, not {name!r} as its entry point says"
    for method in ("handle", "close"):
        own = getattr(loaded, method, None)
        # One that it has from the Protocol does nothing.
        if own is getattr(Subscriber, method) or not inspect.iscoroutinefunction(own):
            yield f"it has no `async def {method}`"
    yield from settings_faults(getattr(loaded, "settings", None))
    try:
        inspect.signature(loaded).bind(object())
    except (TypeError, ValueError):
        yield "its constructor does not take (settings)"


def _unusable(entry_point: EntryPoint, reason: str) -> SubscriberMisconfigured:
    return SubscriberMisconfigured(
        f"Subscriber {entry_point.name!r} of {distribution_of(entry_point)} cannot be used: "
        f"{reason.rstrip('.')}. Mend it, or take it out of TALLYPOST_SUBSCRIBERS."
    )
