"""Ending: what is under way finishes and is recorded, the rest goes back, nothing new leaves."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from tallypost_core.object_store import FolderStore
from tallypost_domain.queue.sweeps import sweep_abandoned
from tallypost_simulators.smtp_faults import Fault, Faults
from tallypost_simulators.smtp_reception import ReceivedMessage
from tallypost_simulators.smtp_sink import SMTPSink
from tallypost_worker import app, parts
from tests.integration.queue.harness import POLICY, Harness
from tests.integration.worker.loops import FakeProvider, running_loop, until
from tests.support.database import PEPPERS, SeededTenant
from tests.support.worker import eventually, running_worker, worker_environment


async def test_what_is_on_the_wire_is_finished_and_what_is_claimed_goes_back(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant, tmp_path: Path
) -> None:
    added = {*await queue.add(tenant, 20), *await queue.add(other_tenant, 20)}
    provider = FakeProvider()
    provider.gate.clear()
    url = queue.database.url("tp_deliver")

    async def open_gate_once_it_ends(stop: asyncio.Event) -> None:
        await stop.wait()
        # Nothing new leaves from here on, although there are free slots again.
        provider.gate.set()

    async with running_loop(url, provider, FolderStore(tmp_path), concurrency=5) as running:
        await eventually(lambda: len(provider.handovers) == 5)
        opening = asyncio.create_task(open_gate_once_it_ends(running.stop))
    await opening
    left = {email.email_id for email in provider.handovers}
    assert 5 <= len(left) < len(added)
    for owner in (tenant, other_tenant):
        rows = await queue.fetch(owner, "SELECT * FROM send_queue")
        assert {(row["state"], row["worker_id"], row["attempt"]) for row in rows} == {
            ("waiting", None, 0)
        }
        assert not {row["email_id"] for row in rows} & left
        sent = await queue.fetch(owner, "SELECT email_id FROM attempts WHERE outcome = 'accepted'")
        assert {row["email_id"] for row in sent} == {
            id_
            for id_ in left
            if await queue.fetch(owner, "SELECT 1 FROM emails WHERE id = $1", id_)
        }


async def test_process_that_ends_leaves_the_rest_to_the_next_one_and_nothing_doubles(
    queue: Harness,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
    redis_url: str,
    tmp_path: Path,
) -> None:
    received: list[ReceivedMessage] = []

    async def keep(message: ReceivedMessage) -> None:
        received.append(message)

    async with SMTPSink(keep, faults=Faults(latency_s=0.02)) as sink:
        environment = worker_environment(
            queue.database, redis_url=redis_url, objects=tmp_path, smtp_port=sink.port
        )
        # More than a worker claims at once.
        added = [*await queue.add(tenant, 150), *await queue.add(other_tenant, 150)]
        async with running_worker(environment):
            await eventually(lambda: len(received) >= 10)
        first = {got.email_id for got in received}
        assert 10 <= len(first) < len(added)
        for owner in (tenant, other_tenant):
            rows = await queue.fetch(owner, "SELECT email_id, state FROM send_queue")
            assert {row["state"] for row in rows} == {"waiting"}
            assert not {str(row["email_id"]) for row in rows} & first
        assert await queue.pool.fetchval("SELECT count(*) FROM workers") == 0
        sink.faults.latency_s = 0.0

        async def is_done() -> bool:
            return len(received) >= len(added)

        async with running_worker(environment):
            await until(is_done)
    assert Counter(got.email_id for got in received) == Counter(str(id_) for id_ in added)
    for owner in (tenant, other_tenant):
        assert await queue.fetch(owner, "SELECT 1 FROM send_queue") == []
        assert len(await queue.fetch(owner, "SELECT 1 FROM usage_ledger")) == 150


async def test_what_waits_for_a_connection_at_the_end_goes_back_unsent(
    queue: Harness, tenant: SeededTenant, redis_url: str, tmp_path: Path
) -> None:
    received: list[ReceivedMessage] = []

    async def keep(message: ReceivedMessage) -> None:
        received.append(message)

    async with SMTPSink(keep, faults=Faults(latency_s=1.0)) as sink:
        environment = worker_environment(
            queue.database, redis_url=redis_url, objects=tmp_path, smtp_port=sink.port
        ) | {"TALLYPOST_SMTP_CONNECTIONS": "1"}
        await queue.add(tenant, 10)
        async with running_worker(environment):
            # One is on the wire, all are marked.
            await eventually(lambda: sink.open_sessions == 1)
        sent = len(received)
        assert 1 <= sent < 10
    rows = await queue.fetch(tenant, "SELECT state, attempt, worker_id FROM send_queue")
    assert [tuple(row) for row in rows] == [("waiting", 0, None)] * (10 - sent)
    assert await queue.fetch(tenant, "SELECT 1 FROM attempts WHERE outcome <> 'accepted'") == []


class _Stubborn(FakeProvider):
    """Breaks, or never returns, when it is closed."""

    def __init__(self, *, hangs: bool) -> None:
        super().__init__()
        self.gate.clear()
        self._hangs = hangs

    async def close(self) -> None:
        # What is under way is answered all the same.
        self.gate.set()
        if self._hangs:
            await asyncio.Event().wait()
        raise RuntimeError("cannot be closed")


@pytest.mark.parametrize("hangs", [False, True], ids=["breaks", "hangs"])
async def test_provider_that_cannot_be_closed_costs_no_result(
    queue: Harness,
    tenant: SeededTenant,
    redis_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    hangs: bool,
) -> None:
    provider = _Stubborn(hangs=hangs)
    monkeypatch.setattr(parts, "create_accounts", lambda *_: [provider])
    monkeypatch.setattr(app, "_CLOSE_LIMIT_S", 0.2)
    environment = worker_environment(
        queue.database, redis_url=redis_url, objects=tmp_path, smtp_port=25
    )
    await queue.add(tenant, 3)
    async with running_worker(environment):
        await eventually(lambda: len(provider.handovers) == 3)
    assert await queue.fetch(tenant, "SELECT 1 FROM send_queue") == []
    rows = await queue.fetch(tenant, "SELECT outcome FROM attempts")
    assert [row["outcome"] for row in rows] == ["accepted"] * 3


async def test_handover_that_outlasts_the_end_is_listed_by_the_next_sweep(
    queue: Harness,
    tenant: SeededTenant,
    redis_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(app, "_DRAIN_LIMIT_S", 0.3)
    faults = Faults(Fault(phase="final", action="hang"))
    async with SMTPSink(is_counting=True, faults=faults) as sink:
        environment = worker_environment(
            queue.database, redis_url=redis_url, objects=tmp_path, smtp_port=sink.port
        )
        (email_id,) = await queue.add(tenant)
        async with running_worker(environment):
            await eventually(lambda: sink.taken == 1)
        # It does not go on behind the back of whoever takes over.
        await eventually(lambda: sink.open_sessions == 0, within_s=8)
        assert await queue.state(tenant, email_id) == "handing_over"
        # The worker has signed off, so nobody waits for the end of its lease.
        swept = await sweep_abandoned(queue.pool, POLICY, PEPPERS)
        assert (swept.released, swept.unconfirmed) == (0, 1)
    assert await queue.events(tenant, email_id) == ["email.unconfirmed"]
    assert await queue.statuses(tenant, email_id) == {
        "first": "unconfirmed",
        "email": "unconfirmed",
    }


async def test_worker_that_is_told_to_end_before_the_database_is_there_ends(
    queue: Harness, redis_url: str, tmp_path: Path
) -> None:
    environment = worker_environment(
        queue.database, redis_url=redis_url, objects=tmp_path, smtp_port=25
    )
    for name in ("DELIVER", "WORKER"):
        environment[f"TALLYPOST_DATABASE_{name}_URL"] = "postgresql://nobody@127.0.0.1:1/none"
    async with asyncio.timeout(20):
        async with running_worker(environment):
            await asyncio.sleep(0)
