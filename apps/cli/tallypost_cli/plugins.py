"""`tallypost plugins`: what is installed, what of it is used, and whether it could be."""

from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Literal

import msgspec
from msgspec import Struct

from tallypost_cli.errors import StartUpError
from tallypost_cli.supervisor import Say
from tallypost_core.settings.loader import Variable, list_variables
from tallypost_core.settings.plugins import EVENTS_GROUP
from tallypost_providers import registry
from tallypost_providers.account_settings import read_provider_names
from tallypost_providers.errors import ProviderMisconfigured

State = Literal["set", "set by file", "unset", "missing"]


class Setting(Struct, frozen=True):
    """A variable of a provider; its value is not here."""

    variable: str
    state: State
    description: str


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


class ListedSubscriber(Struct, frozen=True):
    """A subscriber to events that is installed."""

    name: str
    distribution: str | None
    version: str | None
    source: str
    is_called: bool = False


class Listing(Struct, frozen=True):
    """Everything that `plugins` tells; `--json` writes it as it is."""

    providers: tuple[ListedProvider, ...]
    subscribers: tuple[ListedSubscriber, ...]


def run(environ: Mapping[str, str], say: Say, *, as_json: bool) -> None:
    """List plugins; raises StartUpError where a provider that is named cannot be loaded."""
    listing = list_plugins(environ)
    if as_json:
        say(msgspec.json.format(msgspec.json.encode(listing)).decode())
    else:
        # It takes a while to import, which `--json` need not wait for.
        from tallypost_cli.plugin_tables import print_tables

        print_tables(listing)
    broken = [item.name for item in listing.providers if item.is_named and item.problem]
    if broken:
        raise StartUpError(f"TALLYPOST_PROVIDERS names what cannot be loaded: {', '.join(broken)}.")


def list_plugins(environ: Mapping[str, str]) -> Listing:
    """What is installed, sorted by name; imports each provider to see whether it can be."""
    named = read_provider_names(environ)
    installed = registry.list_entry_points()
    missing = set(named) - {entry_point.name for entry_point in installed}
    return Listing(
        providers=(
            *(_list_provider(item, environ, is_named=item.name in named) for item in installed),
            *(_list_missing(name) for name in sorted(missing)),
        ),
        subscribers=tuple(_list_subscribers()),
    )


def _list_provider(
    entry_point: EntryPoint, environ: Mapping[str, str], *, is_named: bool
) -> ListedProvider:
    settings: tuple[Setting, ...] = ()
    problem = None
    try:
        if entry_point.name != registry.INBOX or is_named:
            struct = registry.get_settings_struct(entry_point.name)
            variables = list_variables(struct, entry_point.name)
            settings = tuple(_list_setting(variable, environ) for variable in variables)
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


def _list_setting(variable: Variable, environ: Mapping[str, str]) -> Setting:
    return Setting(variable.name, _find_state(variable, environ), variable.description)


def _find_state(variable: Variable, environ: Mapping[str, str]) -> State:
    if environ.get(variable.name):
        return "set"
    if variable.is_secret and environ.get(f"{variable.name}_FILE"):
        return "set by file"
    return "missing" if variable.is_required else "unset"


def _list_subscribers() -> Iterator[ListedSubscriber]:
    for entry_point in sorted(entry_points(group=EVENTS_GROUP), key=lambda item: item.name):
        found = entry_point.dist
        yield ListedSubscriber(
            name=entry_point.name,
            distribution=found.name if found else None,
            version=found.version if found else None,
            source=entry_point.value,
        )
