"""A revoked key dies on every process, also on one that hears nothing any more."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import event, text

from tallypost_core import clock
from tallypost_core.crypto import new_api_key
from tallypost_domain.api_keys.errors import InvalidAPIKey, TenantSuspended
from tallypost_domain.api_keys.service import KeyDirectory, create_key, revoke_key
from tallypost_domain.db.notifications import ChangeFeed
from tallypost_domain.db.watched_cache import WATCHED_S
from tests.integration.database.test_notifications import proxy_to, running, until
from tests.support.database import PEPPERS, Database, SeededTenant


class Desk:
    """A directory of keys beside a feed, which counts its statements."""

    def __init__(self, keys: KeyDirectory) -> None:
        self.keys = keys
        self.statements = 0

    # Any: SQLAlchemy's many arguments.
    def count(self, *_: Any) -> None:
        self.statements += 1

    async def until_refused(self, token: str, *, is_refused: bool = True) -> None:
        """Ask until the answer is this one; fails after a time that only bounds a hang."""
        async with asyncio.timeout(60):
            while await self.is_refused(token) is not is_refused:  # noqa: ASYNC110 - nobody tells.
                await asyncio.sleep(0.01)

    async def is_refused(self, token: str) -> bool:
        """Ask as the API does."""
        try:
            self.keys.find_known(token) or await self.keys.authenticate(token)
        except (InvalidAPIKey, TenantSuspended):
            return True
        return False


@asynccontextmanager
async def desk(database: Database, feed: ChangeFeed) -> AsyncIterator[Desk]:
    """A directory on the API's login."""
    async with database.sessions("tp_api") as sessions:
        opened = Desk(KeyDirectory(sessions, PEPPERS, feed))
        engine = sessions.kw["bind"].sync_engine
        event.listen(engine, "after_cursor_execute", opened.count)
        yield opened


async def revoke(database: Database, tenant: SeededTenant) -> None:
    """Revoke the tenant's live key."""
    async with database.session("tp_cli", tenant.id) as session:
        await revoke_key(session, tenant.id, tenant.live_key.id)


async def test_a_known_key_costs_no_look_up_while_the_feed_is_current(
    database: Database, tenant: SeededTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(database.url("tp_api")) as (feed, _), desk(database, feed) as keys:
        assert not await keys.is_refused(tenant.live_key.token)
        cost = keys.statements
        now_s = clock.monotonic_s()
        for later_s, look_ups in ((WATCHED_S - 1, 1), (WATCHED_S + 1, 2)):
            monkeypatch.setattr(clock, "monotonic_s", lambda s=later_s: now_s + s)
            await until(lambda: feed.is_current)
            assert not await keys.is_refused(tenant.live_key.token)
            assert keys.statements == look_ups * cost


@pytest.mark.parametrize("trouble", ["none", "frozen", "cut"])
async def test_a_revoked_key_dies_and_its_tenants_and_others_keys_do_not(
    database: Database, tenant: SeededTenant, other_tenant: SeededTenant, trouble: str
) -> None:
    url = database.url("tp_api")
    async with (
        proxy_to(url) as proxy,
        running(proxy.url(url)) as (feed, _),
        desk(database, feed) as keys,
    ):
        tokens = [tenant.live_key.token, tenant.test_key.token, other_tenant.live_key.token]
        assert [await keys.is_refused(token) for token in tokens] == [False] * 3
        if trouble == "frozen":
            proxy.pause()
        elif trouble == "cut":
            proxy.cut()
        await revoke(database, tenant)
        await keys.until_refused(tokens[0])
        assert [await keys.is_refused(token) for token in tokens] == [True, False, False]


async def test_a_feed_that_is_not_current_leaves_a_key_less_than_a_second(
    database: Database, tenant: SeededTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = database.url("tp_api")
    async with (
        proxy_to(url) as proxy,
        running(proxy.url(url)) as (feed, _),
        desk(database, feed) as keys,
    ):
        proxy.pause()
        await until(lambda: not feed.is_current)
        now_s = clock.monotonic_s()
        monkeypatch.setattr(clock, "monotonic_s", lambda: now_s)
        assert not await keys.is_refused(tenant.live_key.token)
        assert keys.keys.find_known(tenant.live_key.token) is not None
        monkeypatch.setattr(clock, "monotonic_s", lambda: now_s + 1.0)
        assert keys.keys.find_known(tenant.live_key.token) is None


async def test_a_change_that_is_announced_during_the_look_up_is_not_missed(
    database: Database, tenant: SeededTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(database.url("tp_api")) as (feed, listener), desk(database, feed) as keys:
        look_up = keys.keys._look_up

        async def slow_look_up(token: str) -> Any:
            answer = await look_up(token)
            await revoke(database, tenant)
            await until(lambda: ("api_keys", tenant.id) in listener.heard)
            return answer

        monkeypatch.setattr(keys.keys, "_look_up", slow_look_up)
        assert not await keys.is_refused(tenant.live_key.token)
        monkeypatch.undo()
        await keys.until_refused(tenant.live_key.token)


async def test_a_suspended_tenants_keys_die_at_once_and_come_back_with_it(
    database: Database, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    async with running(database.url("tp_api")) as (feed, _), desk(database, feed) as keys:
        for status, is_refused in (("suspended", True), ("active", False)):
            assert not await keys.is_refused(other_tenant.live_key.token)
            async with database.session("tp_cli", tenant.id) as session:
                await session.execute(text("UPDATE tenants SET status = :s"), {"s": status})
            await keys.until_refused(tenant.live_key.token, is_refused=is_refused)


async def test_a_new_key_is_known_at_once(database: Database, tenant: SeededTenant) -> None:
    async with running(database.url("tp_api")) as (feed, _), desk(database, feed) as keys:
        assert await keys.is_refused(new_api_key("live"))
        async with database.session("tp_cli", tenant.id) as session:
            created = await create_key(session, tenant.id, mode="live", name="new", peppers=PEPPERS)
        assert not await keys.is_refused(created.token)


async def test_many_who_ask_at_once_cost_one_look_up(
    database: Database, tenant: SeededTenant
) -> None:
    async with running(database.url("tp_api")) as (feed, _), desk(database, feed) as keys:
        await keys.is_refused(tenant.test_key.token)
        cost = keys.statements
        await asyncio.gather(*(keys.is_refused(tenant.live_key.token) for _ in range(50)))
        assert keys.statements == 2 * cost
