"""The part of `tallypost plugins` about providers: whether a worker could use them."""

import asyncio
from collections.abc import Mapping
from importlib.metadata import EntryPoint
from typing import Final, cast

import msgspec
from msgspec import Struct, structs

from tallypost_cli.listed_plugins import ListedPlugin
from tallypost_cli.plugin_settings import list_settings
from tallypost_core.plugin_loading import list_entry_points
from tallypost_core.settings.loader import SettingsError, load_settings
from tallypost_core.settings.plugins import PROVIDERS_GROUP, prefix_of
from tallypost_providers import registry
from tallypost_providers.account_settings import read_provider_names
from tallypost_providers.errors import ProviderMisconfigured

_NAMES: Final = "TALLYPOST_PROVIDERS"
_CLOSE_LIMIT_S: Final = 3.0


class ListedProvider(ListedPlugin, frozen=True, kw_only=True):
    """A provider that is installed, or that TALLYPOST_PROVIDERS names without that."""


def list_providers(environ: Mapping[str, str]) -> tuple[ListedProvider, ...]:
    """Sorted by name; imports each that is installed, and makes those that environ names."""
    named = read_provider_names(environ)
    installed = list_entry_points(PROVIDERS_GROUP)
    missing = {*named} - {entry_point.name for entry_point in installed}
    return (
        *(_list_installed(item, environ, is_named=item.name in named) for item in installed),
        *(
            ListedProvider(name=name, is_named=True, problem=registry.not_installed(name))
            for name in sorted(missing)
        ),
    )


def _list_installed(
    entry_point: EntryPoint, environ: Mapping[str, str], *, is_named: bool
) -> ListedProvider:
    name = entry_point.name
    listed = ListedProvider.from_entry_point(entry_point, is_named=is_named)
    if name == registry.INBOX and not is_named:
        return listed
    try:
        struct = registry.get_settings_struct(name)
        listed = structs.replace(listed, settings=list_settings(struct, name, environ))
        if is_named and _is_set_up(name, environ):
            asyncio.run(_try_out(name, struct, environ))
    except ProviderMisconfigured as error:
        return structs.replace(listed, problem=error.message)
    return listed


def _is_set_up(name: str, environ: Mapping[str, str]) -> bool:
    """Whether environ says anything of a provider that is named.

    Where it does not, the name is the default, and `up` leads it to the local mail server.
    """
    return _NAMES in environ or any(key.startswith(prefix_of(name)) for key in environ)


async def _try_out(name: str, struct: type[Struct], environ: Mapping[str, str]) -> None:
    """Make an account as a worker does, and close it; its provider is asked nothing.

    Raises ProviderMisconfigured, whatever keeps a worker from making it.
    """
    settings = _read_settings(name, struct, environ)
    doing = "constructor"
    try:
        account = registry.create_account(name, settings)
        doing = "close"
        async with asyncio.timeout(_CLOSE_LIMIT_S):
            await account.close()
    except ProviderMisconfigured:
        raise
    except (Exception, SystemExit) as error:
        # The edge to code that may be a plugin's. What the error says may quote a setting.
        kind = type(error).__name__
        raise ProviderMisconfigured(f"Provider {name!r}: its {doing} raised {kind}.") from error


def _read_settings(name: str, struct: type[Struct], environ: Mapping[str, str]) -> Struct:
    """The variables of one provider; those of the rest of a worker need not be in this terminal."""
    group = msgspec.defstruct(name, [(name, struct)], module=__name__, frozen=True)
    own = {key: value for key, value in environ.items() if key.startswith(prefix_of(name))}
    try:
        loaded = load_settings(group, own, (group,))
    except SettingsError as error:
        raise ProviderMisconfigured("\n".join(error.problems)) from None
    return cast("Struct", getattr(loaded, name))
