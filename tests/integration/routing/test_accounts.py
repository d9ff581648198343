"""Tenants' own accounts: stored encrypted, shown without secrets, of their tenant alone."""

import msgspec
import pytest
from msgspec.structs import replace

from tallypost_core.ids import new_id
from tallypost_domain.routing import accounts
from tallypost_domain.routing.account_secrets import open_secrets
from tallypost_domain.routing.accounts import MAX_ACCOUNTS, AccountChange
from tallypost_domain.routing.errors import (
    AccountInUse,
    AccountNameTaken,
    AccountNotFound,
    InvalidAccountName,
    TooManyAccounts,
)
from tallypost_domain.routing.routes import replace_routes
from tallypost_domain.routing.standings import NewStanding, list_standings
from tallypost_domain.routing.types import NewRoute
from tallypost_domain.tenants.service import get_data_key
from tests.integration.routing.samples import (
    ACCOUNT,
    ACTOR,
    PASSWORD,
    break_secrets,
    create,
    note_standing,
)
from tests.support.database import KEY_RING, TEST_READER, Database, SeededTenant


async def list_changes(database: Database, tenant: SeededTenant) -> list[object]:
    """What the audit log says of each act, first to last."""
    async with database.session(TEST_READER, tenant.id) as session:
        connection = await session.connection()
        rows = await connection.exec_driver_sql("SELECT changes FROM audit_log ORDER BY sequence")
        return list(rows.scalars())


@pytest.mark.parametrize("role", ["tp_api", "tp_console"])
async def test_account_is_shown_without_its_secrets(
    database: Database, tenant: SeededTenant, role: str
) -> None:
    account_id = await create(database, tenant, role=role)
    async with database.session(role, tenant.id) as session:
        (listed,) = await accounts.list_accounts(session, tenant.id)
        assert listed == await accounts.get_account(session, tenant.id, account_id)
    assert (listed.name, listed.provider, listed.is_on) == ("Own relay", "smtp", True)
    assert listed.settings == ACCOUNT.settings
    assert listed.secret_names == ("password",)
    assert listed.is_being_checked
    assert listed.checked_at is None
    shown = f"{msgspec.json.encode(listed).decode()} {listed!r} {ACCOUNT!r}"
    assert PASSWORD not in shown


async def test_secrets_are_stored_encrypted_and_open_for_this_row_only(
    database: Database, tenant: SeededTenant
) -> None:
    account_id = await create(database, tenant)
    other_id = await create(database, tenant, replace(ACCOUNT, name="Another"))
    async with database.session(TEST_READER, tenant.id) as session:
        stored = await session.connection()
        rows = (
            await stored.exec_driver_sql("SELECT secrets, settings::text FROM provider_accounts")
        ).all()
    assert all(PASSWORD.encode() not in row.secrets for row in rows)
    assert all(PASSWORD not in row.settings for row in rows)
    async with database.session("tp_console", tenant.id) as session:
        opened = await accounts.open_account(session, tenant.id, account_id, KEY_RING)
        assert opened.secrets == {"password": PASSWORD}
        assert PASSWORD not in repr(opened)
        other = await accounts.open_account(session, tenant.id, other_id, KEY_RING)
    assert other.secrets == opened.secrets
    assert rows[0].secrets != rows[1].secrets


