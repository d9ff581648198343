"""The part of `tallypost plugins` about subscribers: how each does, and what to do about it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TypeVar

from msgspec import Struct
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_cli.errors import StartUpError
from tallypost_cli.plugin_settings import Setting, list_settings
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
from tallypost_domain.subscribers.types import SubscriberState

T = TypeVar("T")


class ListedSubscriber(Struct, frozen=True):
    """A subscriber that is installed, that TALLYPOST_SUBSCRIBERS names, or that a worker named."""

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
    _require_known(name, folder, environ)
    total = 0
    while count := _call(
        folder, environ, lambda session: administration.retry_dead_all_tenants(session, name)
    ):
        total += count
    say(f"Dead events of {name} that are due again: {total}")


def forget(name: str, folder: Path, environ: Mapping[str, str], say: Say) -> None:
    """Drop all that waits for a subscriber that no worker names any more; raises StartUpError."""
    _require_known(name, folder, environ)
    total = 0
    while count := _call(
        folder, environ, lambda session: administration.forget_all_tenants(session, name)
    ):
        total += count
    if count is None:
        raise StartUpError(
            f"A worker has named {name} in the last 5 minutes. Take it out of "
            "TALLYPOST_SUBSCRIBERS first, and start the workers again."
        )
    say(f"Events of {name} that are dropped: {total}")


def _require_known(name: str, folder: Path, environ: Mapping[str, str]) -> None:
    states = _call(folder, environ, administration.list_subscribers_all_tenants)
    if name not in {state.name for state in states}:
        known = ", ".join(state.name for state in states) or "none"
        raise StartUpError(f"No worker has named a subscriber {name!r}. Known: {known}.")


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
    settings: tuple[Setting, ...] = ()
    problem = None
    try:
        struct = registry.get_settings_struct(entry_point.name)
        settings = list_settings(struct, entry_point.name, environ)
        if is_named:
            asyncio.run(registry.try_out(entry_point.name, environ))
    except SubscriberMisconfigured as error:
        problem = error.message
    found = entry_point.dist
    return ListedSubscriber(
        name=entry_point.name,
        distribution=found.name if found else None,
        version=found.version if found else None,
        source=entry_point.value,
        folder=str(found.locate_file("")) if found else None,
        is_named=is_named,
        problem=problem,
        settings=settings,
        state=state,
    )


def _list_missing(name: str, is_named: bool, state: SubscriberState | None) -> ListedSubscriber:
    return ListedSubscriber(
        name=name,
        distribution=None,
        version=None,
        source=None,
        folder=None,
        is_named=is_named,
        problem=(
            registry.not_installed(name)
            if is_named
            else f"A worker has named subscriber {name!r}, which is not installed here."
        ),
        state=state,
    )
