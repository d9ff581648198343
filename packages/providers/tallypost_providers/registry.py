"""Finds providers by name, and makes accounts of them.

A provider is anything under the entry point group `tallypost.providers`, of this distribution or of
another one: all are found, judged and made in the same way. Only a provider that is asked for by
name is imported.
"""

from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint
from typing import Any, cast

from msgspec import Struct

from tallypost_core.plugin_loading import (
    PluginUnusable,
    distribution_of,
    find_entry_point,
    list_entry_points,
    load,
)
from tallypost_core.settings.apps import APP_SETTINGS
from tallypost_core.settings.plugins import PROVIDERS_GROUP, find_conflict
from tallypost_providers.contract import account_faults, class_faults, settings_faults
from tallypost_providers.errors import ProviderMisconfigured
from tallypost_providers.types import Provider

INBOX = "inbox"
"""Takes test mail always; no account of it is named."""

_OURS = "tallypost"


def list_provider_names() -> list[str]:
    """The names of the providers on this installation, sorted."""
    return sorted({entry_point.name for entry_point in list_entry_points(PROVIDERS_GROUP)})


def is_ours(entry_point: EntryPoint) -> bool:
    """True for what comes with Tallypost itself."""
    return entry_point.dist is not None and entry_point.dist.name == _OURS


def get_provider_class(name: str) -> type[Provider]:
    """The adapter class of a provider.

    Raises ProviderMisconfigured for a name that is unknown (the message names TALLYPOST_PROVIDERS
    and lists the known ones), that two distributions claim or that mixes with our settings, and for
    a class that cannot be imported or does not have what `types.Provider` has.
    """
    entry_point = _get_entry_point(name)
    if not is_ours(entry_point):
        conflict = find_conflict(name, APP_SETTINGS.values())
        if conflict is not None:
            raise _unusable(entry_point, conflict)
    provider_class = _load(entry_point)
    _require_none(entry_point, class_faults(provider_class, name))
    return cast("type[Provider]", provider_class)


def get_settings_struct(name: str) -> type[Struct]:
    """The settings that accounts of a provider are made with.

    Raises what `get_provider_class` raises, and ProviderMisconfigured for the Inbox and for a class
    whose settings or constructor are not as `base` says.
    """
    if name == INBOX:
        others = ", ".join(other for other in list_provider_names() if other != INBOX)
        raise ProviderMisconfigured(
            f"TALLYPOST_PROVIDERS names {INBOX!r}, which takes test mail always and no other. "
            f"It may name: {others}."
        )
    provider_class = get_provider_class(name)
    _require_none(_get_entry_point(name), settings_faults(provider_class))
    # Any: the Protocol has no settings, since the Inbox has none. They were looked at above.
    return cast("type[Struct]", cast("Any", provider_class).settings)


def create_account(name: str, settings: Struct) -> Provider:
    """An account of a provider, which bears its name.

    Raises ProviderMisconfigured, where the constructor does and where what it made is not as `base`
    says.
    """
    create: Callable[..., Provider] = get_provider_class(name)
    provider = create(settings, account=name)
    _require_none(_get_entry_point(name), account_faults(provider, name))
    return provider


def not_installed(name: str) -> str:
    """What is said of a name that no distribution offers."""
    known = ", ".join(list_provider_names()) or "none"
    return f"TALLYPOST_PROVIDERS names {name!r}, which is not installed. Installed: {known}."


def _get_entry_point(name: str) -> EntryPoint:
    try:
        found = find_entry_point(PROVIDERS_GROUP, name)
    except PluginUnusable as error:
        raise ProviderMisconfigured(f"Provider {name!r} {error}") from error
    if found is None:
        raise ProviderMisconfigured(not_installed(name))
    return found


def _load(entry_point: EntryPoint) -> object:
    try:
        return load(entry_point)
    except PluginUnusable as error:
        raise _unusable(entry_point, str(error)) from error


def _require_none(entry_point: EntryPoint, faults: Iterable[str]) -> None:
    told = "; ".join(faults)
    if told:
        raise _unusable(entry_point, f"{entry_point.value} breaks the contract: {told}")


def _unusable(entry_point: EntryPoint, reason: str) -> ProviderMisconfigured:
    provider = f"Provider {entry_point.name!r} of {distribution_of(entry_point)}"
    return ProviderMisconfigured(
        f"{provider} cannot be used: {reason}. Mend it, or take it out of TALLYPOST_PROVIDERS."
    )
