"""Signing in, staying signed in, and signing out."""

import base64

import pytest

from tallypost_core.crypto import KeyRing, hash_secret, new_token
from tallypost_core.ids import new_id
from tallypost_domain.audit import service as audit
from tallypost_domain.audit.types import Actor
from tallypost_domain.db.pools import Connection
from tallypost_domain.db.sessions import SessionMaker, tenant_session
from tallypost_domain.people import service as people
from tallypost_domain.people.errors import InvalidCredentials, SessionEnded, TenantNotFound
from tallypost_domain.people.permissions import Permission, Role
from tests.integration.people.samples import PASSWORD, add_member, add_person
from tests.support.database import PEPPER_SETTING, PEPPERS, Database, SeededTenant

ADA = "ada@example.com"
OPERATOR = Actor(kind="person", id=new_id())


async def sign_in(console: SessionMaker, email: str = ADA, password: str = PASSWORD) -> str:
    return await people.sign_in(console, email=email, password=password, peppers=PEPPERS)


async def test_signed_in_member_has_first_tenant_open(
    cli: SessionMaker, console: SessionMaker, tenant: SeededTenant
) -> None:
    person_id = await add_member(cli, tenant.id, ADA, Role.VIEWER)
    person = await people.find_session(console, await sign_in(console), PEPPERS)
    assert person is not None
    assert (person.id, person.email, person.is_operator) == (person_id, ADA, False)
    assert (person.tenant_id, person.role) == (tenant.id, Role.VIEWER)


async def test_address_signs_in_in_any_spelling(cli: SessionMaker, console: SessionMaker) -> None:
    await add_person(cli, ADA)
    assert await sign_in(console, " ADA@Example.com ")


async def test_password_signs_in_in_either_unicode_form(
    cli: SessionMaker, console: SessionMaker
) -> None:
    async with cli() as session, session.begin():
        await people.create_person(
            session, email=ADA, name="Ada", password="pa\u00dfwort mit \u00e9"
        )
    assert await sign_in(console, password="pa\u00dfwort mit e\u0301")


@pytest.mark.parametrize(
    ("email", "password"),
    [
        (ADA, "wrong horse battery"),
        (ADA, ""),
        (ADA, PASSWORD.upper()),
        (ADA, "\ud800"),
        ("other@example.com", PASSWORD),
        ("", PASSWORD),
        ("ada@example.com\x00", PASSWORD),
    ],
)
async def test_wrong_password_and_unknown_address_are_one_error(
    cli: SessionMaker, console: SessionMaker, email: str, password: str
) -> None:
    await add_person(cli, ADA)
    with pytest.raises(InvalidCredentials) as raised:
        await sign_in(console, email, password)
    assert raised.value.message == "The e-mail address or the password is wrong."


async def test_token_is_stored_as_a_hash_only(
    database: Database, cli: SessionMaker, console: SessionMaker
) -> None:
    await add_person(cli, ADA)
    token = await sign_in(console)
    async with database.connect("tp_console") as connection:
        stored = await connection.fetchval("SELECT token_hash FROM sessions")
    assert stored == hash_secret(PEPPERS, token)
    assert token.encode() not in stored


async def test_each_sign_in_has_a_token_of_its_own(
    cli: SessionMaker, console: SessionMaker
) -> None:
    await add_person(cli, ADA)
    first, second = await sign_in(console), await sign_in(console)
    assert first != second
    assert await people.find_session(console, first, PEPPERS) is not None


@pytest.mark.parametrize(
    "token",
    ["", "x", "x" * 43, "\ud800" * 43, new_token() + "x"],
    ids=["empty", "short", "as long", "surrogates", "longer"],
)
async def test_token_that_nobody_got_finds_nobody(console: SessionMaker, token: str) -> None:
    assert await people.find_session(console, token, PEPPERS) is None


async def test_signed_out_token_finds_nobody(cli: SessionMaker, console: SessionMaker) -> None:
    await add_person(cli, ADA)
    token, other = await sign_in(console), await sign_in(console)
    await people.sign_out(console, token, PEPPERS)
    await people.sign_out(console, token, PEPPERS)
    assert await people.find_session(console, token, PEPPERS) is None
    assert await people.find_session(console, other, PEPPERS) is not None


@pytest.mark.parametrize(
    ("aged", "is_found"),
    [
        ("last_seen_at = now() - interval '11 hours 59 minutes'", True),
        ("last_seen_at = now() - interval '12 hours 1 minute'", False),
        ("created_at = now() - interval '13 days 23 hours'", True),
        ("created_at = now() - interval '14 days 1 minute'", False),
    ],
)
async def test_session_ends_unused_after_12_hours_and_always_after_14_days(
    superuser: Connection, cli: SessionMaker, console: SessionMaker, aged: str, is_found: bool
) -> None:
    await add_person(cli, ADA)
    token = await sign_in(console)
    await superuser.execute(f"UPDATE sessions SET {aged}")  # noqa: S608 - from above
    person = await people.find_session(console, token, PEPPERS)
    assert (person is not None) is is_found


async def test_session_outlives_a_rotation_of_peppers(
    cli: SessionMaker, console: SessionMaker
) -> None:
    await add_person(cli, ADA)
    token = await sign_in(console)
    newer = "newer:" + base64.b64encode(b"N" * 32).decode()
    rotated = KeyRing.from_setting(f"{newer},{PEPPER_SETTING}")
    assert await people.find_session(console, token, rotated) is not None
    await people.sign_out(console, token, rotated)
    assert await people.find_session(console, token, PEPPERS) is None


async def test_removed_member_may_do_nothing(
    superuser: Connection, cli: SessionMaker, console: SessionMaker, tenant: SeededTenant
) -> None:
    await add_member(cli, tenant.id, ADA, Role.OWNER)
    token = await sign_in(console)
    await superuser.execute("DELETE FROM memberships")
    person = await people.find_session(console, token, PEPPERS)
    assert person is not None
    assert (person.role, person.permissions) == (None, frozenset())


async def test_operator_opens_a_tenant_and_its_audit_log_says_so(
    cli: SessionMaker, console: SessionMaker, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    await add_person(cli, ADA, is_operator=True)
    token = await sign_in(console)
    listed = await people.list_tenants_for_operator(console)
    assert [row.id for row in listed] == [tenant.id, other_tenant.id]
    async with tenant_session(console, other_tenant.id) as session:
        await people.open_tenant(
            session, other_tenant.id, token=token, peppers=PEPPERS, operator=OPERATOR
        )
    person = await people.find_session(console, token, PEPPERS)
    assert person is not None
    assert (person.tenant_id, person.role) == (other_tenant.id, None)
    assert Permission.EMAILS_READ in person.permissions
    async with tenant_session(console, other_tenant.id) as session:
        assert (await audit.verify(session, other_tenant.id)).entries == 1


async def test_unknown_tenant_is_not_opened(cli: SessionMaker, console: SessionMaker) -> None:
    await add_person(cli, ADA, is_operator=True)
    token, unknown = await sign_in(console), new_id()
    async with tenant_session(console, unknown) as session:
        with pytest.raises(TenantNotFound):
            await people.open_tenant(
                session, unknown, token=token, peppers=PEPPERS, operator=OPERATOR
            )


async def test_ended_session_opens_no_tenant(console: SessionMaker, tenant: SeededTenant) -> None:
    async with tenant_session(console, tenant.id) as session:
        with pytest.raises(SessionEnded):
            await people.open_tenant(
                session, tenant.id, token=new_token(), peppers=PEPPERS, operator=OPERATOR
            )
        assert (await audit.verify(session, tenant.id)).entries == 0
