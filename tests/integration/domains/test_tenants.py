"""A new tenant comes with a data key and with streams of its own."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, NoResultFound, ProgrammingError

from tallypost_core.crypto import Context, CryptoError, KeyRing, decrypt, encrypt
from tallypost_core.ids import new_id
from tallypost_domain.db.sessions import tenant_session
from tallypost_domain.tenants.errors import KeyMissing
from tallypost_domain.tenants.service import create_tenant, get_data_key
from tests.support.database import KEY_RING, RING_SETTING, Database, SeededTenant

NEWER_SETTING = "newer:Q0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0M="


async def test_new_tenant_has_two_streams_with_their_policies(
    database: Database, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    for owner in (tenant, other_tenant):
        async with database.session("tp_cli", owner.id) as session:
            rows = await session.execute(
                text("SELECT tenant_id, name, lane, on_unconfirmed FROM streams ORDER BY name")
            )
            assert [tuple(row) for row in rows] == [
                (owner.id, "bulk", "bulk", "hold"),
                (owner.id, "transactional", "transactional", "resend"),
            ]
            assert await session.scalar(text("SELECT status FROM tenants")) == "active"


async def test_data_keys_of_two_tenants_differ_and_open_only_their_own(
    database: Database, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    async with database.session("tp_cli", tenant.id) as session:
        own = await get_data_key(session, tenant.id, KEY_RING)
        again = await get_data_key(session, tenant.id, KEY_RING)
        with pytest.raises(NoResultFound):
            await get_data_key(session, other_tenant.id, KEY_RING)
    async with database.session("tp_cli", other_tenant.id) as session:
        others = await get_data_key(session, other_tenant.id, KEY_RING)
    context = Context(tenant.id, "dkim_keys", "private_key", new_id())
    sealed = encrypt(own, b"secret", context)
    assert decrypt(again, sealed, context) == b"secret"
    with pytest.raises(CryptoError):
        decrypt(others, sealed, context)


async def test_rotation_of_the_ring_opens_older_data_keys(
    database: Database, tenant: SeededTenant
) -> None:
    rotated = KeyRing.from_setting(f"{NEWER_SETTING},{RING_SETTING}")
    async with database.session("tp_cli", tenant.id) as session:
        await get_data_key(session, tenant.id, rotated)
        with pytest.raises(KeyMissing):
            await get_data_key(session, tenant.id, KeyRing.from_setting(NEWER_SETTING))


async def test_tenant_is_made_once_and_only_in_its_own_session(
    database: Database, tenant: SeededTenant
) -> None:
    async with database.sessions("tp_cli") as makers:
        with pytest.raises(IntegrityError):
            async with tenant_session(makers, tenant.id) as session:
                await create_tenant(session, tenant.id, name="again", key_ring=KEY_RING)
        with pytest.raises(ProgrammingError, match="row-level security"):
            async with tenant_session(makers, tenant.id) as session:
                await create_tenant(session, new_id(), name="another", key_ring=KEY_RING)
