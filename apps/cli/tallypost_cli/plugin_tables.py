"""What `tallypost plugins` shows to a person."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tallypost_cli.plugins import ListedProvider, ListedSubscriber, Listing

_OURS = "tallypost"


def print_tables(listing: Listing) -> None:
    """Print providers, their settings and subscribers; each part says where it is empty."""
    console = Console()
    console.print(_providers(listing.providers))
    for item in listing.providers:
        if item.problem:
            console.print(Text(item.problem))
    if all(item.distribution in (_OURS, None) for item in listing.providers):
        console.print(
            "No other distribution has a provider. docs/plugins.md tells how to write one."
        )
    console.print()
    console.print(_settings(listing.providers))
    console.print()
    if listing.subscribers:
        console.print(_subscribers(listing.subscribers))
    else:
        console.print("No subscribers to events are installed.")


def _providers(providers: Sequence[ListedProvider]) -> Table:
    table = _table("Providers", "Name", "Distribution", "Comes from", "Named", "Loads")
    for item in providers:
        _add_row(
            table,
            item.name,
            _distribution(item),
            _source(item),
            "yes" if item.is_named else "no",
            "no" if item.problem else "yes",
        )
    return table


def _settings(providers: Sequence[ListedProvider]) -> Table:
    table = _table("Settings", "Provider", "Variable", "State")
    for item in providers:
        for setting in item.settings:
            _add_row(table, item.name, setting.variable, setting.state)
    return table


def _subscribers(subscribers: Sequence[ListedSubscriber]) -> Table:
    table = _table("Subscribers to events", "Name", "Distribution", "Comes from", "Called")
    for item in subscribers:
        _add_row(table, item.name, _distribution(item), item.source, "not called yet")
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _add_row(table: Table, *cells: str) -> None:
    # What another distribution calls itself is no markup.
    table.add_row(*map(Text, cells))


def _source(item: ListedProvider) -> str:
    # All of ours stand in one folder, which is that of the command itself.
    shown = (item.source,) if item.distribution == _OURS else (item.source, item.folder)
    return "\n".join(filter(None, shown))


def _distribution(item: ListedProvider | ListedSubscriber) -> str:
    return f"{item.distribution} {item.version}" if item.distribution else "not installed"
