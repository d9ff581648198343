"""The part of `tallypost plugins` about subscribers: how each does, and what to do about it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TypeVar

from msgspec import structs
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_cli.errors import StartUpError
from tallypost_cli.listed_plugins import ListedPlugin
from tallypost_cli.plugin_settings import list_settings
from tallypost_cli.running_system import find_addresses
from tallypost_cli.supervisor import Say
from tallypost_core import subscriber_registry as registry
from tallypost_core.errors import AppError
from tallypost_core.plugin_events import SubscriberMisconfigured
from tallypost_core.plugin_loading import list_entry_points
from tallypost_core.settings import apps
from tallypost_core.settings.loader import SettingsError
from tallypost_core.settings.plugins import EVENTS_GROUP, read_subscriber_names
from tallypost_domain.db import sessions
from tallypost_domain.subscribers import administration
from tallypost_domain.subscribers.types import COUNT_LIMIT, SubscriberState

T = TypeVar("T")
Confirm = Callable[[str], bool]
"""Asks a person a question of yes or no."""


class ListedSubscriber(ListedPlugin, frozen=True, kw_only=True):
    """A subscriber that is installed, that TALLYPOST_SUBSCRIBERS names, or that a worker named."""

    state: SubscriberState | None = None
    """How it does, over all workers; None where none has named it, or the database is not known."""


def list_subscribers(
    environ: Mapping[str, str], states: Sequence[SubscriberState]
) -> tuple[ListedSubscriber, ...]:
    """Sorted by name; imports each that is installed, and makes those that environ names."""
    named = read_subscriber_names(environ)
    by_name = {state.name: state for state in states}
    installed = list_entry_points(EVENTS_GROUP)
    missing = {*named, *by_name} - {entry_point.name for entry_point in installed}
    return (
        *(
            _list_installed(item, environ, item.name in named, by_name.get(item.name))
            for item in installed
        ),
        *(_list_missing(name, name in named, by_name.get(name)) for name in sorted(missing)),
    )


def read_states(
    folder: Path, environ: Mapping[str, str]
) -> tuple[tuple[SubscriberState, ...], str | None]:
    """How subscribers do, and why that is not known, which is None where it is."""
    try:
        return _call(folder, environ, administration.list_subscribers_all_tenants), None
    except (StartUpError, SettingsError) as error:
        return (), str(error)


def retry(name: str, folder: Path, environ: Mapping[str, str], say: Say) -> None:
    """Let events that a subscriber was given up for be due again; raises StartUpError."""
    _get_state(name, folder, environ)
    total = 0
    while count := _call(
        folder, environ, lambda session: administration.retry_dead_all_tenants(session, name)
    ):
        total += count
    say(f"Dead events of {name} that are due again: {total}")


def forget(
    name: str, folder: Path, environ: Mapping[str, str], say: Say, confirm: Confirm | None
) -> None:
    """Drop all that waits for a subscriber that no worker names any more; raises StartUpError.

    confirm is told how much that is; None where nobody can be asked, which drops nothing.
    """
    state = _get_state(name, folder, environ)
    if administration.is_named_lately(state):
        raise _named_lately(name)
    loss = _tell_loss(state)
    if confirm is None:
        raise StartUpError(f"{loss} There is no terminal to ask at: say --yes to drop them.")
    if not confirm(f"{loss} Drop them for good?"):
        raise StartUpError("Nothing is dropped.")
    total = 0
    while count := _call(
        folder, environ, lambda session: administration.forget_all_tenants(session, name)
    ):
        total += count
    if count is None:
        # Since it was looked at.
        raise _named_lately(name)
    say(f"Events of {name} that are dropped: {total}")


def tell_count(count: int) -> str:
    """A count in words that are true where counting stopped."""
    return f"{count} or more" if count >= COUNT_LIMIT else str(count)


def tell_age(age_s: float) -> str:
    """A time span in its largest unit, rounded down."""
    for unit_s, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if age_s >= unit_s:
            return f"{int(age_s // unit_s)} {unit}"
    return f"{max(0, int(age_s))} s"


def _get_state(name: str, folder: Path, environ: Mapping[str, str]) -> SubscriberState:
    states = _call(folder, environ, administration.list_subscribers_all_tenants)
    for state in states:
        if state.name == name:
            return state
    known = ", ".join(state.name for state in states) or "none"
    raise StartUpError(f"No worker has named a subscriber {name!r}. Known: {known}.")


def _tell_loss(state: SubscriberState) -> str:
    """What is lost with a subscriber, and when it was last in use, in whole sentences."""
    waiting, dead = tell_count(state.waiting), tell_count(state.dead)
    ago_s = state.seen_ago_s
    seen = (
        "It is being forgotten already."
        if ago_s is None
        else f"A worker last named it {tell_age(ago_s)} ago."
    )
    return f"Events of {state.name}: {waiting} waiting, {dead} dead. {seen}"


def _named_lately(name: str) -> StartUpError:
    within = tell_age(administration.NAMED_LATELY_S)
    return StartUpError(
        f"A worker has named {name} in the last {within}. Take it out of TALLYPOST_SUBSCRIBERS "
        "first, and start the workers again."
    )


def _call(
    folder: Path, environ: Mapping[str, str], function: Callable[[AsyncSession], Awaitable[T]]
) -> T:
    """Call a service as tp_cli in a transaction; raises StartUpError where that cannot be."""
    settings = apps.load(apps.CLISettings, environ)
    given = settings.database.cli_url
    url = given.reveal() if given else find_addresses(folder, environ).role_urls.get("tp_cli")
    if url is None:
        raise StartUpError(
            "How subscribers do is in the database: set TALLYPOST_DATABASE_CLI_URL, the address "
            "with the login of role tp_cli."
        )

    try:
        engine = sessions.create_engine(url, app="tallypost plugins")
    except (ValueError, SQLAlchemyError) as error:
        # What it says may quote the login.
        raise StartUpError("TALLYPOST_DATABASE_CLI_URL is no postgresql:// address.") from error

    async def call() -> T:
        try:
            async with sessions.system_session(sessions.create_session_maker(engine)) as session:
                return await function(session)
        finally:
            await engine.dispose()

    try:
        return asyncio.run(call())
    except (OSError, OverflowError, AppError, SQLAlchemyError) as error:
        # The class alone: a message may quote an address with its login. A port may be too high.
        raise StartUpError(f"The database refused: {type(error).__name__}") from error


def _list_installed(
    entry_point: EntryPoint,
    environ: Mapping[str, str],
    is_named: bool,
    state: SubscriberState | None,
) -> ListedSubscriber:
    name = entry_point.name
    listed = ListedSubscriber.from_entry_point(entry_point, is_named=is_named)
    listed = structs.replace(listed, state=state)
    try:
        struct = registry.get_settings_struct(name, environ)
        listed = structs.replace(listed, settings=list_settings(struct, name, environ))
        if is_named:
            asyncio.run(registry.try_out(name, environ))
    except SubscriberMisconfigured as error:
        return structs.replace(listed, problem=error.message)
    return listed


def _list_missing(name: str, is_named: bool, state: SubscriberState | None) -> ListedSubscriber:
    return ListedSubscriber(
        name=name,
        is_named=is_named,
        problem=(
            registry.not_installed(name)
            if is_named
            else f"A worker has named subscriber {name!r}, which is not installed here."
        ),
        state=state,
    )
