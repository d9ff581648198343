"""`tallypost plugins`: what is installed, what of it is used, and whether it could be."""

from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from tallypost_cli.errors import StartUpError
from tallypost_cli.provider_listing import ListedProvider, list_providers
from tallypost_cli.subscriber_listing import ListedSubscriber, list_subscribers, read_states
from tallypost_cli.supervisor import Say


class Listing(Struct, frozen=True):
    """Everything that `plugins` tells; `--json` writes it as it is."""

    providers: tuple[ListedProvider, ...]
    subscribers: tuple[ListedSubscriber, ...]
    states_problem: str | None
    """Why it is not known how subscribers do; None where it is."""


def run(folder: Path, environ: Mapping[str, str], say: Say, *, as_json: bool) -> None:
    """List plugins; raises StartUpError where one that is named cannot be loaded or made.

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
        f"{variable} names what cannot be loaded or made: {', '.join(broken)}."
        for variable, items in (
            ("TALLYPOST_PROVIDERS", listing.providers),
            ("TALLYPOST_SUBSCRIBERS", listing.subscribers),
        )
        if (broken := [item.name for item in items if item.is_named and item.problem])
    ]
    if told:
        raise StartUpError("\n".join(told))


def list_plugins(folder: Path, environ: Mapping[str, str]) -> Listing:
    """What is installed, sorted by name; imports each, and makes those that are named."""
    states, states_problem = read_states(folder, environ)
    return Listing(
        providers=list_providers(environ),
        subscribers=list_subscribers(environ, states),
        states_problem=states_problem,
    )
