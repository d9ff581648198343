"""`tallypost seed`: an operator and two tenants that can send at once. Sample data throughout.

Safe to repeat, and safe against being killed: passwords are written down before anybody gets
them, and a tenant comes into being in one transaction with all that belongs to it.
"""

import asyncio
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from uuid import UUID

import msgspec
from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_cli import sample_access
from tallypost_cli.errors import StartUpError
from tallypost_cli.sample_access import SampleAccess, TenantAccess
from tallypost_cli.sample_data import SeedSettings
from tallypost_cli.supervisor import Say
from tallypost_core.crypto import KeyRing
from tallypost_core.ids import new_id
from tallypost_core.settings import apps
from tallypost_domain.api_keys import service as api_keys
from tallypost_domain.audit import service as audit
from tallypost_domain.audit.types import Actor
from tallypost_domain.db import sessions
from tallypost_domain.domains import service as domains
from tallypost_domain.people import queries as people_queries
from tallypost_domain.people import service as people
from tallypost_domain.people.passwords import verify_password
from tallypost_domain.people.permissions import Role
from tallypost_domain.tenants import service as tenants
from tallypost_providers.dkim import Algorithm, generate_keypair

# Beyond what one machine sends, so that nobody measures the limiter by mistake.
_RATE_LIMIT_PER_S = 10_000.0
_SELECTORS: tuple[tuple[str, Algorithm], ...] = (("tp1", "rsa-sha256"), ("tp2", "ed25519-sha256"))
_OPERATOR_EMAIL = "operator@example.net"


class _SampleTenant(Struct, frozen=True):
    name: str
    domain: str


_FIRST = _SampleTenant("Example Tenant", "example.com")
_SECOND = _SampleTenant("Second Example Tenant", "example.org")
DOMAINS = (_FIRST.domain, _SECOND.domain)
"""The verified domains of the sample tenants."""


class _Keys(Struct, frozen=True):
    ring: KeyRing
    peppers: KeyRing


def run(file: Path, environ: Mapping[str, str], say: Say) -> None:
    """Lay the sample data; logins and keys go to `file` and nowhere else.

    Raises StartUpError where the database has sample data that the file does not know.
    """
    settings = apps.load(SeedSettings, environ)
    url = settings.database.cli_url
    if url is None:
        raise StartUpError(
            "TALLYPOST_DATABASE_CLI_URL is missing: the address with the login of role tp_cli."
        )
    keys = _Keys(
        ring=KeyRing.from_setting(settings.secrets.key_ring.reveal()),
        peppers=KeyRing.from_setting(settings.secrets.peppers.reveal()),
    )
    asyncio.run(_seed(file, url.reveal(), keys))
    say(f"The sample data is there; its logins and keys are in {file}")


async def _seed(file: Path, url: str, keys: _Keys) -> None:
    access = _with_logins(sample_access.read(file))
    sample_access.write(file, access)
    engine = sessions.create_engine(url, app="tallypost seed")
    try:
        makers = sessions.create_session_maker(engine)
        await _ensure_operator(makers, access)
        first = await _ensure_tenant(makers, _FIRST, access.first, keys)
        second = await _ensure_tenant(makers, _SECOND, access.second, keys)
    finally:
        await engine.dispose()
    sample_access.write(file, msgspec.structs.replace(access, first=first, second=second))


def _with_logins(access: SampleAccess) -> SampleAccess:
    return msgspec.structs.replace(
        access,
        first=_with_login(access.first, _FIRST),
        second=_with_login(access.second, _SECOND),
        operator_email=_OPERATOR_EMAIL,
        operator_password=access.operator_password or _password(),
    )


def _with_login(access: TenantAccess, sample: _SampleTenant) -> TenantAccess:
    return msgspec.structs.replace(
        access,
        owner_email=f"owner@{sample.domain}",
        owner_password=access.owner_password or _password(),
        sender=f"hello@{sample.domain}",
    )


async def _ensure_operator(makers: sessions.SessionMaker, access: SampleAccess) -> None:
    async with sessions.system_session(makers) as session:
        known = await people_queries.find_credentials(session, access.operator_email)
        if known is None:
            await people.create_person(
                session,
                email=access.operator_email,
                name="Example Operator",
                password=access.operator_password,
                is_operator=True,
            )
            return
    await _require_password(known.password_hash, access.operator_password)


async def _ensure_tenant(
    makers: sessions.SessionMaker, sample: _SampleTenant, access: TenantAccess, keys: _Keys
) -> TenantAccess:
    """Make the tenant unless its owner is there already; returns its access with API keys."""
    async with sessions.system_session(makers) as session:
        known = await people_queries.find_credentials(session, access.owner_email)
    if known is None or known.first_tenant_id is None:
        tenant_id = await _create_tenant(makers, sample, access, keys)
        access = msgspec.structs.replace(access, live_key="", test_key="")
    else:
        await _require_password(known.password_hash, access.owner_password)
        tenant_id = known.first_tenant_id
    async with sessions.tenant_session(makers, tenant_id) as session:
        return msgspec.structs.replace(
            access,
            live_key=access.live_key or await _create_key(session, tenant_id, "live", keys),
            test_key=access.test_key or await _create_key(session, tenant_id, "test", keys),
        )


async def _create_tenant(
    makers: sessions.SessionMaker, sample: _SampleTenant, access: TenantAccess, keys: _Keys
) -> UUID:
    tenant_id = new_id()
    async with sessions.tenant_session(makers, tenant_id) as session:
        await tenants.create_tenant(
            session,
            tenant_id,
            name=sample.name,
            key_ring=keys.ring,
            rate_limit_per_s=_RATE_LIMIT_PER_S,
        )
        owner_id = await people.create_person(
            session,
            email=access.owner_email,
            name="Example Owner",
            password=access.owner_password,
        )
        await people.add_member(session, tenant_id, owner_id, Role.OWNER)
        await _add_domain(session, tenant_id, sample.domain, keys)
        await audit.record(
            session,
            tenant_id,
            "tenant.created",
            actor=Actor("system"),
            subject_kind="tenant",
            subject_id=tenant_id,
        )
    return tenant_id


async def _add_domain(session: AsyncSession, tenant_id: UUID, name: str, keys: _Keys) -> None:
    domain_id = await domains.add_domain(session, tenant_id, name)
    data_key = await tenants.get_data_key(session, tenant_id, keys.ring)
    for selector, algorithm in _SELECTORS:
        private_key, public_key = generate_keypair(algorithm)
        await domains.create_dkim_key(
            session,
            tenant_id,
            domain_id,
            selector=selector,
            algorithm=algorithm,
            private_key=private_key,
            public_key=public_key,
            data_key=data_key,
        )
    await domains.mark_verified(session, tenant_id, domain_id)


async def _create_key(
    session: AsyncSession, tenant_id: UUID, mode: Literal["live", "test"], keys: _Keys
) -> str:
    created = await api_keys.create_key(
        session, tenant_id, mode=mode, name=f"Sample {mode} key", peppers=keys.peppers
    )
    await audit.record(
        session,
        tenant_id,
        "api_key.created",
        actor=Actor("system"),
        subject_kind="api_key",
        subject_id=created.id,
    )
    return created.token


async def _require_password(password_hash: str, password: str) -> None:
    if not await verify_password(password_hash, password):
        raise StartUpError(
            "The database has sample data whose logins are not in the file; they cannot be read "
            "back. Put the file back, or start afresh with `make clean-data`."
        )


def _password() -> str:
    return secrets.token_urlsafe(15)
