"""What `tallypost plugins` shows to a person."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tallypost_cli.listed_plugins import ListedPlugin
from tallypost_cli.plugins import Listing
from tallypost_cli.provider_listing import ListedProvider
from tallypost_cli.subscriber_listing import ListedSubscriber, tell_age, tell_count
from tallypost_domain.subscribers.types import SubscriberState

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
    if listing.subscribers:
        console.print(_subscribers(listing.subscribers))
        for subscriber in listing.subscribers:
            if subscriber.problem:
                console.print(Text(subscriber.problem))
        if listing.states_problem:
            console.print(Text(listing.states_problem))
    else:
        console.print("No subscribers to events are installed.")
    console.print()
    console.print(_settings((*listing.providers, *listing.subscribers)))


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


def _settings(plugins: Sequence[ListedPlugin]) -> Table:
    table = _table("Settings", "Plugin", "Variable", "State")
    for item in plugins:
        for setting in item.settings:
            _add_row(table, item.name, setting.variable, setting.state)
    return table


def _subscribers(subscribers: Sequence[ListedSubscriber]) -> Table:
    table = _table(
        "Subscribers to events",
        *("Name", "Distribution", "Comes from", "Named", "Loads"),
        *("Waiting", "Dead", "Seen"),
    )
    for item in subscribers:
        _add_row(
            table,
            item.name,
            _distribution(item),
            _source(item),
            "yes" if item.is_named else "no",
            "no" if item.problem else "yes",
            *_state(item.state),
        )
    return table


def _state(state: SubscriberState | None) -> tuple[str, str, str]:
    """What waits, what is dead, and when a worker last named it."""
    if state is None:
        return "", "", ""
    dead = tell_count(state.dead)
    if state.last_error:
        dead += f", the last of {state.last_error}"
    ago_s = state.seen_ago_s
    seen = "being forgotten" if ago_s is None else f"{tell_age(ago_s)} ago"
    return tell_count(state.waiting), dead, f"{seen}, hangs" if state.is_hanging else seen


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _add_row(table: Table, *cells: str) -> None:
    # What another distribution calls itself is no markup.
    table.add_row(*map(Text, cells))


def _source(item: ListedPlugin) -> str:
    # All of ours stand in one folder, which is that of the command itself.
    shown = (item.source,) if item.distribution == _OURS else (item.source, item.folder)
    return "\n".join(filter(None, shown))


def _distribution(item: ListedPlugin) -> str:
    return f"{item.distribution} {item.version}" if item.distribution else "not installed"