async def test_second_tenant_neither_sees_nor_changes_an_account(
    database: Database, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    account_id = await create(database, tenant)
    async with database.session("tp_console", other_tenant.id) as session:
        assert await accounts.list_accounts(session, other_tenant.id) == ()
        for asked_of in (tenant.id, other_tenant.id):
            with pytest.raises(AccountNotFound):
                await accounts.get_account(session, asked_of, account_id)
            with pytest.raises(AccountNotFound):
                await accounts.open_account(session, asked_of, account_id, KEY_RING)
            with pytest.raises(AccountNotFound):
                await accounts.request_check(session, asked_of, account_id)
        with pytest.raises(AccountNotFound):
            await accounts.change_account(
                session,
                other_tenant.id,
                account_id,
                AccountChange(is_on=False),
                key_ring=KEY_RING,
                actor=ACTOR,
            )
        with pytest.raises(AccountNotFound):
            await accounts.delete_account(session, other_tenant.id, account_id, actor=ACTOR)
    async with database.session("tp_console", tenant.id) as session:
        assert (await accounts.get_account(session, tenant.id, account_id)).is_on


async def test_two_tenants_may_give_the_same_name(
    database: Database, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    await create(database, tenant)
    await create(database, other_tenant)
    with pytest.raises(AccountNameTaken):
        await create(database, tenant)


async def test_change_of_settings_has_the_account_checked_and_made_anew(
    database: Database, tenant: SeededTenant
) -> None:
    account_id = await create(database, tenant)
    async with database.session("tp_console", tenant.id) as session:
        before = await accounts.get_account(session, tenant.id, account_id)
        await accounts.change_account(
            session,
            tenant.id,
            account_id,
            AccountChange(name="Renamed", is_on=False),
            key_ring=KEY_RING,
            actor=ACTOR,
        )
        renamed = await accounts.get_account(session, tenant.id, account_id)
    assert (renamed.name, renamed.is_on) == ("Renamed", False)
    assert renamed.changed_at == before.changed_at
    async with database.session("tp_console", tenant.id) as session:
        await accounts.change_account(
            session,
            tenant.id,
            account_id,
            AccountChange(settings={"host": "other.example.net"}, secrets={}),
            key_ring=KEY_RING,
            actor=ACTOR,
        )
        after = await accounts.get_account(session, tenant.id, account_id)
        opened = await accounts.open_account(session, tenant.id, account_id, KEY_RING)
    assert after.changed_at > before.changed_at
    assert after.is_being_checked
    assert (after.settings, after.secret_names) == ({"host": "other.example.net"}, ())
    assert opened.secrets == {}


@pytest.mark.parametrize("role", ["tp_api", "tp_console"])
async def test_change_to_what_is_there_already_changes_nothing_and_is_nobodys_act(
    database: Database, tenant: SeededTenant, role: str
) -> None:
    account_id = await create(database, tenant)
    await note_standing(database, tenant, str(account_id), NewStanding(status="verified"))
    async with database.session(role, tenant.id) as session:
        before = await accounts.get_account(session, tenant.id, account_id)
        await accounts.change_account(
            session,
            tenant.id,
            account_id,
            AccountChange(
                name=ACCOUNT.name, is_on=True, settings=ACCOUNT.settings, secrets=ACCOUNT.secrets
            ),
            key_ring=KEY_RING,
            actor=ACTOR,
        )
    async with database.session(role, tenant.id) as session:
        assert await accounts.get_account(session, tenant.id, account_id) == before
        assert await list_standings(session, tenant.id, [str(account_id)])
    assert await list_changes(database, tenant) == [{"provider": "smtp"}]


async def test_audit_log_tells_a_changed_password_from_a_changed_number(
    database: Database, tenant: SeededTenant
) -> None:
    account_id = await create(database, tenant)
    for settings, secrets in (
        ({**ACCOUNT.settings, "connections": 3}, ACCOUNT.secrets),
        ({**ACCOUNT.settings, "connections": 3}, {"password": "rotated"}),
    ):
        async with database.session("tp_console", tenant.id) as session:
            await accounts.change_account(
                session,
                tenant.id,
                account_id,
                AccountChange(name=ACCOUNT.name, settings=settings, secrets=secrets),
                key_ring=KEY_RING,
                actor=ACTOR,
            )
    assert await list_changes(database, tenant) == [
        {"provider": "smtp"},
        {"settings": True},
        {"secrets": True},
    ]


@pytest.mark.parametrize("secrets", [{}, {"password": PASSWORD}])
async def test_secrets_that_no_longer_open_are_none_and_can_be_given_again(
    database: Database, tenant: SeededTenant, secrets: dict[str, str]
) -> None:
    account_id = await create(database, tenant, replace(ACCOUNT, secrets=secrets))
    await break_secrets(database, tenant)
    async with database.session("tp_api", tenant.id) as session:
        damaged = await accounts.open_account(session, tenant.id, account_id, KEY_RING)
        assert damaged.secrets == {}
        await accounts.change_account(
            session,
            tenant.id,
            account_id,
            AccountChange(settings=ACCOUNT.settings, secrets=secrets),
            key_ring=KEY_RING,
            actor=ACTOR,
        )
    async with database.session(TEST_READER, tenant.id) as session:
        connection = await session.connection()
        row = (await connection.exec_driver_sql("SELECT secrets FROM provider_accounts")).one()
    async with database.session("tp_cli", tenant.id) as session:
        data_key = await get_data_key(session, tenant.id, KEY_RING)
    assert open_secrets(data_key, tenant.id, account_id, row.secrets) == secrets


async def test_name_of_another_account_is_refused_and_the_transaction_goes_on(
    database: Database, tenant: SeededTenant
) -> None:
    await create(database, tenant)
    second_id = await create(database, tenant, replace(ACCOUNT, name="Second"))
    async with database.session("tp_console", tenant.id) as session:
        with pytest.raises(AccountNameTaken):
            await accounts.change_account(
                session,
                tenant.id,
                second_id,
                AccountChange(name="Own relay"),
                key_ring=KEY_RING,
                actor=ACTOR,
            )
        kept = await accounts.get_account(session, tenant.id, second_id)
    assert kept.name == "Second"


@pytest.mark.parametrize("name", ["", "  ", "x" * 101, "hid\u202eden", "\x00"])
async def test_name_that_cannot_be_read_is_refused(
    database: Database, tenant: SeededTenant, name: str
) -> None:
    with pytest.raises(InvalidAccountName):
        await create(database, tenant, replace(ACCOUNT, name=name))


async def test_no_more_accounts_than_a_tenant_may_have(
    database: Database, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    for number in range(MAX_ACCOUNTS):
        await create(database, tenant, replace(ACCOUNT, name=f"Account {number}"))
    with pytest.raises(TooManyAccounts):
        await create(database, tenant)
    await create(database, other_tenant)


async def test_account_that_a_route_names_is_not_deleted(
    database: Database, tenant: SeededTenant
) -> None:
    account_id = await create(database, tenant)
    route = NewRoute(accounts=(str(account_id), "platform"))
    async with database.session("tp_console", tenant.id) as session:
        await replace_routes(session, tenant.id, [route], actor=ACTOR)
        with pytest.raises(AccountInUse):
            await accounts.delete_account(session, tenant.id, account_id, actor=ACTOR)
        await replace_routes(session, tenant.id, [], actor=ACTOR)
        await accounts.delete_account(session, tenant.id, account_id, actor=ACTOR)
        assert await accounts.list_accounts(session, tenant.id) == ()
        with pytest.raises(AccountNotFound):
            await accounts.delete_account(session, tenant.id, account_id, actor=ACTOR)


async def test_audit_log_tells_of_each_change_and_of_no_secret(
    database: Database, tenant: SeededTenant
) -> None:
    account_id = await create(database, tenant)
    async with database.session("tp_console", tenant.id) as session:
        await accounts.change_account(
            session,
            tenant.id,
            account_id,
            AccountChange(settings={}, secrets={"password": "changed"}),
            key_ring=KEY_RING,
            actor=ACTOR,
        )
        await accounts.delete_account(session, tenant.id, account_id, actor=ACTOR)
    async with database.session(TEST_READER, tenant.id) as session:
        connection = await session.connection()
        entries = (
            await connection.exec_driver_sql(
                "SELECT action, actor_id, subject_id, changes FROM audit_log ORDER BY sequence"
            )
        ).all()
    assert [entry.action for entry in entries] == [
        "provider_account.created",
        "provider_account.changed",
        "provider_account.deleted",
    ]
    assert {(entry.actor_id, entry.subject_id) for entry in entries} == {(ACTOR.id, account_id)}
    assert entries[0].changes == {"provider": "smtp"}
    assert entries[1].changes == {"settings": True, "secrets": True}


async def test_unknown_account_is_not_found(database: Database, tenant: SeededTenant) -> None:
    async with database.session("tp_api", tenant.id) as session:
        with pytest.raises(AccountNotFound):
            await accounts.get_account(session, tenant.id, new_id())
