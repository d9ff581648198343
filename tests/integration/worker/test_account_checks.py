"""A check that somebody asks for is made by a worker, step by step, and its end is told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple, cast
from uuid import UUID

import pytest
from msgspec.structs import replace

from tallypost_core.settings.tenant_accounts import TenantAccountsSettings
from tallypost_domain.db.pools import Pool
from tallypost_domain.routing import accounts, checks
from tallypost_domain.routing.accounts import AccountChange
from tallypost_domain.routing.checks import AccountCheck
from tallypost_domain.routing.directory import RoutingDirectory
from tallypost_domain.routing.types import AccountStep, AccountView, OpenedAccount
from tallypost_simulators.ses_simulator import SESSimulator
from tallypost_worker import account_checks
from tallypost_worker.account_checks import AccountChecks
from tallypost_worker.tenant_accounts import TenantAccounts
from tests.integration.routing.samples import ACCOUNT, ACTOR, create
from tests.integration.worker.loops import until
from tests.integration.worker.test_domain_standings import SES_ACCOUNT
from tests.support.database import KEY_RING, Database, SeededTenant


class Hanging:
    """Accounts of tenants as a worker makes them; one tenant's hang until the gate is open."""

    def __init__(self, owner: SeededTenant) -> None:
        self.asked: list[UUID] = []
        self.gate = asyncio.Event()
        self._owner = owner

    @asynccontextmanager
    async def opened(self, account: OpenedAccount) -> AsyncIterator["Hanging"]:
        """An account."""
        self.asked.append(account.tenant_id)
        if account.tenant_id == self._owner.id:
            await self.gate.wait()
        yield self

    async def check(self, _timeout_s: float) -> tuple[AccountStep, ...]:
        """Find nothing."""
        return ()


class Stage(NamedTuple):
    database: Database
    pool: Pool
    directory: RoutingDirectory
    checks: AccountChecks

    def with_accounts(self, accounts: Hanging) -> AccountChecks:
        """The checks of another worker."""
        return AccountChecks(self.pool, self.directory, cast("TenantAccounts", accounts))

    async def read(self, tenant: SeededTenant, account_id: UUID) -> AccountView:
        async with self.database.session("tp_console", tenant.id) as session:
            return await accounts.get_account(session, tenant.id, account_id)

    async def change(self, tenant: SeededTenant, account_id: UUID, changed: AccountChange) -> None:
        async with self.database.session("tp_console", tenant.id) as session:
            await accounts.change_account(
                session, tenant.id, account_id, changed, key_ring=KEY_RING, actor=ACTOR
            )


@pytest.fixture
async def ses() -> AsyncIterator[SESSimulator]:
    async with SESSimulator() as simulator:
        yield simulator


@pytest.fixture
async def stage(database: Database, ses: SESSimulator) -> AsyncIterator[Stage]:
    async with database.pool("tp_deliver") as deliver, database.pool("tp_worker") as pool:
        directory = RoutingDirectory(deliver, KEY_RING)
        made = AccountChecks(
            pool, directory, TenantAccounts(TenantAccountsSettings(ses_endpoint=ses.url))
        )
        yield Stage(database, pool, directory, made)


async def test_new_account_is_checked_and_each_step_is_told(
    stage: Stage, tenant: SeededTenant
) -> None:
    account_id = await create(stage.database, tenant, SES_ACCOUNT)
    await stage.checks.check_due()
    checked = await stage.read(tenant, account_id)
    assert not checked.is_being_checked
    assert checked.checked_at is not None
    assert len(checked.check_steps) >= 3
    assert {step.state for step in checked.check_steps} <= {"good", "warning"}


