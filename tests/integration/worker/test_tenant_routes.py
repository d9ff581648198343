"""Each tenant's mail goes by its own routes and accounts, and holds up nobody else's."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NoReturn
from uuid import UUID

import pytest
from msgspec.structs import replace

from tallypost_core.object_store import FolderStore
from tallypost_domain.routing import accounts, routes, troubles
from tallypost_domain.routing.accounts import AccountChange
from tallypost_domain.routing.directory import RoutingDirectory
from tallypost_domain.routing.types import NewRoute, OpenedAccount
from tallypost_domain.suppressions.service import suppress
from tallypost_providers.base import same_for_all
from tallypost_providers.errors import ProviderMisconfigured
from tallypost_providers.types import Outcome, Provider
from tallypost_resilience.breaker import Breaker
from tallypost_resilience.circuit import BreakerConfig
from tallypost_resilience.limiter import LocalLimiter
from tallypost_worker import trouble_reports
from tallypost_worker.fleet import Fleet
from tallypost_worker.tenant_routes import RouteBook
from tallypost_worker.trouble_reports import report_troubles
from tests.integration.queue.harness import Harness
from tests.integration.routing.samples import ACCOUNT, ACTOR, PASSWORD, create, say_platform_has
from tests.integration.worker.loops import FakeProvider, all_sent, running_loop, says, until
from tests.support.database import KEY_RING, PEPPERS, SeededTenant
from tests.support.worker import eventually
from tests.unit.providers.emails import make_email
from tests.unit.worker.test_fleet import FakeClock


class Own:
    """Accounts of tenants as a worker makes them, each a fake that takes everything unless told."""

    def __init__(self) -> None:
        self.made: dict[str, FakeProvider] = {}
        self.opened: list[OpenedAccount] = []
        self.closed: list[str] = []
        self.answers: dict[str, Outcome] = {}
        self.shut: set[str] = set()
        """Accounts whose handovers do not end."""

    def create(self, account: OpenedAccount) -> Provider:
        name = str(account.id)
        provider = _Own(self, says(self.answers.get(name, Outcome.ACCEPTED)))
        provider.account = name
        if name in self.shut:
            provider.gate.clear()
        self.made[name] = provider
        self.opened.append(account)
        return provider


class _Own(FakeProvider):
    def __init__(self, owner: Own, *answers: object) -> None:
        super().__init__(*answers)  # type: ignore[arg-type]  # as the fake takes them
        self._owner = owner

    async def close(self) -> None:
        self._owner.closed.append(self.account)


@pytest.fixture
def own() -> Own:
    return Own()


@pytest.fixture
def platform() -> FakeProvider:
    return FakeProvider()


@asynccontextmanager
async def delivering(
    queue: Harness, folder: Path, platform: FakeProvider, own: Own, *, concurrency: int = 5
) -> AsyncIterator[None]:
    async with running_loop(
        queue.database.url("tp_deliver"),
        platform,
        FolderStore(folder),
        create_own=own.create,
        concurrency=concurrency,
    ):
        yield


async def route(queue: Harness, tenant: SeededTenant, *new: NewRoute) -> None:
    async with queue.database.session("tp_console", tenant.id) as session:
        await routes.replace_routes(session, tenant.id, new, actor=ACTOR)


async def change(
    queue: Harness, tenant: SeededTenant, account_id: UUID, changed: AccountChange
) -> None:
    async with queue.database.session("tp_console", tenant.id) as session:
        await accounts.change_account(
            session, tenant.id, account_id, changed, key_ring=KEY_RING, actor=ACTOR
        )


async def accounts_of(queue: Harness, tenant: SeededTenant) -> list[tuple[str, str]]:
    rows = await queue.fetch(tenant, "SELECT account, outcome FROM attempts ORDER BY id")
    return [(row["account"], row["outcome"]) for row in rows]


async def test_mail_goes_by_the_account_that_its_tenants_route_names(
    queue: Harness,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
    tmp_path: Path,
    platform: FakeProvider,
    own: Own,
) -> None:
    account = str(await create(queue.database, tenant))
    await route(queue, tenant, NewRoute(accounts=(account, "platform")))
    await queue.add(tenant, 3)
    await queue.add(other_tenant, 2)
    async with delivering(queue, tmp_path, platform, own):
        await all_sent(queue, tenant, other_tenant)
    assert await accounts_of(queue, tenant) == [(account, "accepted")] * 3
    assert await accounts_of(queue, other_tenant) == [("fake", "accepted")] * 2
    assert {email.tenant_id for email in own.made[account].handovers} == {tenant.id}
    assert own.opened[0].secrets == {"password": PASSWORD}
    assert own.closed == [account]


async def test_account_without_a_route_gets_no_mail(
    queue: Harness, tenant: SeededTenant, tmp_path: Path, platform: FakeProvider, own: Own
) -> None:
    await create(queue.database, tenant)
    await queue.add(tenant)
    async with delivering(queue, tmp_path, platform, own):
        await all_sent(queue, tenant)
    assert await accounts_of(queue, tenant) == [("fake", "accepted")]


async def test_platform_takes_what_the_own_account_did_not(
    queue: Harness, tenant: SeededTenant, tmp_path: Path, platform: FakeProvider, own: Own
) -> None:
    account = str(await create(queue.database, tenant))
    own.answers[account] = Outcome.SUSPENDED
    await route(queue, tenant, NewRoute(accounts=(account, "platform")))
    await queue.add(tenant)
    async with delivering(queue, tmp_path, platform, own):
        await all_sent(queue, tenant)
    assert await accounts_of(queue, tenant) == [(account, "suspended"), ("fake", "accepted")]


async def test_one_account_of_the_platform_can_be_named(
    queue: Harness, tenant: SeededTenant, tmp_path: Path, platform: FakeProvider
) -> None:
    second = FakeProvider()
    second.account = "second"
    await say_platform_has(queue.database, "fake", "second")
    await route(queue, tenant, NewRoute(accounts=("platform:second",), lane="bulk"))
    await queue.add(tenant)
    await queue.add_bulk(tenant)
    url = queue.database.url("tp_deliver")
    async with running_loop(url, platform, FolderStore(tmp_path), others=[second]):
        await all_sent(queue, tenant)
    assert sorted(await accounts_of(queue, tenant)) == [
        ("fake", "accepted"),
        ("second", "accepted"),
    ]
    assert [email.is_bulk for email in second.handovers] == [True]


async def test_changes_count_for_a_running_worker(
    queue: Harness, tenant: SeededTenant, tmp_path: Path, platform: FakeProvider, own: Own
) -> None:
    account_id = await create(queue.database, tenant)
    account = str(account_id)

    async def send_until(name: str) -> None:
        """What is routed within the next second may still go by what was."""
        async with asyncio.timeout(20):
            while True:
                await queue.add(tenant)
                await all_sent(queue, tenant)
                if (await accounts_of(queue, tenant))[-1][0] == name:
                    return
                await asyncio.sleep(0.2)

    async with delivering(queue, tmp_path, platform, own):
        await send_until("fake")
        await route(queue, tenant, NewRoute(accounts=(account, "platform")))
        await send_until(account)
        await change(queue, tenant, account_id, AccountChange(is_on=False))
        await send_until("fake")
        assert own.closed == [account]
        changed = AccountChange(is_on=True, settings=ACCOUNT.settings, secrets={"password": "new"})
        await change(queue, tenant, account_id, changed)
        await send_until(account)
        assert own.opened[-1].secrets == {"password": "new"}
        await route(queue, tenant)
        await send_until("fake")


async def test_mail_waits_where_its_route_leads_nowhere(
    queue: Harness, tenant: SeededTenant, tmp_path: Path, platform: FakeProvider, own: Own
) -> None:
    account_id = await create(queue.database, tenant)
    await route(queue, tenant, NewRoute(accounts=(str(account_id),)))
    await change(queue, tenant, account_id, AccountChange(is_on=False))
    await queue.add(tenant)

    async def is_put_off() -> bool:
        query = "SELECT 1 FROM send_queue WHERE state = 'waiting' AND due_at > now()"
        return bool(await queue.fetch(tenant, query))

    async with delivering(queue, tmp_path, platform, own):
        await until(is_put_off)
    assert await accounts_of(queue, tenant) == []
    assert platform.handovers == []


async def test_account_that_cannot_be_made_is_passed_over(
    queue: Harness, tenant: SeededTenant, tmp_path: Path, platform: FakeProvider
) -> None:
    account = str(await create(queue.database, tenant))
    await route(queue, tenant, NewRoute(accounts=(account, "platform")))
    await queue.add(tenant)

    def refuse(_: OpenedAccount) -> Provider:
        raise ProviderMisconfigured

    url = queue.database.url("tp_deliver")
    async with running_loop(url, platform, FolderStore(tmp_path), create_own=refuse):
        await all_sent(queue, tenant)
    assert await accounts_of(queue, tenant) == [("fake", "accepted")]


async def test_account_where_the_domain_is_not_verified_gets_none_of_its_mail(
    queue: Harness, tenant: SeededTenant, tmp_path: Path, platform: FakeProvider, own: Own
) -> None:
    account = str(await create(queue.database, tenant))
    await route(queue, tenant, NewRoute(accounts=(account, "platform")))
    async with queue.database.connect("tp_worker") as connection, connection.transaction():
        await connection.execute(
            "SELECT set_config('app.tenant_ids', $1, true)", "{" + str(tenant.id) + "}"
        )
        await connection.execute(
            "INSERT INTO account_domains (tenant_id, domain_id, account, status) "
            "VALUES ($1, $2, $3, 'unverified')",
            tenant.id,
            tenant.domain_id,
            account,
        )
    await queue.add(tenant)
    async with delivering(queue, tmp_path, platform, own):
        await all_sent(queue, tenant)
    assert await accounts_of(queue, tenant) == [("fake", "accepted")]


async def test_test_mail_never_goes_by_an_account_of_the_tenant(
    queue: Harness, tenant: SeededTenant, tmp_path: Path, platform: FakeProvider, own: Own
) -> None:
    inside = FakeProvider()
    inside.account = "inbox"
    inside.capabilities = replace(inside.capabilities, reaches_outside=False)
    account = str(await create(queue.database, tenant))
    await route(queue, tenant, NewRoute(accounts=(account,)))
    await queue.add(tenant, mode="test")
    url = queue.database.url("tp_deliver")
    async with running_loop(
        url, platform, FolderStore(tmp_path), others=[inside], create_own=own.create
    ):
        await all_sent(queue, tenant)
    assert await accounts_of(queue, tenant) == [("inbox", "accepted")]


async def test_accounts_of_a_tenant_that_hang_hold_up_nobody_else(
    queue: Harness,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
    tmp_path: Path,
    platform: FakeProvider,
    own: Own,
) -> None:
    hanging = [
        str(await create(queue.database, tenant, replace(ACCOUNT, name=f"Relay {number}")))
        for number in range(3)
    ]
    own.shut.update(hanging)
    tagged = [NewRoute(accounts=(name,), tag_name=f"t{n}") for n, name in enumerate(hanging)]
    await route(queue, tenant, *tagged)
    theirs = str(await create(queue.database, other_tenant))
    await route(queue, other_tenant, NewRoute(accounts=(theirs,), lane="bulk"))
    for number in range(3):
        await queue.add(tenant, 20, tags=[{"name": f"t{number}", "value": "x"}])

    def held() -> int:
        return sum(len(own.made[name].handovers) for name in hanging if name in own.made)

    async with delivering(queue, tmp_path, platform, own, concurrency=20):
        await eventually(lambda: held() >= 5)
        await queue.add(other_tenant, 50)
        await queue.add_bulk(other_tenant, 10)
        await all_sent(queue, other_tenant)
        # A quarter of the deliveries, and no more than that, wait for them.
        assert held() == 5
        for name in hanging:
            own.made[name].gate.set()
        own.shut.clear()
        await all_sent(queue, tenant)
    assert sorted(await accounts_of(queue, other_tenant)) == sorted(
        [("fake", "accepted")] * 50 + [(theirs, "accepted")] * 10
    )
    assert {outcome for _, outcome in await accounts_of(queue, tenant)} == {"accepted"}
    assert held() == 60


async def test_mail_for_some_waits_where_the_account_that_could_send_it_is_off(
    queue: Harness, tenant: SeededTenant, tmp_path: Path, platform: FakeProvider, own: Own
) -> None:
    exact_id = await create(queue.database, tenant)
    platform.capabilities = replace(platform.capabilities, keeps_envelope=False)
    await route(queue, tenant, NewRoute(accounts=(str(exact_id), "platform")))
    await change(queue, tenant, exact_id, AccountChange(is_on=False))
    async with queue.database.session("tp_cli", tenant.id) as session:
        await suppress(
            session, tenant.id, "live", "gone@example.net", origin="manual", peppers=PEPPERS
        )
    (email_id,) = await queue.add(tenant, to=["here@example.net", "gone@example.net"])

    async def is_put_off() -> bool:
        query = "SELECT 1 FROM send_queue WHERE state = 'waiting' AND due_at > now()"
        return bool(await queue.fetch(tenant, query))

    async with delivering(queue, tmp_path, platform, own):
        await until(is_put_off)
        await change(queue, tenant, exact_id, AccountChange(is_on=True))
        await asyncio.sleep(1.5)
        await queue.make_due(tenant, email_id)
        await all_sent(queue, tenant)
    assert await accounts_of(queue, tenant) == [(str(exact_id), "accepted")]


async def test_email_whose_routes_cannot_be_read_is_put_off_whatever_went_wrong(
    queue: Harness,
    tenant: SeededTenant,
    tmp_path: Path,
    platform: FakeProvider,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def crash(_: RoutingDirectory, __: UUID) -> NoReturn:
        raise OSError("too many open files")

    await queue.add(tenant)

    async def is_put_off() -> bool:
        query = "SELECT 1 FROM send_queue WHERE state = 'waiting' AND due_at > now()"
        return bool(await queue.fetch(tenant, query))

    url = queue.database.url("tp_deliver")
    with monkeypatch.context() as patched:
        patched.setattr(RoutingDirectory, "get", crash)
        async with running_loop(url, platform, FolderStore(tmp_path)):
            await until(is_put_off)
    assert platform.handovers == []


async def test_tenant_is_told_of_its_account_that_is_asked_nothing(
    queue: Harness,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trouble_reports, "LOOK_EVERY_S", 0.02)
    account_id = await create(queue.database, tenant)
    theirs = await create(queue.database, other_tenant)
    for owner, name in ((tenant, account_id), (other_tenant, theirs)):
        await route(queue, owner, NewRoute(accounts=(str(name), "platform")))
    worker_id = await queue.start_worker()
    own, clock = Own(), FakeClock()
    fleet = Fleet(
        [FakeProvider()],
        concurrency=10,
        breaker=Breaker("test", BreakerConfig(), clock=clock),
        limiter=LocalLimiter(),
        clock=clock,
    )

    async def told(owner: SeededTenant) -> dict[UUID, str]:
        async with queue.database.session("tp_api", owner.id) as session:
            found = await troubles.list_troubles(session, owner.id)
        return {id_: trouble.state for id_, trouble in found.items()}

    async def learn(outcome: Outcome) -> None:
        provider = own.made[str(account_id)]
        async with fleet.guard(provider) as call:
            result = same_for_all(make_email(), outcome, phase="final")
            fleet.learn(call, provider, tenant.domain_id, result)

    async with (
        queue.database.pool("tp_deliver") as pool,
        queue.database.pool("tp_worker") as writer,
    ):
        book = RouteBook(RoutingDirectory(pool, KEY_RING), fleet, own.create)
        for owner in (tenant, other_tenant):
            await book.of(owner.id)
        reporting = asyncio.create_task(report_troubles(writer, worker_id, fleet, book))
        try:
            await learn(Outcome.SUSPENDED)
            await until(lambda: told(tenant))
            assert await told(tenant) == {account_id: "open"}
            assert theirs not in await told(other_tenant)

            async def is_cured() -> bool:
                return not await told(tenant)

            clock.now_s += 60
            await learn(Outcome.ACCEPTED)
            await until(is_cured)
        finally:
            reporting.cancel()
            await asyncio.gather(reporting, return_exceptions=True)
            await book.close()


async def test_account_whose_settings_were_corrected_is_asked_at_once(
    queue: Harness, tenant: SeededTenant, tmp_path: Path, platform: FakeProvider, own: Own
) -> None:
    account_id = await create(queue.database, tenant)
    account = str(account_id)
    own.answers[account] = Outcome.SUSPENDED
    await route(queue, tenant, NewRoute(accounts=(account, "platform")))
    url = queue.database.url("tp_deliver")
    for_long = BreakerConfig(open_s=3600, longest_open_s=3600)
    async with running_loop(
        url, platform, FolderStore(tmp_path), create_own=own.create, breaker=for_long
    ):
        await queue.add(tenant)
        await all_sent(queue, tenant)
        await queue.add(tenant)
        await all_sent(queue, tenant)
        assert [name for name, _ in await accounts_of(queue, tenant)] == [account, "fake", "fake"]
        own.answers[account] = Outcome.ACCEPTED
        corrected = AccountChange(settings=ACCOUNT.settings, secrets={"password": "right"})
        await change(queue, tenant, account_id, corrected)
        # What is routed within the next second may still go by what was.
        await asyncio.sleep(1.5)
        await queue.add(tenant)
        await all_sent(queue, tenant)
    assert (await accounts_of(queue, tenant))[-1] == (account, "accepted")
