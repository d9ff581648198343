"""`tallypost plugins`: what is installed, what of it is used, and whether it could be."""

from collections.abc import Mapping
from importlib.metadata import EntryPoint
from pathlib import Path

import msgspec
from msgspec import Struct

from tallypost_cli.errors import StartUpError
from tallypost_cli.plugin_settings import Setting, list_settings
from tallypost_cli.subscriber_listing import ListedSubscriber, list_subscribers, read_states
from tallypost_cli.supervisor import Say
from tallypost_core.plugin_loading import list_entry_points
from tallypost_core.settings.plugins import PROVIDERS_GROUP
from tallypost_providers import registry
from tallypost_providers.account_settings import read_provider_names
from tallypost_providers.errors import ProviderMisconfigured


class ListedProvider(Struct, frozen=True):
    """A provider that is installed, or that TALLYPOST_PROVIDERS names without that."""

    name: str
    distribution: str | None
    version: str | None
    source: str | None
    """Module and class."""
    folder: str | None
    """Where the distribution is installed."""
    is_named: bool
    problem: str | None
    """Why it cannot be loaded; None where it can."""
    settings: tuple[Setting, ...] = ()


class Listing(Struct, frozen=True):
    """Everything that `plugins` tells; `--json` writes it as it is."""

    providers: tuple[ListedProvider, ...]
    subscribers: tuple[ListedSubscriber, ...]
    states_problem: str | None
    """Why it is not known how subscribers do; None where it is."""


def run(folder: Path, environ: Mapping[str, str], say: Say, *, as_json: bool) -> None:
    """List plugins; raises StartUpError where one that is named cannot be loaded.

    folder is where an `up` may run, whose database is asked where environ names none.
    """
    listing = list_plugins(folder, environ)
    if as_json:
        say(msgspec.json.format(msgspec.json.encode(listing)).decode())
    else:
        # It takes a while to import, which `--json` need not wait for.
        from tallypost_cli.plugin_tables import print_tables

        print_tables(listing)
    told = [
        f"{variable} names what cannot be loaded: {', '.join(broken)}."
        for variable, items in (
            ("TALLYPOST_PROVIDERS", listing.providers),
            ("TALLYPOST_SUBSCRIBERS", listing.subscribers),
        )
        if (broken := [item.name for item in items if item.is_named and item.problem])
    ]
    if told:
        raise StartUpError("\n".join(told))


def list_plugins(folder: Path, environ: Mapping[str, str]) -> Listing:
    """What is installed, sorted by name; imports each to see whether it can be."""
    named = read_provider_names(environ)
    installed = list_entry_points(PROVIDERS_GROUP)
    states, states_problem = read_states(folder, environ)
    missing = set(named) - {entry_point.name for entry_point in installed}
    return Listing(
        providers=(
            *(_list_provider(item, environ, is_named=item.name in named) for item in installed),
            *(_list_missing(name) for name in sorted(missing)),
        ),
        subscribers=list_subscribers(environ, states),
        states_problem=states_problem,
    )


def _list_provider(
    entry_point: EntryPoint, environ: Mapping[str, str], *, is_named: bool
) -> ListedProvider:
    settings: tuple[Setting, ...] = ()
    problem = None
    try:
        if entry_point.name != registry.INBOX or is_named:
            struct = registry.get_settings_struct(entry_point.name)
            settings = list_settings(struct, entry_point.name, environ)
    except ProviderMisconfigured as error:
        problem = error.message
    found = entry_point.dist
    return ListedProvider(
        name=entry_point.name,
        distribution=found.name if found else None,
        version=found.version if found else None,
        source=entry_point.value,
        folder=str(found.locate_file("")) if found else None,
        is_named=is_named,
        problem=problem,
        settings=settings,
    )


def _list_missing(name: str) -> ListedProvider:
    return ListedProvider(
        name=name,
        distribution=None,
        version=None,
        source=None,
        folder=None,
        is_named=True,
        problem=registry.not_installed(name),
    )
