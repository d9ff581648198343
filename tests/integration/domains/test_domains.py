"""A name may be tried by many tenants and is verified for one."""

import asyncio

import pytest
from sqlalchemy.exc import IntegrityError

from tallypost_core.ids import new_id
from tallypost_domain.domains.service import (
    add_domain,
    find_verified_domain_id,
    mark_verified,
)
from tests.support.database import Database, SeededTenant

NAME = "contested.example"


async def _verified(database: Database, tenant: SeededTenant, name: str = NAME) -> bool:
    async with database.session("tp_api", tenant.id) as session:
        return await find_verified_domain_id(session, tenant.id, name) is not None


async def test_domain_is_found_by_its_tenant_only_and_may_send_once_verified(
    database: Database, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    async with database.session("tp_cli", tenant.id) as session:
        domain_id = await add_domain(session, tenant.id, NAME)
        assert await find_verified_domain_id(session, tenant.id, NAME) is None
        await mark_verified(session, tenant.id, domain_id)
        assert await find_verified_domain_id(session, tenant.id, NAME) == domain_id
    async with database.session("tp_api", other_tenant.id) as session:
        for asked_of in (tenant.id, other_tenant.id):
            assert await find_verified_domain_id(session, asked_of, NAME) is None


async def test_two_tenants_may_try_a_name_and_the_second_cannot_verify_it(
    database: Database, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    added = {}
    for owner in (tenant, other_tenant):
        async with database.session("tp_cli", owner.id) as session:
            added[owner.id] = await add_domain(session, owner.id, NAME)
    async with database.session("tp_cli", tenant.id) as session:
        await mark_verified(session, tenant.id, added[tenant.id])
    with pytest.raises(IntegrityError):
        async with database.session("tp_cli", other_tenant.id) as session:
            await mark_verified(session, other_tenant.id, added[other_tenant.id])
    assert await _verified(database, tenant)
    assert not await _verified(database, other_tenant)


async def test_of_two_tenants_that_verify_a_name_at_once_exactly_one_gets_it(
    database: Database, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    async def try_to_verify(owner: SeededTenant, name: str) -> bool:
        try:
            async with database.session("tp_cli", owner.id) as session:
                await mark_verified(session, owner.id, await add_domain(session, owner.id, name))
        except IntegrityError:
            return False
        return True

    for number in range(5):
        name = f"{number}.{NAME}"
        won = await asyncio.gather(
            *(try_to_verify(owner, name) for owner in (tenant, other_tenant))
        )
        assert sorted(won) == [False, True]
        found = [await _verified(database, owner, name) for owner in (tenant, other_tenant)]
        assert found == won


async def test_name_is_added_once_and_in_lower_case(
    database: Database, tenant: SeededTenant
) -> None:
    for name in (tenant.domain, "Upper.example"):
        with pytest.raises(IntegrityError):
            async with database.session("tp_cli", tenant.id) as session:
                await add_domain(session, tenant.id, name)


async def test_domain_of_another_tenant_cannot_be_verified_by_its_id(
    database: Database, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    async with database.session("tp_cli", tenant.id) as session:
        domain_id = await add_domain(session, tenant.id, NAME)
    for named in (tenant.id, other_tenant.id, new_id()):
        async with database.session("tp_cli", other_tenant.id) as session:
            await mark_verified(session, named, domain_id)
    assert not await _verified(database, tenant)
