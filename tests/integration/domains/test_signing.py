"""Signing keys open for the worker, for their own domain, and nowhere else."""

import pytest
from msgspec.structs import replace

from tallypost_core import clock
from tallypost_core.crypto import CryptoError, KeyRing
from tallypost_core.ids import new_id
from tallypost_domain.domains.service import create_dkim_key
from tallypost_domain.domains.signing import SigningKeyDirectory
from tallypost_domain.tenants.service import get_data_key
from tallypost_providers.dkim import Algorithm, dns_record
from tallypost_providers.message import render
from tests.support.database import KEY_RING, Database, SeededTenant, dkim_public_keys
from tests.unit.providers.dkim_judge import verifies
from tests.unit.providers.emails import make_email

ALGORITHMS: dict[str, Algorithm] = {"tp1": "rsa-sha256", "tp2": "ed25519-sha256"}


def _find_txt(name: bytes, timeout: int = 5) -> bytes:
    selector = name.decode().partition(".")[0]
    return dns_record(ALGORITHMS[selector], dkim_public_keys()[selector]).encode()


async def test_keys_of_a_domain_sign_what_its_dns_record_verifies(
    database: Database, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    async with database.pool("tp_deliver") as pool:
        directory = SigningKeyDirectory(pool, KEY_RING)
        for owner in (tenant, other_tenant):
            keys = await directory.list_keys(owner.id, owner.domain_id)
            assert [(key.selector, key.domain) for key in keys] == [
                ("tp1", owner.domain),
                ("tp2", owner.domain),
            ]
            email = make_email(from_header=f"hello@{owner.domain}", dkim_keys=keys)
            assert [verifies(render(email), index, _find_txt) for index in range(2)] == [True] * 2
        assert await directory.list_keys(tenant.id, other_tenant.domain_id) == ()
        assert await directory.list_keys(new_id(), tenant.domain_id) == ()


async def test_keys_are_remembered_for_a_minute(
    database: Database, tenant: SeededTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1000.0
    monkeypatch.setattr(clock, "monotonic_s", lambda: now_s)
    async with database.pool("tp_deliver") as pool:
        directory = SigningKeyDirectory(pool, KEY_RING)
        before = await directory.list_keys(tenant.id, tenant.domain_id)
        async with database.session("tp_cli", tenant.id) as session:
            await create_dkim_key(
                session,
                tenant.id,
                tenant.domain_id,
                selector="tp3",
                algorithm="ed25519-sha256",
                private_key=before[1].private_key,
                public_key=dkim_public_keys()["tp2"],
                data_key=await get_data_key(session, tenant.id, KEY_RING),
            )
        now_s += 59.9
        assert await directory.list_keys(tenant.id, tenant.domain_id) == before
        now_s += 0.1
        after = await directory.list_keys(tenant.id, tenant.domain_id)
        assert after == (*before, replace(before[1], selector="tp3"))


async def test_key_that_was_moved_to_another_row_does_not_open(
    database: Database, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    async with database.connect("tp_cli") as connection, connection.transaction():
        await connection.execute("SELECT set_config('app.tenant_id', $1, true)", str(tenant.id))
        await connection.execute(
            "UPDATE dkim_keys k SET private_key = o.private_key FROM dkim_keys o "
            "WHERE k.selector = 'tp1' AND o.selector = 'tp2'"
        )
    async with database.pool("tp_deliver") as pool:
        directory = SigningKeyDirectory(pool, KEY_RING)
        with pytest.raises(CryptoError):
            await directory.list_keys(tenant.id, tenant.domain_id)
        assert len(await directory.list_keys(other_tenant.id, other_tenant.domain_id)) == 2


async def test_lost_ring_key_is_a_fault_of_ours_and_no_unsigned_mail(
    database: Database, tenant: SeededTenant
) -> None:
    other_ring = KeyRing.from_setting("other:Q0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0M=")
    async with database.pool("tp_deliver") as pool:
        with pytest.raises(CryptoError):
            await SigningKeyDirectory(pool, other_ring).list_keys(tenant.id, tenant.domain_id)