async def test_step_that_fails_is_named_and_ends_the_check(
    stage: Stage, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    wrong = replace(SES_ACCOUNT, secrets={"secret_access_key": "wrong"})
    account_id = await create(stage.database, tenant, wrong)
    good_id = await create(stage.database, other_tenant, SES_ACCOUNT)
    await stage.checks.check_due()
    states = [step.state for step in (await stage.read(tenant, account_id)).check_steps]
    assert states.count("failed") == 1
    after = states[states.index("failed") + 1 :]
    assert after
    assert set(after) == {"not_tried"}
    good = await stage.read(other_tenant, good_id)
    assert "failed" not in {step.state for step in good.check_steps}


async def test_host_inside_is_not_knocked_at(stage: Stage, tenant: SeededTenant) -> None:
    inside = replace(ACCOUNT, settings={"host": "localhost", "port": 2525, "username": "sample"})
    account_id = await create(stage.database, tenant, inside)
    await stage.checks.check_due()
    steps = (await stage.read(tenant, account_id)).check_steps
    (failed,) = (step for step in steps if step.state == "failed")
    assert "public" in failed.detail
    assert "127.0.0.1" not in failed.detail


async def test_settings_that_this_release_does_not_take_are_told(
    stage: Stage, tenant: SeededTenant
) -> None:
    account_id = await create(stage.database, tenant, replace(SES_ACCOUNT, settings={}))
    await stage.checks.check_due()
    (step,) = (await stage.read(tenant, account_id)).check_steps
    assert (step.name, step.state) == ("settings", "failed")
    assert "region" in step.detail


async def test_account_is_checked_once_for_each_time_somebody_asks(
    stage: Stage, tenant: SeededTenant
) -> None:
    account_id = await create(stage.database, tenant, SES_ACCOUNT)
    await stage.checks.check_due()
    assert await checks.list_due(stage.pool, max_rows=10) == []
    async with stage.database.session("tp_api", tenant.id) as session:
        await accounts.request_check(session, tenant.id, account_id)
        await accounts.request_check(session, tenant.id, account_id)
    (due,) = await checks.list_due(stage.pool, max_rows=10)
    assert due == AccountCheck(tenant.id, account_id)
    assert await checks.claim(stage.pool, due) is not None
    assert await checks.claim(stage.pool, due) is None
    assert (await stage.read(tenant, account_id)).is_being_checked


async def test_change_during_a_check_is_checked_too(stage: Stage, tenant: SeededTenant) -> None:
    account_id = await create(stage.database, tenant, SES_ACCOUNT)
    check = AccountCheck(tenant.id, account_id)
    changed_at = await checks.claim(stage.pool, check)
    assert changed_at is not None
    await stage.change(
        tenant,
        account_id,
        AccountChange(settings={**SES_ACCOUNT.settings, "connections": 2}),
    )
    steps = [AccountStep("reach", "failed", "of the old settings")]
    await checks.record_check(stage.pool, check, steps, changed_at)
    assert (await stage.read(tenant, account_id)).is_being_checked
    await stage.checks.check_due()
    checked = await stage.read(tenant, account_id)
    assert not checked.is_being_checked
    assert "failed" not in {step.state for step in checked.check_steps}


async def test_accounts_of_one_tenant_that_hang_hold_up_no_other_tenant(
    stage: Stage,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(account_checks, "_AT_ONCE", 2)
    hanging = Hanging(tenant)
    making = stage.with_accounts(hanging)
    for number in range(3):
        await create(stage.database, tenant, replace(SES_ACCOUNT, name=f"Own {number}"))

    async def are_checked(*owners: SeededTenant) -> bool:
        await making.begin_due()
        return hanging.asked == [owner.id for owner in owners]

    await until(lambda: are_checked(tenant))
    for _ in range(3):
        await making.begin_due()
    good_id = await create(stage.database, other_tenant, SES_ACCOUNT)
    await until(lambda: are_checked(tenant, other_tenant))
    hanging.gate.set()
    await until(lambda: are_checked(tenant, other_tenant, tenant, tenant))
    await making.check_due()
    assert (await stage.read(other_tenant, good_id)).checked_at is not None


async def test_account_that_is_off_can_be_checked(stage: Stage, tenant: SeededTenant) -> None:
    account_id = await create(stage.database, tenant, SES_ACCOUNT)
    await stage.change(tenant, account_id, AccountChange(is_on=False))
    await stage.checks.check_due()
    assert (await stage.read(tenant, account_id)).checked_at is not None
