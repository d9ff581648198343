"""Making people and giving them roles."""

import asyncpg
import pytest

from tallypost_core.ids import new_id
from tallypost_domain.db.sessions import SessionMaker, system_session, tenant_session
from tallypost_domain.people import service as people
from tallypost_domain.people.errors import (
    InvalidEmailAddress,
    PasswordTooShort,
    PersonExists,
    TenantNotFound,
)
from tallypost_domain.people.permissions import Permission, Role
from tests.integration.people.samples import PASSWORD, add_member, add_person
from tests.support.database import PEPPERS, Database, SeededTenant


async def test_address_is_taken_in_any_spelling(cli: SessionMaker) -> None:
    await add_person(cli, "ada@example.com")
    with pytest.raises(PersonExists):
        await add_person(cli, " Ada@Example.COM")


@pytest.mark.parametrize(
    "email", ["", "ada", "@example.com", "ada@", "a b@example.com", "a\x00@example.com", "a@b@c"]
)
async def test_what_is_no_address_is_refused(cli: SessionMaker, email: str) -> None:
    with pytest.raises(InvalidEmailAddress):
        await add_person(cli, email)


async def test_password_of_eleven_characters_is_too_short(cli: SessionMaker) -> None:
    async with system_session(cli) as session:
        with pytest.raises(PasswordTooShort):
            await people.create_person(
                session, email="ada@example.com", name="Ada", password="elevenchars"
            )


async def test_password_is_stored_as_argon2id(database: Database, cli: SessionMaker) -> None:
    await add_person(cli, "ada@example.com")
    async with database.connect("tp_cli") as connection:
        stored = await connection.fetchval("SELECT password_hash FROM people")
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert PASSWORD not in stored


async def test_new_role_takes_the_place_of_the_old_one(
    cli: SessionMaker, console: SessionMaker, tenant: SeededTenant
) -> None:
    person_id = await add_member(cli, tenant.id, "ada@example.com", Role.BILLING)
    async with tenant_session(cli, tenant.id) as session:
        await people.add_member(session, tenant.id, person_id, Role.DEVELOPER)
    token = await people.sign_in(
        console, email="ada@example.com", password=PASSWORD, peppers=PEPPERS
    )
    person = await people.find_session(console, token, PEPPERS)
    assert person is not None
    assert person.role is Role.DEVELOPER
    assert Permission.EMAILS_READ in person.permissions


async def test_tenant_is_known_to_its_own_session_only(
    console: SessionMaker, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    async with tenant_session(console, tenant.id) as session:
        assert (await people.get_tenant(session, tenant.id)).name == "First sample tenant"
        for unknown in (other_tenant.id, new_id()):
            with pytest.raises(TenantNotFound):
                await people.get_tenant(session, unknown)


async def test_console_may_not_read_people(database: Database, cli: SessionMaker) -> None:
    await add_person(cli, "ada@example.com")
    async with database.connect("tp_console") as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetch("SELECT email FROM people")
