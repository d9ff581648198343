"""What a worker knows of a tenant's routing, and how soon it hears of a change."""

import asyncio
import base64
import os
from collections.abc import AsyncIterator

import pytest

from tallypost_core.crypto import KeyRing
from tallypost_core.ids import new_id
from tallypost_domain.db.notifications import ChangeFeed
from tallypost_domain.routing import accounts, routes
from tallypost_domain.routing.accounts import AccountChange
from tallypost_domain.routing.directory import RoutingDirectory
from tallypost_domain.routing.types import NewRoute
from tests.integration.routing.samples import ACTOR, PASSWORD, create
from tests.integration.worker.loops import until
from tests.support.database import KEY_RING, Database, SeededTenant

ROUTE = NewRoute(accounts=("platform",), lane="bulk")


@pytest.fixture
async def directory(database: Database) -> AsyncIterator[RoutingDirectory]:
    """With a feed, as a worker has it."""
    feed = ChangeFeed(database.url("tp_deliver"), app="test")
    listening = asyncio.create_task(feed.run())
    async with database.pool("tp_deliver") as pool, asyncio.timeout(60):
        while not feed.is_current:  # noqa: ASYNC110 - it tells by its clock
            await asyncio.sleep(0.01)
        yield RoutingDirectory(pool, KEY_RING, feed)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)


async def test_each_tenant_has_its_own_routing(
    database: Database,
    directory: RoutingDirectory,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
) -> None:
    account_id = await create(database, tenant)
    async with database.session("tp_api", tenant.id) as session:
        await routes.replace_routes(session, tenant.id, [ROUTE], actor=ACTOR)
    mine, theirs = await directory.get(tenant.id), await directory.get(other_tenant.id)
    assert [(account.id, dict(account.secrets)) for account in mine.accounts] == [
        (account_id, {"password": PASSWORD})
    ]
    assert [route.lane for route in mine.routes] == ["bulk"]
    assert (theirs.accounts, theirs.routes, theirs.unverified) == ((), (), frozenset())
    assert PASSWORD not in repr(mine)


async def test_what_is_known_is_not_asked_for_again_until_it_changes(
    database: Database, directory: RoutingDirectory, tenant: SeededTenant
) -> None:
    async def has_routes() -> bool:
        return bool((await directory.get(tenant.id)).routes)

    async def has_accounts() -> bool:
        return bool((await directory.get(tenant.id)).accounts)

    async def has_none() -> bool:
        return not await has_accounts()

    async def is_remembered() -> bool:
        known = await directory.get(tenant.id)
        # Past the time for which an answer serves without a feed.
        await asyncio.sleep(1.2)
        return await directory.get(tenant.id) is known

    # Not at once where the feed is late, as on a machine that has other things to do.
    await until(is_remembered)
    async with database.session("tp_api", tenant.id) as session:
        await routes.replace_routes(session, tenant.id, [ROUTE], actor=ACTOR)
    await until(has_routes)
    account_id = await create(database, tenant)
    await until(has_accounts)
    off = AccountChange(is_on=False)
    async with database.session("tp_console", tenant.id) as session:
        await accounts.change_account(
            session, tenant.id, account_id, off, key_ring=KEY_RING, actor=ACTOR
        )
    await until(has_none)


async def test_account_whose_secrets_do_not_open_is_left_out(
    database: Database, tenant: SeededTenant
) -> None:
    account_id = await create(database, tenant)
    stranger = KeyRing.from_setting("test:" + base64.b64encode(os.urandom(32)).decode())
    async with database.pool("tp_deliver") as pool:
        lost = RoutingDirectory(pool, stranger)
        assert (await lost.get(tenant.id)).accounts == ()
        assert await lost.find_account(tenant.id, account_id) is None
        assert await lost.has_account(tenant.id, account_id)


async def test_account_is_found_in_its_tenant_only(
    database: Database,
    directory: RoutingDirectory,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
) -> None:
    account_id = await create(database, tenant)
    found = await directory.find_account(tenant.id, account_id)
    assert found is not None
    assert found.id == account_id
    assert await directory.has_account(tenant.id, account_id)
    for owner, unknown in ((other_tenant, account_id), (tenant, new_id())):
        assert await directory.find_account(owner.id, unknown) is None
        assert not await directory.has_account(owner.id, unknown)
