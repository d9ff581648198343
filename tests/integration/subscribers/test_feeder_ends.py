"""What goes wrong where a feeder begins, writes or ends costs no event, and stops none for good."""

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from tallypost_domain.db.pools import Pool
from tallypost_domain.subscribers.feeding import claim_events, register
from tallypost_resilience.retry import RetryPolicy
from tallypost_telemetry.metrics import REGISTRY
from tallypost_worker import subscriber_feeder, subscriber_outcomes, subscriber_thread
from tests.integration.queue.harness import Harness
from tests.integration.subscribers import stage
from tests.integration.subscribers.rows import rows_of
from tests.integration.subscribers.stage import PATIENT, QUICK, fed, module_of, until_registered
from tests.integration.worker.loops import until
from tests.support.database import SeededTenant
from tests.support.worker import eventually

quick = stage.quick
installed = stage.installed


def gauge(kind: str, name: str) -> float | None:
    """Events of a subscriber as this process reports them."""
    return REGISTRY.get_sample_value(f"tallypost_subscriber_{kind}_events", {"subscriber": name})


async def test_claim_that_the_end_of_the_worker_cuts_off_is_given_back(
    queue: Harness, pool: Pool, tenant: SeededTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed = asyncio.Event()

    # Any: the arguments of the function that it stands before.
    async def answer_late(*arguments: Any) -> Any:
        answer = await claim_events(*arguments)
        if answer.claims:
            claimed.set()
            # The way back from the server.
            await asyncio.sleep(0.2)
        return answer

    monkeypatch.setattr(subscriber_feeder, "claim_events", answer_late)
    await register(pool, "ledger", is_hanging=None)
    await queue.add(tenant)
    async with fed(pool, "ledger", policy=PATIENT):
        await claimed.wait()
    (row,) = await rows_of(queue, tenant, "ledger")
    assert (row["attempt"], row["under_way"], row["last_error"]) == (0, None, None)
    assert len((await claim_events(pool, "ledger", 10)).claims) == 1


async def test_thread_that_could_not_start_is_tried_again_and_events_are_kept_meanwhile(
    queue: Harness, pool: Pool, tenant: SeededTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = subscriber_thread.SubscriberThread.start
    refused: list[bool] = []
    may_start = asyncio.Event()

    def start_late(thread: subscriber_thread.SubscriberThread) -> None:
        if not may_start.is_set():
            refused.append(True)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(subscriber_thread.SubscriberThread, "start", start_late)
    async with fed(pool, "ledger"):
        await eventually(lambda: refused)
        await until_registered(queue, tenant, "ledger")
        await queue.add(tenant)
        may_start.set()
        ledger = await module_of("ledger")
        await eventually(lambda: len(ledger.heard) == 1)


async def test_failure_that_cannot_be_written_keeps_neither_successes_nor_events_back(
    queue: Harness, pool: Pool, tenant: SeededTenant
) -> None:
    # No time in Postgres is so far away. The settings allow 30 days.
    async with fed(pool, "ledger", policy=RetryPolicy(schedule_s=(1e14,), jitter=0.0)):
        await until_registered(queue, tenant, "ledger")
        ledger = await module_of("ledger")
        ledger.behaviour["does"] = "raise"
        await queue.add(tenant)
        await eventually(lambda: ledger.begun)
        ledger.behaviour.clear()
        await queue.add(tenant, count=3)
        await eventually(lambda: len(ledger.heard) == 3)

        async def is_recorded() -> bool:
            return len(await rows_of(queue, tenant, "ledger")) == 1

        await until(is_recorded)
    # Its claim ends like that of a worker that died.
    (row,) = await rows_of(queue, tenant, "ledger")
    assert (row["state"], row["last_error"]) == ("waiting", None)


async def test_thread_is_stopped_whatever_the_last_words_to_the_database_raise(
    queue: Harness, pool: Pool, tenant: SeededTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> None:
        raise ValueError("no error of the database")

    with capture_logs() as logs:
        async with fed(pool, "ledger", policy=PATIENT):
            await until_registered(queue, tenant, "ledger")
            ledger = await module_of("ledger")
            ledger.behaviour["does"] = "wait"
            await queue.add(tenant)
            await eventually(lambda: ledger.begun)
            monkeypatch.setattr(subscriber_outcomes, "record_failed", refuse)
    await eventually(lambda: ledger.closed == [True])
    (told,) = [line for line in logs if line["event"] == "subscriber.not_drained"]
    assert told["error"] == "ValueError"


async def test_backlog_and_dead_events_are_measured_by_who_feeds(
    queue: Harness,
    pool: Pool,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(subscriber_feeder, "MEASURE_EVERY_S", 0.05)
    # One that cannot be made has a backlog too.
    environ = {"TALLYPOST_SECOND_WROD": "x"}
    async with fed(pool, "ledger", "second", policy=QUICK, environ=environ):
        await until_registered(queue, tenant, "ledger", "second")
        ledger = await module_of("ledger")
        ledger.behaviour["does"] = "raise"
        await queue.add(tenant, count=2)
        await queue.add(other_tenant)
        await eventually(lambda: (gauge("waiting", "second"), gauge("dead", "second")) == (3, 0))
        await eventually(lambda: (gauge("waiting", "ledger"), gauge("dead", "ledger")) == (0, 3))


async def test_one_that_cannot_be_loaded_is_told_with_each_registration(
    queue: Harness, pool: Pool, tenant: SeededTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriber_feeder, "REGISTER_EVERY_S", 0.05)
    with capture_logs() as logs:
        async with fed(pool, "ledger", environ={"TALLYPOST_LEDGER_WROD": "x"}):
            await eventually(
                lambda: sum(line["event"] == "subscriber.not_loaded" for line in logs) >= 3
            )
    told = [line for line in logs if line["event"] == "subscriber.not_loaded"]
    assert all("TALLYPOST_LEDGER_WROD is not a setting" in line["problem"] for line in told)
