"""Each verified domain is registered at each account that has to know it, and asked about."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple, cast
from uuid import UUID

import pytest
from msgspec.structs import replace

from tallypost_core.settings.tenant_accounts import TenantAccountsSettings
from tallypost_domain.db.pools import Pool
from tallypost_domain.domains.service import add_domain, mark_verified
from tallypost_domain.domains.signing import SigningKeyDirectory
from tallypost_domain.routing import accounts, standings
from tallypost_domain.routing.accounts import NewAccount
from tallypost_domain.routing.directory import RoutingDirectory
from tallypost_domain.routing.standings import NewStanding
from tallypost_domain.routing.types import OpenedAccount, StandingView
from tallypost_providers.errors import DomainNotChecked
from tallypost_providers.provider_domains import DomainStanding, ProviderDomain, WantedRecord
from tallypost_providers.types import Provider
from tallypost_simulators.ses_account import ACCESS_KEY_ID, SECRET_ACCESS_KEY
from tallypost_simulators.ses_simulator import SESSimulator
from tallypost_worker import domain_standings
from tallypost_worker.domain_standings import DomainStandings
from tallypost_worker.tenant_accounts import TenantAccounts
from tests.integration.routing.samples import ACTOR, create
from tests.integration.worker.loops import FakeProvider, until
from tests.support.database import KEY_RING, Database, SeededTenant

RECORD = WantedRecord(type="CNAME", name="s1._domainkey.example.com", value="x", is_found=False)
SES_ACCOUNT = NewAccount(
    name="Own SES",
    provider="ses",
    settings={"region": "eu-west-1", "access_key_id": ACCESS_KEY_ID},
    secrets={"secret_access_key": SECRET_ACCESS_KEY},
)


class Knowing(FakeProvider):
    """An account of the platform that has to know domains."""

    account = "knowing"

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[ProviderDomain] = []
        self.verified: set[str] = set()
        self.fault: BaseException | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def ensure_domain(self, domain: ProviderDomain) -> DomainStanding:
        self.asked.append(domain)
        await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        if domain.name in self.verified:
            return DomainStanding(is_verified=True, records=(replace(RECORD, is_found=True),))
        return DomainStanding(is_verified=False, records=(RECORD,), detail="not seen yet")


class Own:
    """Accounts of tenants as a worker makes them, some of which hang until the gate is open."""

    def __init__(self) -> None:
        self.asked: list[UUID] = []
        self.hanging: set[UUID] = set()
        self.gate = asyncio.Event()

    @asynccontextmanager
    async def opened(self, account: OpenedAccount) -> AsyncIterator[Knowing]:
        """An account, and note that its tenant's was asked for."""
        self.asked.append(account.tenant_id)
        made = Knowing()
        if account.tenant_id in self.hanging:
            made.gate = self.gate
        yield made


class Stage(NamedTuple):
    database: Database
    pool: Pool
    deliver: Pool
    platform: Knowing
    standings: DomainStandings

    def of_platform(
        self, platform: Mapping[str, Provider], own: Own | None = None
    ) -> DomainStandings:
        """Another worker, with these accounts of the platform."""
        return DomainStandings(
            self.pool,
            platform,
            RoutingDirectory(self.deliver, KEY_RING),
            cast("TenantAccounts", own or Own()),
            SigningKeyDirectory(self.deliver, KEY_RING),
        )

    async def ask(self) -> None:
        """As the worker does, time after time."""
        await self.standings.find_new()
        await self.standings.ask_due()

    async def read(self, tenant: SeededTenant) -> tuple[StandingView, ...]:
        async with self.database.session("tp_console", tenant.id) as session:
            return await standings.list_standings(session, tenant.id)

    async def make_due(self, tenant: SeededTenant) -> None:
        """As if its time had come."""
        async with self.database.connect("tp_console") as connection, connection.transaction():
            await connection.execute("SELECT set_config('app.tenant_id', $1, true)", str(tenant.id))
            await connection.execute("UPDATE account_domains SET check_due_at = now()")

    async def waits_s(self, tenant: SeededTenant) -> float:
        async with self.database.connect("tp_console") as connection, connection.transaction():
            await connection.execute("SELECT set_config('app.tenant_id', $1, true)", str(tenant.id))
            waits_s: float = await connection.fetchval(
                "SELECT extract(epoch FROM check_due_at - checked_at)::float8 FROM account_domains"
            )
            return waits_s


