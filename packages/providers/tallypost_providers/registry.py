"""Finds providers by name: anything under the entry point group `tallypost.providers`.

A provider of another distribution is found here too, but the worker gives settings to those of
this project only and refuses the others.
"""

from importlib.metadata import EntryPoint, entry_points
from typing import cast

from tallypost_providers.errors import ProviderMisconfigured
from tallypost_providers.types import Provider

GROUP = "tallypost.providers"


def list_provider_names() -> list[str]:
    """The names of the providers on this installation, sorted."""
    return sorted({entry_point.name for entry_point in entry_points(group=GROUP)})


def get_provider_class(name: str) -> type[Provider]:
    """The adapter class of a provider; the caller knows what its constructor takes.

    Raises ProviderMisconfigured that names TALLYPOST_PROVIDERS for an unknown name (the message
    lists the known ones), for a name that two distributions claim, and for a class that cannot be
    imported.
    """
    found = tuple(entry_points(group=GROUP, name=name))
    if not found:
        known = ", ".join(list_provider_names()) or "none"
        raise ProviderMisconfigured(
            f"TALLYPOST_PROVIDERS names {name!r}, which is not installed. Installed: {known}."
        )
    if len({entry_point.value for entry_point in found}) > 1:
        raise ProviderMisconfigured(
            f"TALLYPOST_PROVIDERS names {name!r}, which several installed distributions offer."
        )
    return _load(found[0])


def _load(entry_point: EntryPoint) -> type[Provider]:
    try:
        return cast("type[Provider]", entry_point.load())
    except (ImportError, AttributeError) as error:
        raise ProviderMisconfigured(
            f"TALLYPOST_PROVIDERS names {entry_point.name!r}, which cannot be loaded from "
            f"{entry_point.value}."
        ) from error
