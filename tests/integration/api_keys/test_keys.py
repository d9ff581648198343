"""Keys are recognised cheaply, die in time and belong to one tenant."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import event, text

from tallypost_core import clock
from tallypost_core.crypto import KeyRing, new_api_key
from tallypost_core.ids import new_id
from tallypost_domain.api_keys.errors import APIKeyNotFound, InvalidAPIKey, TenantSuspended
from tallypost_domain.api_keys.service import KeyDirectory, create_key, revoke_key
from tallypost_domain.api_keys.types import CreatedKey, Principal
from tests.support.database import PEPPER_SETTING, PEPPERS, Database, SeededTenant

NEWER_SETTING = "newer:Q0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0M="
ROTATED = KeyRing.from_setting(f"{NEWER_SETTING},{PEPPER_SETTING}")


class Desk:
    """A directory of keys whose every statement is counted, on a clock of the test's."""

    def __init__(self, directory: KeyDirectory) -> None:
        self._directory = directory
        self.statements = 0
        self.now_s = 1000.0
        self.statement_takes_s = 0.0

    async def ask(self, token: str) -> Principal:
        return await self._directory.authenticate(token)

    # Any: SQLAlchemy's many arguments.
    def count(self, *_: Any) -> None:
        self.statements += 1
        self.now_s += self.statement_takes_s


@asynccontextmanager
async def desk(
    database: Database, monkeypatch: pytest.MonkeyPatch, peppers: KeyRing = PEPPERS
) -> AsyncIterator[Desk]:
    """The directory as the API has it."""
    async with database.sessions("tp_api") as sessions:
        counted = Desk(KeyDirectory(sessions, peppers))
        engine = sessions.kw["bind"].sync_engine
        event.listen(engine, "after_cursor_execute", counted.count)
        monkeypatch.setattr(clock, "monotonic_s", lambda: counted.now_s)
        yield counted


async def _revoke(database: Database, tenant: SeededTenant, key: CreatedKey) -> None:
    async with database.session("tp_cli", tenant.id) as session:
        await revoke_key(session, tenant.id, key.id)


