"""Routes are one ordered list of their tenant, and name only what there is."""

import asyncio
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from tallypost_core.ids import new_id
from tallypost_domain.routing import routes
from tallypost_domain.routing.errors import InvalidRoute, SendingRouteNotFound, TooManyRoutes
from tallypost_domain.routing.types import NewRoute, RouteView
from tests.integration.routing.samples import ACTOR, create, say_platform_has
from tests.support.database import Database, SeededTenant

ALL_MAIL = NewRoute(accounts=("platform",))
BULK = NewRoute(accounts=("platform",), lane="bulk")
TAGGED = NewRoute(accounts=("platform",), tag_name="kind", tag_value="receipt", share=0.25)


async def put(
    database: Database, tenant: SeededTenant, new: Sequence[NewRoute], *, role: str = "tp_api"
) -> tuple[RouteView, ...]:
    async with database.session(role, tenant.id) as session:
        return await routes.replace_routes(session, tenant.id, new, actor=ACTOR)


async def read(database: Database, tenant: SeededTenant) -> tuple[RouteView, ...]:
    async with database.session("tp_console", tenant.id) as session:
        return await routes.list_routes(session, tenant.id)


@pytest.mark.parametrize("role", ["tp_api", "tp_console"])
async def test_list_is_kept_in_its_order(
    database: Database, tenant: SeededTenant, role: str
) -> None:
    written = await put(database, tenant, [TAGGED, BULK, ALL_MAIL], role=role)
    assert await read(database, tenant) == written
    assert [(r.lane, r.tag_name, r.tag_value, r.share) for r in written] == [
        (None, "kind", "receipt", 0.25),
        ("bulk", None, None, 1.0),
        (None, None, None, 1.0),
    ]


async def test_route_that_stays_keeps_its_id(database: Database, tenant: SeededTenant) -> None:
    tagged, bulk = await put(database, tenant, [TAGGED, BULK])
    changed = replace(bulk, share=0.5)
    assert await put(database, tenant, [changed, tagged]) == (changed, tagged)


async def test_one_route_is_added_changed_moved_and_deleted(
    database: Database, tenant: SeededTenant
) -> None:
    tagged, bulk, last = await put(database, tenant, [TAGGED, BULK, ALL_MAIL])
    async with database.session("tp_console", tenant.id) as session:
        await routes.move_route(session, tenant.id, last.id, to=1, actor=ACTOR)
        await routes.move_route(session, tenant.id, tagged.id, to=0, actor=ACTOR)
        await routes.move_route(session, tenant.id, bulk.id, to=5, actor=ACTOR)
        assert await routes.list_routes(session, tenant.id) == (tagged, last, bulk)
        await routes.change_route(session, tenant.id, last.id, BULK, actor=ACTOR)
        await routes.delete_route(session, tenant.id, tagged.id, actor=ACTOR)
        await routes.add_route(session, tenant.id, TAGGED, actor=ACTOR)
        first, second, third = await routes.list_routes(session, tenant.id)
    assert (first.id, first.lane) == (last.id, "bulk")
    assert second == bulk
    assert (third.tag_name, third.id == tagged.id) == ("kind", False)
    async with database.session("tp_console", tenant.id) as session:
        for change in (
            routes.delete_route(session, tenant.id, tagged.id, actor=ACTOR),
            routes.move_route(session, tenant.id, tagged.id, to=1, actor=ACTOR),
            routes.change_route(session, tenant.id, tagged.id, BULK, actor=ACTOR),
        ):
            with pytest.raises(SendingRouteNotFound):
                await change


async def test_routes_that_are_added_at_once_all_stay(
    database: Database, tenant: SeededTenant
) -> None:
    async def add(number: int) -> None:
        async with database.session("tp_api", tenant.id) as session:
            route = NewRoute(accounts=("platform",), tag_name=f"tag-{number}")
            await routes.add_route(session, tenant.id, route, actor=ACTOR)

    await asyncio.gather(*map(add, range(5)))
    assert {route.tag_name for route in await read(database, tenant)} == {
        f"tag-{number}" for number in range(5)
    }


async def test_second_tenant_has_routes_of_its_own(
    database: Database, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    mine = await put(database, tenant, [TAGGED, BULK])
    assert await read(database, other_tenant) == ()
    theirs = await put(database, other_tenant, [ALL_MAIL])
    assert await read(database, tenant) == mine
    assert await read(database, other_tenant) == theirs
    async with database.session("tp_api", other_tenant.id) as session:
        assert await routes.list_routes(session, tenant.id) == ()


async def test_route_names_own_accounts_and_those_of_the_platform_only(
    database: Database, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    await say_platform_has(database, "ses", "smtp")
    mine, theirs = await create(database, tenant), await create(database, other_tenant)
    good = NewRoute(accounts=(str(mine), "platform:ses", "platform"))
    assert (await put(database, tenant, [good]))[0].accounts == good.accounts
    for unknown in (str(theirs), str(new_id()), "ses", "platform:sendgrid", "platform:", ""):
        with pytest.raises(InvalidRoute) as refused:
            await put(database, tenant, [ALL_MAIL, NewRoute(accounts=("platform", unknown))])
        assert refused.value.field == "routes[1].accounts[1]"
        assert "`platform:ses`, `platform:smtp`" in refused.value.message
    assert (await read(database, tenant))[0].accounts == good.accounts


@pytest.mark.parametrize(
    ("route", "field"),
    [
        (NewRoute(accounts=()), "accounts"),
        (NewRoute(accounts=("platform",) * 2), "accounts"),
        (replace(ALL_MAIL, domain_id=new_id()), "domain_id"),
        (replace(ALL_MAIL, tag_value="receipt"), "tag_name"),
        (replace(ALL_MAIL, tag_name=""), "tag_name"),
        (replace(ALL_MAIL, tag_name="kind", tag_value="x" * 257), "tag_value"),
        (replace(ALL_MAIL, share=0.0), "share"),
        (replace(ALL_MAIL, share=1.01), "share"),
        (replace(ALL_MAIL, share=float("nan")), "share"),
    ],
)
async def test_value_that_means_nothing_is_refused_by_its_name(
    database: Database, tenant: SeededTenant, route: NewRoute, field: str
) -> None:
    with pytest.raises(InvalidRoute) as refused:
        await put(database, tenant, [route])
    assert refused.value.field == f"routes[0].{field}"


async def test_route_for_a_domain_goes_with_it_and_is_never_anothers(
    database: Database, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    route = NewRoute(accounts=("platform",), domain_id=tenant.domain_id)
    (written,) = await put(database, tenant, [route])
    assert written.domain_id == tenant.domain_id
    with pytest.raises(InvalidRoute):
        await put(database, other_tenant, [route])


async def test_no_more_routes_than_there_may_be(database: Database, tenant: SeededTenant) -> None:
    await put(database, tenant, [ALL_MAIL] * routes.MAX_ROUTES)
    with pytest.raises(TooManyRoutes):
        await put(database, tenant, [ALL_MAIL] * (routes.MAX_ROUTES + 1))
    assert len(await read(database, tenant)) == routes.MAX_ROUTES


async def test_a_route_stands_in_the_list_once(database: Database, tenant: SeededTenant) -> None:
    (route,) = await put(database, tenant, [ALL_MAIL])
    with pytest.raises(InvalidRoute):
        await put(database, tenant, [route, route])
