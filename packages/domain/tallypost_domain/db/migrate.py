"""Applies the migrations; `tallypost migrate` and the tests use these functions."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from tallypost_domain.db.urls import sqlalchemy_url

_MIGRATIONS = Path(__file__).parent / "migrations"

T = TypeVar("T")


async def upgrade(owner_url: str) -> None:
    """Bring the database to the newest revision; does nothing where it is there already.

    Safe to run from several places at once: an advisory lock lets one go first.
    """
    await with_connection(owner_url, _upgrade)


async def current_revision(owner_url: str) -> str | None:
    """The revision that the database is at; None before the first migration."""
    return await with_connection(
        owner_url, lambda connection: MigrationContext.configure(connection).get_current_revision()
    )


def head_revision() -> str:
    """The newest revision that this release knows."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    if head is None:
        raise RuntimeError("there are no migrations")
    return head


async def with_connection(owner_url: str, function: Callable[[Connection], T]) -> T:
    """Run a function that wants a synchronous connection, as Alembic's do."""
    engine = create_async_engine(sqlalchemy_url(owner_url), poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(function)
    finally:
        await engine.dispose()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return config


def _upgrade(connection: Connection) -> None:
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