async def test_good_key_says_who_asks(
    database: Database,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with desk(database, monkeypatch) as keys:
        for owner in (tenant, other_tenant):
            live = await keys.ask(owner.live_key.token)
            assert live == Principal(
                owner.id, owner.live_key.id, "live", "full_access", None, 100_000.0
            )
            assert (await keys.ask(owner.test_key.token)).mode == "test"
            sending = await keys.ask(owner.sending_key.token)
            assert (sending.mode, sending.permission) == ("live", "sending_access")


async def test_keys_own_limit_goes_before_its_tenants(
    database: Database, tenant: SeededTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with database.session("tp_cli", tenant.id) as session:
        key = await create_key(
            session,
            tenant.id,
            mode="test",
            name="slow",
            peppers=PEPPERS,
            stream="bulk",
            rate_limit_per_s=2.5,
        )
    async with desk(database, monkeypatch) as keys:
        principal = await keys.ask(key.token)
        assert (principal.rate_limit_per_s, principal.stream) == (2.5, "bulk")


def _malformed(good: str) -> list[str]:
    wrong_digit = "0" if good[-1] != "0" else "1"
    return [
        "",
        "tp_live_",
        good[:-1],
        good + "a",
        good[:-1] + wrong_digit,
        good.upper(),
        " " + good,
        good + "\n",
        good.replace("tp_live_", "tp_test_"),
        good.replace("tp_live_", "sk_live_"),
        "tp_live_" + "é" * 38,
        "tp_live_" + "\x00" * 38,
        "tp_live_" + "\ud800" * 38,
        "'; DROP TABLE api_keys; --",
        "tp_live_" + "A" * 100_000,
    ]


async def test_malformed_key_costs_no_statement(
    database: Database, tenant: SeededTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with desk(database, monkeypatch) as keys:
        for token in _malformed(tenant.live_key.token):
            with pytest.raises(InvalidAPIKey):
                await keys.ask(token)
        assert keys.statements == 0
        with pytest.raises(InvalidAPIKey):
            await keys.ask(new_api_key("live"))
        assert keys.statements > 0


async def test_busy_key_and_a_refused_one_cost_one_lookup_a_second_each(
    database: Database, tenant: SeededTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = new_api_key("live")
    async with desk(database, monkeypatch) as keys:
        await keys.ask(tenant.live_key.token)
        cost = keys.statements
        for _ in range(50):
            await keys.ask(tenant.live_key.token)
        assert keys.statements == cost
        keys.now_s += 1.0
        await keys.ask(tenant.live_key.token)
        assert keys.statements == 2 * cost
        for lookups in (3, 4):
            for _ in range(2):
                with pytest.raises(InvalidAPIKey):
                    await keys.ask(unknown)
            assert keys.statements == lookups * cost
            keys.now_s += 1.0


async def test_revoked_key_dies_within_a_second_and_no_other_with_it(
    database: Database,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with desk(database, monkeypatch) as keys:
        await keys.ask(tenant.live_key.token)
        await _revoke(database, tenant, tenant.live_key)
        keys.now_s += 1.0
        for _ in range(2):
            with pytest.raises(InvalidAPIKey):
                await keys.ask(tenant.live_key.token)
        await keys.ask(tenant.test_key.token)
        await keys.ask(other_tenant.live_key.token)


async def test_slow_lookup_does_not_lengthen_the_second(
    database: Database, tenant: SeededTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with desk(database, monkeypatch) as keys:
        keys.statement_takes_s = 0.4
        asked_at_s = keys.now_s
        await keys.ask(tenant.live_key.token)
        keys.statement_takes_s = 0.0
        await _revoke(database, tenant, tenant.live_key)
        # A second after it was asked, not after the answer came.
        keys.now_s = asked_at_s + 1.0
        with pytest.raises(InvalidAPIKey):
            await keys.ask(tenant.live_key.token)


async def test_revoking_twice_changes_nothing_and_of_others_is_not_found(
    database: Database, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    await _revoke(database, tenant, tenant.live_key)
    async with database.session("tp_cli", tenant.id) as session:
        first = await session.scalar(text("SELECT revoked_at FROM api_keys WHERE name = 'live'"))
    await _revoke(database, tenant, tenant.live_key)
    async with database.session("tp_cli", tenant.id) as session:
        again = await session.scalar(text("SELECT revoked_at FROM api_keys WHERE name = 'live'"))
    assert first == again is not None
    for key_id in (other_tenant.live_key.id, new_id()):
        async with database.session("tp_cli", tenant.id) as session:
            with pytest.raises(APIKeyNotFound):
                await revoke_key(session, tenant.id, key_id)
    async with database.session("tp_cli", other_tenant.id) as session:
        revoked = await session.scalar(text("SELECT count(revoked_at) FROM api_keys"))
    assert revoked == 0


@pytest.mark.parametrize("status", ["suspended", "closed"])
async def test_key_of_a_tenant_that_may_not_use_the_platform_says_so(
    database: Database,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
    monkeypatch: pytest.MonkeyPatch,
    status: str,
) -> None:
    async with desk(database, monkeypatch) as keys:
        await keys.ask(tenant.live_key.token)
        async with database.session("tp_cli", tenant.id) as session:
            await session.execute(text("UPDATE tenants SET status = :s"), {"s": status})
        keys.now_s += 1.0
        with pytest.raises(TenantSuspended):
            await keys.ask(tenant.live_key.token)
        await keys.ask(other_tenant.live_key.token)
        # Of a key that is revoked as well nothing more is said than that.
        await _revoke(database, tenant, tenant.live_key)
        keys.now_s += 1.0
        with pytest.raises(InvalidAPIKey):
            await keys.ask(tenant.live_key.token)


async def test_rotation_of_peppers_breaks_no_key(
    database: Database, tenant: SeededTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with database.session("tp_cli", tenant.id) as session:
        newest = await create_key(session, tenant.id, mode="live", name="new", peppers=ROTATED)
    async with desk(database, monkeypatch, ROTATED) as keys:
        for key in (tenant.live_key, newest):
            assert (await keys.ask(key.token)).api_key_id == key.id
        cost = keys.statements
        for key in (tenant.live_key, newest):
            await keys.ask(key.token)
        assert keys.statements == cost
    async with desk(database, monkeypatch) as keys:
        with pytest.raises(InvalidAPIKey):
            await keys.ask(newest.token)


async def test_what_is_stored_is_not_the_key(database: Database, tenant: SeededTenant) -> None:
    token = tenant.live_key.token
    async with database.connect("tp_cli") as connection, connection.transaction():
        await connection.execute("SELECT set_config('app.tenant_id', $1, true)", str(tenant.id))
        row = await connection.fetchrow("SELECT * FROM api_keys WHERE id = $1", tenant.live_key.id)
    assert row is not None
    assert (row["prefix"], row["last_four"]) == (token[:12], token[-4:])
    assert token not in repr(dict(row))
    assert token.encode() not in row["key_hash"]
    assert token not in repr(tenant.live_key)
