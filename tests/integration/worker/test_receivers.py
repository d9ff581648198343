"""A recipient domain that is slow has no more of an account than it may."""

from pathlib import Path

from tallypost_core.object_store import FolderStore
from tallypost_providers.types import OutgoingEmail, SendResult
from tests.integration.queue.harness import Harness
from tests.integration.worker.loops import FakeProvider, running_loop, until
from tests.support.database import SeededTenant
from tests.support.worker import eventually

SLOW, FAST = "someone@slow.example", "someone@fast.example"


class Relay(FakeProvider):
    """Hangs for one domain while its gate is closed; takes two emails at a time for each."""

    connections_per_domain = 2

    def __init__(self) -> None:
        super().__init__()
        self.slow = FakeProvider()
        self.slow.gate.clear()

    async def send(self, email: OutgoingEmail, timeout_s: float) -> SendResult:
        """Answer at once, or when the gate is opened."""
        if any(to.address == SLOW for to in email.recipients):
            return await self.slow.send(email, timeout_s)
        return await super().send(email, timeout_s)


async def test_slow_domain_leaves_room_for_others(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant, tmp_path: Path
) -> None:
    relay = Relay()
    await queue.add(tenant, 20, to=(SLOW,))

    async def is_sent_for(owner: SeededTenant) -> bool:
        return not await queue.fetch(owner, "SELECT 1 FROM send_queue")

    async with running_loop(
        queue.database.url("tp_deliver"), relay, FolderStore(tmp_path), concurrency=10
    ):
        await eventually(lambda: len(relay.slow.handovers) == 2)
        await queue.add(other_tenant, 30, to=(FAST,))
        await until(lambda: is_sent_for(other_tenant))
        assert len(relay.slow.handovers) == 2
        relay.slow.gate.set()
        await until(lambda: is_sent_for(tenant))
    assert (len(relay.slow.handovers), len(relay.handovers)) == (20, 30)
    rows = await queue.fetch(tenant, "SELECT outcome, attempt FROM attempts")
    assert [tuple(row) for row in rows] == [("accepted", 1)] * 20
