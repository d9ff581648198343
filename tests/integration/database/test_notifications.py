"""The feed of changes says what changed, and knows when it cannot know."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import UUID

import pytest
from sqlalchemy import text

from tallypost_domain.api_keys import service as api_keys
from tallypost_domain.db.notifications import ChangeFeed
from tallypost_domain.domains import service as domains
from tests.support.database import PEPPERS, Database, SeededTenant
from tests.support.tcp_proxy import TCPProxy, with_port

_WITHIN_S = 60.0


class Listener:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.heard: set[tuple[str, UUID]] = set()
        self.gaps = 0

    def forget_tenant(self, table: str, tenant_id: UUID) -> None:
        self.heard.add((table, tenant_id))

    def forget_all(self) -> None:
        self.gaps += 1


async def until(condition: Callable[[], object]) -> None:
    """Return once a condition holds; fails after a time that only bounds a hang."""
    async with asyncio.timeout(_WITHIN_S):
        while not condition():  # noqa: ASYNC110 - of another process.
            await asyncio.sleep(0.01)


@asynccontextmanager
async def running(url: str) -> AsyncIterator[tuple[ChangeFeed, Listener]]:
    """A feed that is current, and a listener to it."""
    feed, listener = ChangeFeed(url, app="test"), Listener()
    feed.subscribe(listener)
    task = asyncio.create_task(feed.run())
    try:
        await until(lambda: feed.is_current)
        yield feed, listener
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def change_everything(database: Database, tenant: SeededTenant) -> None:
    """One change of each kind that processes remember."""
    async with database.session("tp_cli", tenant.id) as session:
        await api_keys.revoke_key(session, tenant.id, tenant.live_key.id)
        await session.execute(text("UPDATE tenants SET status = 'suspended'"))
        await session.execute(text("UPDATE domains SET status = 'failed'"))
        await session.execute(text("UPDATE streams SET lane = 'bulk'"))


async def test_each_change_is_announced_with_its_table_and_tenant(
    database: Database, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    async with running(database.url("tp_api")) as (_, listener):
        await change_everything(database, tenant)
        tables = ("api_keys", "tenants", "domains", "streams")
        await until(lambda: {(table, tenant.id) for table in tables} <= listener.heard)
        assert {tenant_id for _, tenant_id in listener.heard} == {tenant.id}


async def test_new_rows_are_announced_too(database: Database, tenant: SeededTenant) -> None:
    async with running(database.url("tp_api")) as (_, listener):
        async with database.session("tp_cli", tenant.id) as session:
            await api_keys.create_key(session, tenant.id, mode="test", name="new", peppers=PEPPERS)
            await domains.add_domain(session, tenant.id, "new.example.com")
        await until(lambda: {("api_keys", tenant.id), ("domains", tenant.id)} <= listener.heard)


async def test_what_is_rolled_back_is_not_announced(
    database: Database, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    async with running(database.url("tp_api")) as (_, listener):
        async with database.connect("tp_cli") as connection:
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute("SELECT set_config('app.tenant_id', $1, true)", str(tenant.id))
            await connection.execute("UPDATE api_keys SET revoked_at = now()")
            await transaction.rollback()
        # Announcements come in the order of commits, so this one is the proof.
        async with database.session("tp_cli", other_tenant.id) as session:
            await api_keys.revoke_key(session, other_tenant.id, other_tenant.live_key.id)
        await until(lambda: ("api_keys", other_tenant.id) in listener.heard)
        assert ("api_keys", tenant.id) not in listener.heard


@pytest.mark.parametrize("direction", ["requests", "answers", "both"])
async def test_a_frozen_connection_is_noticed_and_its_words_come_after_it_thaws(
    database: Database, tenant: SeededTenant, direction: str
) -> None:
    url = database.url("tp_api")
    async with proxy_to(url) as proxy, running(proxy.url(url)) as (feed, listener):
        if direction == "both":
            proxy.pause()
        else:
            proxy.pause(direction)  # type: ignore[arg-type]  # One of the two literals.
        await change_everything(database, tenant)
        await until(lambda: not feed.is_current)
        gaps = listener.gaps
        proxy.resume()
        await until(lambda: feed.is_current)
        # It was heard, or everything was forgotten with the connection.
        assert ("api_keys", tenant.id) in listener.heard or listener.gaps > gaps


async def test_a_cut_connection_is_noticed_and_what_was_missed_is_a_gap(
    database: Database, tenant: SeededTenant
) -> None:
    url = database.url("tp_api")
    async with proxy_to(url) as proxy, running(proxy.url(url)) as (feed, listener):
        before = listener.gaps
        proxy.cut()
        await until(lambda: not feed.is_current)
        await change_everything(database, tenant)
        proxy.mend()
        await until(lambda: feed.is_current)
        assert listener.gaps > before
        assert listener.heard == set()
        await change_everything(database, tenant)
        await until(lambda: ("api_keys", tenant.id) in listener.heard)


async def test_a_feed_without_a_server_is_never_current(database: Database) -> None:
    feed = ChangeFeed(with_port(database.url("tp_api"), 9), app="test")
    task = asyncio.create_task(feed.run())
    await asyncio.sleep(0.1)
    assert not feed.is_current
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def proxy_to(url: str) -> AsyncIterator[TCPProxy]:
    """A wire to the server of this address."""
    port = int(url.rpartition(":")[2].partition("/")[0])
    async with TCPProxy(port) as proxy:
        yield proxy