@pytest.fixture
async def ses() -> AsyncIterator[SESSimulator]:
    async with SESSimulator() as simulator:
        yield simulator


@pytest.fixture
async def stage(database: Database, ses: SESSimulator) -> AsyncIterator[Stage]:
    async with database.pool("tp_deliver") as deliver, database.pool("tp_worker") as pool:
        platform = Knowing()
        asking = DomainStandings(
            pool,
            {"knowing": platform, "relay": FakeProvider()},
            RoutingDirectory(deliver, KEY_RING),
            TenantAccounts(TenantAccountsSettings(ses_endpoint=ses.url)),
            SigningKeyDirectory(deliver, KEY_RING),
        )
        yield Stage(database, pool, deliver, platform, asking)


async def test_domain_is_made_known_with_its_keys_and_its_missing_records_are_kept(
    stage: Stage, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    await stage.ask()
    assert {domain.name for domain in stage.platform.asked} == {tenant.domain, other_tenant.domain}
    asked = next(d for d in stage.platform.asked if d.name == tenant.domain)
    assert {key.domain for key in asked.dkim_keys} == {tenant.domain}
    (mine,) = await stage.read(tenant)
    assert (mine.domain, mine.account, mine.status) == (tenant.domain, "knowing", "unverified")
    assert mine.detail == "not seen yet"
    assert [(r.type, r.name, r.is_found) for r in mine.records] == [("CNAME", RECORD.name, False)]
    (theirs,) = await stage.read(other_tenant)
    assert theirs.domain == other_tenant.domain


async def test_nobody_is_asked_again_before_it_is_time(stage: Stage, tenant: SeededTenant) -> None:
    await stage.ask()
    await stage.ask()
    assert [d.name for d in stage.platform.asked].count(tenant.domain) == 1


async def test_domain_that_stays_unverified_is_asked_about_ever_more_rarely(
    stage: Stage, tenant: SeededTenant
) -> None:
    waits = []
    for _ in range(4):
        await stage.ask()
        waits.append(await stage.waits_s(tenant))
        await stage.make_due(tenant)
    assert waits == sorted(waits)
    assert waits[0] < waits[-1] <= 3600
    stage.platform.verified.add(tenant.domain)
    await stage.ask()
    (mine,) = await stage.read(tenant)
    assert (mine.status, mine.records[0].is_found) == ("verified", True)
    assert await stage.waits_s(tenant) > 3600


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (DomainNotChecked("It was busy."), "It was busy."),
        (RuntimeError("secret words"), "It could not be asked."),
        (SystemExit(0), "It could not be asked."),
        # Of a task of its own, which it has ended.
        (asyncio.CancelledError(), "It could not be asked."),
    ],
)
async def test_provider_that_does_not_say_changes_nothing_that_was_known(
    stage: Stage, tenant: SeededTenant, fault: BaseException, told: str
) -> None:
    stage.platform.fault = fault
    await stage.ask()
    (unknown,) = await stage.read(tenant)
    assert (unknown.status, unknown.detail) == ("unknown", told)
    stage.platform.fault = None
    stage.platform.verified.add(tenant.domain)
    await stage.make_due(tenant)
    await stage.ask()
    stage.platform.fault = fault
    await stage.make_due(tenant)
    await stage.ask()
    (known,) = await stage.read(tenant)
    assert (known.status, known.detail) == ("verified", told)


async def test_pair_is_asked_about_by_one_worker(stage: Stage, tenant: SeededTenant) -> None:
    await standings.add_new(stage.pool, ["knowing"], [], max_rows=10)
    due = await standings.list_due(stage.pool, ["knowing"], max_rows_of_each=10)
    (mine,) = (pair for pair in due if pair.tenant_id == tenant.id)
    claimed = await standings.claim(stage.pool, mine)
    assert claimed is not None
    assert (claimed.domain, claimed.is_verified) == (tenant.domain, True)
    assert await standings.claim(stage.pool, mine) is None


