"""Large mail that does not get away holds up neither small mail nor other tenants."""

from pathlib import Path

import pytest

from tallypost_core.object_store import FolderStore
from tallypost_domain.routing import routes
from tallypost_domain.routing.types import NewRoute, OpenedAccount
from tallypost_providers.types import OutgoingEmail, Provider, SendResult
from tallypost_worker import memory_budget, put_offs
from tests.integration.queue.harness import Harness
from tests.integration.routing.samples import ACTOR, create
from tests.integration.worker.loops import FakeProvider, all_sent, running_loop
from tests.support.database import SeededTenant
from tests.support.worker import eventually

LARGE = "x" * 200_000
"""More than what is loaded with its claim, and in these tests as much as one tenant may have."""


class HangsForLarge(FakeProvider):
    """Takes small mail at once and large mail when its gate is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.large = FakeProvider()
        self.large.gate.clear()

    async def send(self, email: OutgoingEmail, timeout_s: float) -> SendResult:
        """Answer at once, or when the gate is opened."""
        is_large = email.text == LARGE
        return await (self.large.send if is_large else super().send)(email, timeout_s)


@pytest.fixture(autouse=True)
def _small_budgets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_budget, "_PLATFORM_BYTES", 1_600_000)
    monkeypatch.setattr(memory_budget, "_TENANTS_BYTES", 2_000_000)
    monkeypatch.setattr(put_offs, "LONGEST_S", 0.2)


async def test_large_mail_to_an_account_that_hangs_holds_up_nobody_else(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant, tmp_path: Path
) -> None:
    own: dict[str, FakeProvider] = {}
    hanging, theirs = [str(await create(queue.database, t)) for t in (tenant, other_tenant)]
    for owner, name in ((tenant, hanging), (other_tenant, theirs)):
        async with queue.database.session("tp_console", owner.id) as session:
            route = NewRoute(accounts=(name,), tag_name="own")
            await routes.replace_routes(session, owner.id, [route], actor=ACTOR)
    tags = [{"name": "own", "value": "x"}]
    await queue.add(tenant, 8, text=LARGE, tags=tags)
    await queue.add_bulk(tenant, 8, text=LARGE, tags=tags)

    def make(account: OpenedAccount) -> Provider:
        provider = own[str(account.id)] = FakeProvider()
        provider.account = str(account.id)
        if provider.account == hanging:
            provider.gate.clear()
        return provider

    platform = FakeProvider()
    url = queue.database.url("tp_deliver")
    async with running_loop(url, platform, FolderStore(tmp_path), create_own=make, concurrency=20):
        await eventually(lambda: hanging in own and bool(own[hanging].handovers))
        for owner in (tenant, other_tenant):
            await queue.add(owner, 10)
        await queue.add(other_tenant, 5, text=LARGE)
        await queue.add(other_tenant, 5, text=LARGE, tags=tags)
        await queue.add_bulk(other_tenant, 5, text=LARGE, tags=tags)
        await all_sent(queue, other_tenant)
        await eventually(lambda: len(platform.handovers) == 25)
        # Its half of the budget, and no more than that, is in memory for them.
        assert len(own[hanging].handovers) == 1
        own[hanging].gate.set()
        await all_sent(queue, tenant)
    assert (len(own[hanging].handovers), len(own[theirs].handovers)) == (16, 10)


async def test_small_mail_passes_large_mail_that_waits_for_memory(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant, tmp_path: Path
) -> None:
    relay = HangsForLarge()
    await queue.add(tenant, 30, text=LARGE)
    url = queue.database.url("tp_deliver")
    async with running_loop(url, relay, FolderStore(tmp_path), concurrency=5):
        await eventually(lambda: bool(relay.large.handovers))
        await queue.add(tenant, 20)
        await queue.add(other_tenant, 20)
        await all_sent(queue, other_tenant)
        await eventually(lambda: len(relay.handovers) == 40)
        assert len(relay.large.handovers) == 1
        relay.large.gate.set()
        await all_sent(queue, tenant)
    assert (len(relay.large.handovers), len(relay.handovers)) == (30, 40)
