"""A lease that is nearly over sends nothing, and costs the email nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tallypost_core import clock
from tallypost_core.object_store import FolderStore
from tallypost_domain.queue.claims import LEASE_S
from tallypost_providers.base import same_for_all
from tallypost_providers.types import Outcome, OutgoingEmail, SendResult
from tallypost_worker import heartbeat as heartbeat_module
from tests.integration.queue.harness import Harness
from tests.integration.worker.link import Link
from tests.integration.worker.loops import FakeProvider, running_loop, until
from tests.support.database import SeededTenant
from tests.support.worker import eventually

BEAT_EVERY_S = 2.0


class Clock:
    """The monotonic clock, which the test may move on; hearts beat faster than usual."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead_s = 0.0
        real = clock.monotonic_s
        monkeypatch.setattr(clock, "monotonic_s", lambda: real() + self.ahead_s)
        monkeypatch.setattr(heartbeat_module, "BEAT_EVERY_S", BEAT_EVERY_S)


class SlowStore(FolderStore):
    """A store that takes its time, once."""

    def __init__(self, root: Path, take_time: Callable[[], None]) -> None:
        super().__init__(root)
        self._take_time = take_time
        self.reads = 0

    async def get(self, key: str) -> bytes:
        """What was stored, late for the first time."""
        self.reads += 1
        if self.reads == 1:
            self._take_time()
        return await super().get(key)


async def test_nothing_is_claimed_near_the_end_of_the_lease(
    queue: Harness, tenant: SeededTenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    time = Clock(monkeypatch)
    provider = FakeProvider()
    url = queue.database.url("tp_deliver")

    async def is_done() -> bool:
        return not await queue.fetch(tenant, "SELECT 1 FROM send_queue")

    async with running_loop(url, provider, FolderStore(tmp_path)) as running:
        await eventually(lambda: running.heartbeat.remaining_s > LEASE_S - 1)
        time.ahead_s += LEASE_S - 3.5
        (email_id,) = await queue.add(tenant)
        # The next beat brings a whole lease.
        await until(is_done)
    (row,) = await queue.fetch(tenant, "SELECT fence, attempt FROM attempts")
    assert (row["fence"], row["attempt"]) == (1, 1)
    assert await queue.statuses(tenant, email_id) == {"first": "sent", "email": "sent"}


async def test_email_whose_lease_ran_low_on_the_way_is_put_off_and_nothing_counts(
    queue: Harness, tenant: SeededTenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    time = Clock(monkeypatch)
    leases: list[float] = []
    direct = queue.database.url("tp_deliver")

    def note(email: OutgoingEmail) -> SendResult:
        leases.append(running.heartbeat.remaining_s)
        return same_for_all(email, Outcome.ACCEPTED, phase="final")

    async def is_put_off() -> bool:
        query = "SELECT 1 FROM send_queue WHERE state = 'waiting' AND fence = 1"
        return bool(await queue.fetch(tenant, query))

    async def is_done() -> bool:
        return not await queue.fetch(tenant, "SELECT 1 FROM send_queue")

    async with Link(direct).running() as link:

        def take_time() -> None:
            # No beat comes through until the test has looked.
            link.cut()
            time.ahead_s += LEASE_S - 3.5

        provider = FakeProvider(note)
        store = SlowStore(tmp_path, take_time)
        async with running_loop(direct, provider, store, beat_url=link.url) as running:
            await eventually(lambda: running.heartbeat.remaining_s > LEASE_S - 3)
            large = [{"filename": "a.bin", "content": [7] * 300_000}]
            (email_id,) = await queue.add(tenant, attachments=large)
            await until(is_put_off)
            row = await queue.find_row(tenant, email_id)
            assert row is not None
            assert (row["attempt"], row["worker_id"]) == (0, None)
            assert provider.handovers == []
            link.mend()
            await until(is_done)
    assert leases[0] > LEASE_S - BEAT_EVERY_S - 2
    # It was marked twice and handed over once: that is its first attempt.
    (attempt,) = await queue.fetch(tenant, "SELECT fence, attempt, outcome FROM attempts")
    assert (attempt["fence"], attempt["attempt"], attempt["outcome"]) == (2, 1, "accepted")
    assert await queue.events(tenant, email_id) == ["email.sent"]