@pytest.mark.parametrize("is_said", [True, False])
async def test_answer_to_an_old_question_does_not_stand_in_the_way_of_a_new_one(
    stage: Stage, tenant: SeededTenant, is_said: bool
) -> None:
    await standings.add_new(stage.pool, ["knowing"], [], max_rows=10)
    (mine,) = (
        pair
        for pair in await standings.list_due(stage.pool, ["knowing"], max_rows_of_each=10)
        if pair.tenant_id == tenant.id
    )
    claimed = await standings.claim(stage.pool, mine)
    assert claimed is not None
    # Somebody has changed the account, and wants it asked anew.
    await stage.make_due(tenant)
    if is_said:
        await standings.record_standing(stage.pool, claimed, NewStanding(status="verified"))
    else:
        await standings.record_not_said(stage.pool, claimed, "It was busy.")
    (unknown,) = await stage.read(tenant)
    assert (unknown.status, unknown.checked_at) == ("unknown", None)
    assert mine in await standings.list_due(stage.pool, ["knowing"], max_rows_of_each=10)


async def test_pairs_of_another_workers_account_are_left_to_it_and_are_in_nobodys_way(
    stage: Stage,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(domain_standings, "_PLATFORM_ROWS", 2)
    await standings.add_new(stage.pool, ["somebody-elses"], [], max_rows=10)
    await stage.ask()
    left = await standings.list_due(stage.pool, ["somebody-elses"], max_rows_of_each=10)
    assert {pair.tenant_id for pair in left} == {tenant.id, other_tenant.id}
    assert await standings.list_due(stage.pool, ["knowing"], max_rows_of_each=10) == []
    assert {view.status for view in await stage.read(tenant)} == {"unknown", "unverified"}


async def test_account_of_the_platform_that_hangs_holds_up_no_other(
    stage: Stage, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    hanging, well = Knowing(), Knowing()
    hanging.gate.clear()
    asking = stage.of_platform({"hanging": hanging, "well": well})

    async def is_known_to(account: Knowing, *names: str) -> bool:
        return {domain.name for domain in account.asked} == set(names)

    both = (tenant.domain, other_tenant.domain)
    await asking.find_new()
    await asking.begin_due()
    await until(lambda: is_known_to(hanging, *both))
    await until(lambda: is_known_to(well, *both))
    async with stage.database.session("tp_cli", tenant.id) as session:
        await mark_verified(session, tenant.id, await add_domain(session, tenant.id, "new.example"))

    async def is_new_one_known() -> bool:
        await asking.find_new()
        await asking.begin_due()
        return await is_known_to(well, *both, "new.example")

    await until(is_new_one_known)
    assert len(hanging.asked) == 2
    hanging.gate.set()
    await asking.ask_due()


async def test_tenants_account_that_hangs_holds_up_no_other_tenant(
    stage: Stage,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(domain_standings, "_TENANTS_AT_ONCE", 2)
    own = Own()
    own.hanging.add(tenant.id)
    asking = stage.of_platform({}, own)
    for number in range(3):
        await create(stage.database, tenant, replace(SES_ACCOUNT, name=f"Own {number}"))

    async def ask(until_so: Callable[[], bool]) -> None:
        async def is_so() -> bool:
            await asking.find_new()
            await asking.begin_due()
            return until_so()

        await until(is_so)

    await ask(lambda: own.asked == [tenant.id])
    await create(stage.database, other_tenant, SES_ACCOUNT)
    await ask(lambda: other_tenant.id in own.asked)
    assert own.asked == [tenant.id, other_tenant.id]
    own.hanging.clear()
    own.gate.set()
    await ask(lambda: own.asked.count(tenant.id) == 3)
    await asking.ask_due()


async def test_new_credentials_are_asked_about_anew(
    stage: Stage, ses: SESSimulator, tenant: SeededTenant
) -> None:
    account_id = await create(stage.database, tenant, SES_ACCOUNT)
    await stage.ask()
    ses.account.verify(tenant.domain)
    await stage.make_due(tenant)
    await stage.ask()

    async def status() -> list[str]:
        views = await stage.read(tenant)
        return [view.status for view in views if view.account == str(account_id)]

    assert await status() == ["verified"]
    async with stage.database.session("tp_console", tenant.id) as session:
        await accounts.change_account(
            session,
            tenant.id,
            account_id,
            accounts.AccountChange(settings={**SES_ACCOUNT.settings, "connections": 2}),
            key_ring=KEY_RING,
            actor=ACTOR,
        )
    assert await status() == []
    await stage.ask()
    assert await status() == ["verified"]


async def test_domain_that_is_not_verified_is_made_known_to_nobody(
    stage: Stage, tenant: SeededTenant
) -> None:
    async with stage.database.session("tp_cli", tenant.id) as session:
        domain_id = await add_domain(session, tenant.id, "new.example")
    await stage.ask()
    assert "new.example" not in {domain.name for domain in stage.platform.asked}
    async with stage.database.session("tp_cli", tenant.id) as session:
        await mark_verified(session, tenant.id, domain_id)
    await stage.ask()
    assert "new.example" in {domain.name for domain in stage.platform.asked}


async def test_account_of_a_tenant_is_told_of_its_own_domains_only(
    stage: Stage, ses: SESSimulator, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    account_id = await create(stage.database, tenant, SES_ACCOUNT)
    await stage.ask()
    assert set(ses.account.identities) == {tenant.domain}
    (mine,) = [view for view in await stage.read(tenant) if view.account == str(account_id)]
    assert mine.status == "unverified"
    assert [record.type for record in mine.records] == ["TXT"]
    assert {view.account for view in await stage.read(other_tenant)} == {"knowing"}


async def test_account_that_is_off_is_asked_nothing_and_a_deleted_one_leaves_nothing(
    stage: Stage, ses: SESSimulator, tenant: SeededTenant
) -> None:
    account_id: UUID = await create(stage.database, tenant, SES_ACCOUNT)
    await _switch(stage, tenant, account_id, is_on=False)
    await stage.ask()
    assert ses.account.identities == {}
    await _switch(stage, tenant, account_id, is_on=True)
    await stage.ask()
    assert str(account_id) in {view.account for view in await stage.read(tenant)}
    async with stage.database.session("tp_console", tenant.id) as session:
        await accounts.delete_account(session, tenant.id, account_id, actor=ACTOR)
    assert {view.account for view in await stage.read(tenant)} == {"knowing"}


async def test_wrong_credentials_leave_it_unknown(stage: Stage, tenant: SeededTenant) -> None:
    wrong = replace(SES_ACCOUNT, secrets={"secret_access_key": "wrong"})
    account_id = await create(stage.database, tenant, wrong)
    await stage.ask()
    (mine,) = [view for view in await stage.read(tenant) if view.account == str(account_id)]
    assert mine.status == "unknown"
    assert "InvalidSignatureException" in mine.detail


async def test_account_that_is_on_again_is_asked_at_once(
    stage: Stage, ses: SESSimulator, tenant: SeededTenant
) -> None:
    account_id: UUID = await create(stage.database, tenant, SES_ACCOUNT)
    await stage.ask()
    assert ses.account.identities
    ses.account.identities.clear()
    await _switch(stage, tenant, account_id, is_on=False)
    await stage.make_due(tenant)
    await stage.ask()
    assert ses.account.identities == {}
    await _switch(stage, tenant, account_id, is_on=True)
    await stage.ask()
    assert ses.account.identities


async def _switch(stage: Stage, tenant: SeededTenant, account_id: UUID, *, is_on: bool) -> None:
    async with stage.database.session("tp_console", tenant.id) as session:
        await accounts.change_account(
            session,
            tenant.id,
            account_id,
            accounts.AccountChange(is_on=is_on),
            key_ring=KEY_RING,
            actor=ACTOR,
        )
