"""Mail that has nobody to ask: its page says so, and where that is mended."""

from uuid import UUID

import pytest

from tallypost_domain.people.permissions import Role
from tallypost_domain.routing.accounts import AccountChange, change_account
from tallypost_domain.routing.routes import replace_routes
from tallypost_domain.routing.types import NewRoute
from tests.integration.console.following import follow
from tests.integration.console.reading import links, section
from tests.integration.console.running import Browser, open_browser
from tests.integration.people.samples import PASSWORD, add_member
from tests.integration.queue.harness import Harness
from tests.integration.routing.samples import ACTOR, create
from tests.support.database import KEY_RING, Database, SeededTenant

NOBODY = "No account of its route may be asked: Own relay: it is switched off."
MOMENTS = "This takes moments."


async def route_to(database: Database, tenant: SeededTenant, account_id: UUID) -> None:
    """Let all mail go by this account alone."""
    async with database.session("tp_console", tenant.id) as session:
        route = NewRoute(accounts=(str(account_id),))
        await replace_routes(session, tenant.id, [route], actor=ACTOR)


async def switch(
    database: Database, tenant: SeededTenant, account_id: UUID, *, is_on: bool
) -> None:
    """Let mail go by it, or not."""
    async with database.session("tp_console", tenant.id) as session:
        await change_account(
            session,
            tenant.id,
            account_id,
            AccountChange(is_on=is_on),
            key_ring=KEY_RING,
            actor=ACTOR,
        )


async def test_email_whose_route_names_no_account_that_may_be_asked_says_so(
    owner: Browser, queue: Harness, database: Database, tenant: SeededTenant
) -> None:
    account_id = await create(database, tenant)
    await route_to(database, tenant, account_id)
    (email_id,) = await queue.add(tenant)
    path = f"/emails/{email_id}"
    async with follow(owner, f"{path}/live") as following:
        await following.until(MOMENTS)
        await switch(database, tenant, account_id, is_on=False)
        assert MOMENTS not in (await following.until("Own relay: it is switched off")).data
        page = await owner.get(path)
        assert NOBODY in section(page, "why")
        assert links(page)["See the routes"] == "/routes"
        await switch(database, tenant, account_id, is_on=True)
        await following.until(MOMENTS)


async def test_email_that_was_put_off_before_says_so_too(
    owner: Browser, queue: Harness, database: Database, tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add(tenant)
    worker = await queue.start_worker()
    (claim,) = await queue.hand_over(worker, tenant)
    await queue.record(worker, await queue.settle(worker, claim, "deferred"))
    assert "It is tried again" in section(await owner.get(f"/emails/{email_id}"), "why")
    account_id = await create(database, tenant)
    await route_to(database, tenant, account_id)
    await switch(database, tenant, account_id, is_on=False)
    assert NOBODY in section(await owner.get(f"/emails/{email_id}"), "why")


async def test_email_that_was_put_off_unsent_is_not_said_to_take_moments(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add(tenant)
    worker = await queue.start_worker()
    (claim,) = await queue.claim(worker, tenant)
    await queue.record(worker, await queue.postpone(worker, claim, retry_in_s=600))
    page = await owner.get(f"/emails/{email_id}")
    assert "It was put off before a provider was asked" in section(page, "why")
    assert MOMENTS not in page.text
    await queue.make_due(tenant, email_id)
    assert MOMENTS in section(await owner.get(f"/emails/{email_id}"), "why")


async def test_test_mail_has_the_inbox_whatever_the_routes_say(
    owner: Browser, queue: Harness, database: Database, tenant: SeededTenant
) -> None:
    account_id = await create(database, tenant)
    await route_to(database, tenant, account_id)
    await switch(database, tenant, account_id, is_on=False)
    (email_id,) = await queue.add(tenant, mode="test")
    assert MOMENTS in section(await owner.get(f"/emails/{email_id}"), "why")


async def test_routes_of_another_tenant_are_in_nobodys_way(
    owner: Browser,
    queue: Harness,
    database: Database,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
) -> None:
    theirs = await create(database, other_tenant)
    await route_to(database, other_tenant, theirs)
    await switch(database, other_tenant, theirs, is_on=False)
    (email_id,) = await queue.add(tenant)
    assert MOMENTS in section(await owner.get(f"/emails/{email_id}"), "why")


@pytest.mark.parametrize("role", [Role.MARKETER])
async def test_whoever_may_not_see_the_routes_is_not_sent_there(
    console_url: str,
    queue: Harness,
    database: Database,
    tenant: SeededTenant,
    role: Role,
) -> None:
    account_id = await create(database, tenant)
    await route_to(database, tenant, account_id)
    await switch(database, tenant, account_id, is_on=False)
    (email_id,) = await queue.add(tenant)
    async with database.sessions("tp_cli") as cli:
        await add_member(cli, tenant.id, "somebody@example.com", role)
    async with open_browser(console_url) as browser:
        await browser.sign_in("somebody@example.com", PASSWORD)
        page = await browser.get(f"/emails/{email_id}")
    assert NOBODY in section(page, "why")
    assert "See the routes" not in links(page)
