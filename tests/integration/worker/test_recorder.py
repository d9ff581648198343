"""The recorder: many at once, one bad item stops nobody, and everything given to it is written."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from msgspec.structs import replace

from tallypost_core.settings.groups import TracingSettings
from tallypost_domain.db.pools import Pool, create_pool, name_tenants
from tallypost_domain.queue.records import Recorded, record_and_mark
from tallypost_domain.queue.types import Settlement
from tallypost_telemetry import tracing
from tallypost_telemetry.trace_contexts import TraceContext
from tallypost_worker import recorder as recorder_module
from tallypost_worker.recorder import Recorder
from tests.integration.queue.harness import POLICY, Harness
from tests.integration.worker.link import Link
from tests.support.database import SeededTenant
from tests.support.otlp_sink import otlp_sink
from tests.support.worker import eventually


@asynccontextmanager
async def _running(pool: Pool, worker: UUID) -> AsyncIterator[Recorder]:
    recorder = Recorder(pool, worker, POLICY)
    running = asyncio.create_task(recorder.run())
    try:
        yield recorder
    finally:
        running.cancel()


def _unwritable(answer: Settlement) -> Settlement:
    """The same result with a text that Postgres refuses."""
    assert answer.attempt is not None
    return replace(answer, attempt=replace(answer.attempt, account="a\x00b"))


async def test_all_results_and_marks_that_are_given_are_written(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    await queue.add(tenant, 100)
    await queue.add(other_tenant, 100)
    worker = await queue.start_worker()
    claims = await queue.claim(worker, tenant, other_tenant)
    async with _running(queue.pool, worker) as recorder:
        marked = await asyncio.gather(*(recorder.mark(claim) for claim in claims))
        assert [claim and claim.email_id for claim in marked] == [c.email_id for c in claims]
        assert {claim and claim.attempt for claim in marked} == {1}
        emails = await queue.load(*(claim for claim in marked if claim))
        assert len(emails) == 200
        for email in emails:
            recorder.record(await queue.settle(worker, email.claim, "accepted"))
        await asyncio.wait_for(recorder.wait_until_idle(), 30)
    for owner in (tenant, other_tenant):
        assert await queue.fetch(owner, "SELECT 1 FROM send_queue") == []
        assert len(await queue.fetch(owner, "SELECT 1 FROM usage_ledger")) == 100


async def test_result_that_cannot_be_written_stops_neither_results_nor_marks(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    (bad_id,) = await queue.add(tenant)
    worker = await queue.start_worker()
    (bad_claim,) = await queue.hand_over(worker, tenant)
    bad = _unwritable(await queue.settle(worker, bad_claim, "accepted"))
    async with _running(queue.pool, worker) as recorder:
        for _ in range(2):
            (good_id,) = await queue.add(other_tenant)
            (claim,) = await queue.claim(worker, other_tenant)
            recorder.record(bad)
            marked = await asyncio.wait_for(recorder.mark(claim), 10)
            assert marked is not None
            recorder.record(await queue.settle(worker, marked, "accepted"))
            async with asyncio.timeout(10):
                while await queue.find_row(other_tenant, good_id):  # noqa: ASYNC110 - the database's rows
                    await asyncio.sleep(0.01)
    # Kept for as long as the process lives; then the sweep lists the email as unconfirmed.
    assert await queue.state(tenant, bad_id) == "handing_over"


async def test_mark_that_cannot_be_written_is_answered_and_stops_no_other(
    queue: Harness, tenant: SeededTenant
) -> None:
    await queue.add(tenant, 2)
    worker = await queue.start_worker()
    good, bad = await queue.claim(worker, tenant)
    async with _running(queue.pool, worker) as recorder:
        answers = await asyncio.wait_for(
            asyncio.gather(recorder.mark(replace(bad, fence=2**80)), recorder.mark(good)), 10
        )
    assert list(answers) == [None, replace(good, attempt=1)]


async def test_mark_in_flight_when_marking_ends_and_the_database_goes_is_answered(
    queue: Harness, tenant: SeededTenant
) -> None:
    await queue.add(tenant)
    worker = await queue.start_worker()
    (claim,) = await queue.claim(worker, tenant)
    async with (
        Link(queue.database.url("tp_deliver")).running() as link,
        queue.database.connect("tp_deliver") as other,
    ):
        transaction = other.transaction()
        await transaction.start()
        await name_tenants(other, [tenant.id])
        await other.execute("SELECT 1 FROM send_queue FOR UPDATE")
        pool = await create_pool(link.url, size=2, app="test")
        async with _running(pool, worker) as recorder:
            marking = asyncio.create_task(recorder.mark(claim))
            async with asyncio.timeout(10):
                while not await queue.reader.fetch("SELECT 1 FROM pg_locks WHERE NOT granted"):  # noqa: ASYNC110 - the database's locks
                    await asyncio.sleep(0.01)
            recorder.stop_marking()
            assert not marking.done()
            link.cut()
            assert await asyncio.wait_for(marking, 10) is None
        await transaction.rollback()
        pool.terminate()


async def test_refused_result_is_tried_again_and_written_once_it_can_be(
    queue: Harness, tenant: SeededTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "_RETRY_REFUSED_S", 0.1)
    (email_id,) = await queue.add(tenant)
    worker = await queue.start_worker()
    (claim,) = await queue.hand_over(worker, tenant)
    answer = await queue.settle(worker, claim, "accepted")
    await queue.add(tenant)
    (other_claim,) = await queue.claim(worker, tenant)
    owner = await asyncpg.connect(queue.database.owner_url)
    try:
        # A mistake in the schema, which the next release mends.
        await owner.execute("REVOKE INSERT ON attempts FROM tp_deliver")
        async with _running(queue.pool, worker) as recorder:
            recorder.record(answer)
            # Answered after the result was tried, and refused.
            assert await asyncio.wait_for(recorder.mark(other_claim), 10) is not None
            await owner.execute("GRANT INSERT ON attempts TO tp_deliver")
            await asyncio.wait_for(recorder.wait_until_idle(), 20)
    finally:
        await owner.close()
    assert await queue.statuses(tenant, email_id) == {"first": "sent", "email": "sent"}
    assert await queue.billed(tenant, email_id) == 1


async def test_refused_result_is_tried_again_though_the_recorder_never_rests(
    queue: Harness, tenant: SeededTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "_RETRY_REFUSED_S", 0.1)
    await queue.add(tenant, 2)
    worker = await queue.start_worker()
    refused, other = await queue.hand_over(worker, tenant)
    bad = _unwritable(await queue.settle(worker, refused, "accepted"))
    tries = 0
    marking: set[asyncio.Task[Any]] = set()
    async with _running(queue.pool, worker) as recorder:

        async def write(
            pool: Pool, worker_id: UUID, settlements: Sequence[Settlement], *rest: Any
        ) -> Recorded:
            nonlocal tries
            tries += bad in settlements
            try:
                return await record_and_mark(pool, worker_id, settlements, *rest)
            finally:
                # Before a chunk is done the next one has something in it.
                marking.add(asyncio.create_task(recorder.mark(other)))
                await asyncio.sleep(0)

        monkeypatch.setattr(recorder_module, "record_and_mark", write)
        recorder.record(bad)
        await eventually(lambda: tries >= 5)
    assert len(marking) > tries
    for task in marking:
        task.cancel()


async def test_results_of_an_outage_are_written_when_it_is_over(
    queue: Harness, tenant: SeededTenant
) -> None:
    await queue.add(tenant, 10)
    worker = await queue.start_worker()
    claims = await queue.hand_over(worker, tenant)
    answers = [await queue.settle(worker, claim, "accepted") for claim in claims]
    await queue.add(tenant)
    (waiting,) = await queue.claim(worker, tenant)
    async with Link(queue.database.url("tp_deliver")).running() as link:
        pool = await create_pool(link.url, size=2, app="test")
        async with _running(pool, worker) as recorder:
            link.cut()
            for answer in answers:
                recorder.record(answer)
            marking = asyncio.create_task(recorder.mark(waiting))
            await eventually(lambda: link.refused >= 2)
            assert not marking.done()
            link.mend()
            assert await asyncio.wait_for(marking, 20) is not None
            await asyncio.wait_for(recorder.wait_until_idle(), 20)
        pool.terminate()
    assert len(await queue.fetch(tenant, "SELECT 1 FROM usage_ledger")) == 10
    rows = await queue.fetch(tenant, "SELECT state FROM send_queue")
    assert [row["state"] for row in rows] == ["handing_over"]


async def test_call_that_is_made_again_after_an_outage_stands_in_the_trace_that_waits_for_it(
    queue: Harness, tenant: SeededTenant
) -> None:
    await queue.add(tenant)
    worker = await queue.start_worker()
    (claim,) = await queue.claim(worker, tenant)
    origin = TraceContext("a" * 32, "b" * 16)
    async with Link(queue.database.url("tp_deliver")).running() as link:
        pool = await create_pool(link.url, size=2, app="test")
        with otlp_sink() as collector:
            with tracing.running(TracingSettings(endpoint=collector.url), "test"):
                async with _running(pool, worker) as recorder:
                    link.cut()
                    with tracing.following(
                        [origin], "turn", tracing.Kind.CONSUMER, {}, is_child=True
                    ):
                        marking = asyncio.create_task(recorder.mark(claim))
                        await eventually(lambda: link.refused >= 2)
                    link.mend()
                    assert await asyncio.wait_for(marking, 20) is not None
            calls = collector.spans("SELECT record_settlements")
            (turn,) = collector.spans("turn")
        pool.terminate()
    assert [call.has_failed for call in calls] == [True] * (len(calls) - 1) + [False]
    assert all(call.is_child_of(turn) for call in calls)


async def test_after_the_end_of_marking_results_are_still_written(
    queue: Harness, tenant: SeededTenant
) -> None:
    await queue.add(tenant, 2)
    worker = await queue.start_worker()
    (marked, _) = await queue.hand_over(worker, tenant)
    answer = await queue.settle(worker, marked, "accepted")
    async with _running(queue.pool, worker) as recorder:
        recorder.stop_marking()
        assert await recorder.mark(marked) is None
        recorder.record(answer)
        await asyncio.wait_for(recorder.wait_until_idle(), 10)
    assert await queue.billed(tenant, marked.email_id) == 1


async def test_idle_recorder_is_idle_at_once(queue: Harness) -> None:
    async with _running(queue.pool, await queue.start_worker()) as recorder:
        await asyncio.wait_for(recorder.wait_until_idle(), 5)
