"""One subscriber misbehaves in every way; the worker's loop and the other subscriber go on."""

import threading

import pytest

from tallypost_domain.db.pools import Pool
from tallypost_domain.subscribers import administration
from tallypost_worker import subscriber_feeder
from tests.integration.queue.harness import Harness
from tests.integration.subscribers import stage
from tests.integration.subscribers.rows import rows_of
from tests.integration.subscribers.stage import (
    AMPLE_S,
    PATIENT,
    SHORT_S,
    SOURCE,
    counted,
    fed,
    hanging,
    module_of,
    states,
    until_heard,
    until_registered,
)
from tests.integration.worker.loops import until
from tests.support.database import SeededTenant
from tests.support.plugins import Plugins
from tests.support.worker import eventually

quick = stage.quick
installed = stage.installed


async def test_events_come_once_each_in_a_thread_of_its_own(
    queue: Harness, pool: Pool, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    async with fed(pool, "ledger", "second"):
        await until_registered(queue, tenant, "ledger", "second")
        await queue.add(tenant, count=40)
        await queue.add(other_tenant, count=40)
        wanted = {
            row["id"]
            for owner in (tenant, other_tenant)
            for row in await queue.fetch(owner, "SELECT id FROM events")
        }
        for name in ("ledger", "second"):
            module = await module_of(name)
            await until_heard(module, 80)
            assert set(module.heard) == wanted
            assert module.threads == {f"subscriber-{name}"}

        async def is_recorded() -> bool:
            return {state.waiting for state in (await states(queue, tenant)).values()} == {0}

        await until(is_recorded)
    assert (await module_of("ledger")).closed == [True]


@pytest.mark.parametrize(
    ("does", "kinds"),
    [
        ("raise", {"ValueError"}),
        ("exit", {"SystemExit"}),
        ("cancel", {"CancelledError"}),
        # The loop ends, and with it what it has under way, in either order; a new one is made.
        ("stop-loop", {"CancelledError", "ThreadEnded"}),
        ("wait", {"TimeoutError"}),
    ],
)
async def test_failing_event_is_retried_and_given_up_beside_one_that_does_well(
    queue: Harness,
    pool: Pool,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
    does: str,
    kinds: set[str],
) -> None:
    timeout_s = SHORT_S if does == "wait" else AMPLE_S
    async with fed(pool, "ledger", "second", ledger_timeout_s=timeout_s):
        await until_registered(queue, tenant, "ledger", "second")
        ledger, second = await module_of("ledger"), await module_of("second")
        ledger.behaviour["does"] = does
        before, others = counted("ledger"), counted("second")
        await queue.add(tenant)
        await queue.add(other_tenant)

        async def is_given_up() -> bool:
            found = await states(queue, tenant)
            return (found["ledger"].dead, found["second"].waiting) == (2, 0)

        await until(is_given_up)
        assert ledger.heard == []
        assert len(second.heard) == 2
        for owner in (tenant, other_tenant):
            (row,) = await rows_of(queue, owner, "ledger")
            assert row["attempt"] == 3
            assert row["last_error"] in kinds
        after = counted("ledger")
        assert after["failed"] - before["failed"] == 4
        assert after["dead"] - before["dead"] == 2
        assert counted("second") == others | {"handled": others["handled"] + 2}
        # It is well again, and somebody says so.
        ledger.behaviour.clear()
        async with queue.database.session("tp_cli", tenant.id) as session:
            assert await administration.retry_dead_all_tenants(session, "ledger") == 2
        await eventually(lambda: len(ledger.heard) >= 2)


@pytest.mark.parametrize("does", ["ignore", "block"])
async def test_who_hangs_is_listed_and_gets_no_more_until_it_is_back(
    queue: Harness, pool: Pool, tenant: SeededTenant, other_tenant: SeededTenant, does: str
) -> None:
    async with fed(pool, "ledger", "second", policy=PATIENT, ledger_timeout_s=SHORT_S):
        await until_registered(queue, tenant, "ledger", "second")
        ledger, second = await module_of("ledger"), await module_of("second")
        ledger.behaviour["does"] = does
        count = subscriber_feeder.IN_FLIGHT + 10
        await queue.add(tenant, count=count)
        await queue.add(other_tenant)

        async def hangs() -> bool:
            found = (await states(queue, tenant))["ledger"]
            return found.is_hanging and len(second.heard) == count + 1

        await until(hangs)
        assert hanging("ledger") == 1
        assert hanging("second") == 0
        assert len(ledger.begun) <= subscriber_feeder.IN_FLIGHT
        waiting = await rows_of(queue, tenant, "ledger") + await rows_of(
            queue, other_tenant, "ledger"
        )
        assert len(waiting) == count + 1
        assert sum(row["attempt"] for row in waiting) <= subscriber_feeder.IN_FLIGHT
        ledger.behaviour.clear()
        ledger.gate.set()

        async def is_back() -> bool:
            found = (await states(queue, tenant))["ledger"]
            # What it had at the time is handled late, and need not come again.
            return not found.is_hanging and found.waiting == 0

        await until(is_back)
        assert hanging("ledger") == 0
        assert sorted(ledger.heard) == sorted(second.heard)


async def test_worker_ends_beside_one_that_never_comes_back(
    queue: Harness, pool: Pool, tenant: SeededTenant
) -> None:
    async with fed(pool, "ledger", policy=PATIENT):
        await until_registered(queue, tenant, "ledger")
        ledger = await module_of("ledger")
        ledger.behaviour["does"] = "block"
        await queue.add(tenant)
        await eventually(lambda: ledger.begun)
    (thread,) = [item for item in threading.enumerate() if item.name == "subscriber-ledger"]
    # Python would wait for it otherwise.
    assert thread.daemon
    ledger.gate.set()
    await eventually(lambda: not thread.is_alive())


async def test_what_is_under_way_when_the_worker_ends_comes_again_uncounted(
    queue: Harness, pool: Pool, tenant: SeededTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriber_feeder, "_DRAIN_LIMIT_S", 0.1)
    async with fed(pool, "ledger", policy=PATIENT):
        await until_registered(queue, tenant, "ledger")
        ledger = await module_of("ledger")
        ledger.behaviour["does"] = "wait"
        await queue.add(tenant)
        await eventually(lambda: ledger.begun)
    (row,) = await rows_of(queue, tenant, "ledger")
    assert (row["attempt"], row["last_error"]) == (0, None)
    ledger.behaviour.clear()
    async with fed(pool, "ledger", policy=PATIENT):
        await eventually(lambda: len(ledger.heard) == 1)


@pytest.mark.parametrize("word", ["uninstalled", "ledger", "raising"])
async def test_one_that_cannot_be_made_loses_no_event_and_holds_up_nobody(
    queue: Harness, pool: Pool, tenant: SeededTenant, plugins: Plugins, word: str
) -> None:
    plugins.install(
        "raising",
        SOURCE.replace("NAME", "raising").replace("made.append(settings.word)", "1 / 0"),
        distribution="raising-book",
        value="raising_book:Listener",
        group="tallypost.events",
    )
    # A variable that no field has is a mistake in the settings of `ledger`.
    environ = {"TALLYPOST_LEDGER_WROD": "x"}
    async with fed(pool, word, "second", environ=environ):
        await until_registered(queue, tenant, word, "second")
        await queue.add(tenant)
        second = await module_of("second")
        await eventually(lambda: second.heard)
        (row,) = await rows_of(queue, tenant, word)
        assert (row["state"], row["attempt"]) == ("waiting", 0)


async def test_settings_come_from_its_own_variables(
    queue: Harness, pool: Pool, tenant: SeededTenant
) -> None:
    async with fed(pool, "ledger", environ={"TALLYPOST_LEDGER_WORD": "hello"}):
        assert (await module_of("ledger")).made == ["hello"]


async def test_database_that_is_away_costs_time_and_no_event(
    queue: Harness, pool: Pool, tenant: SeededTenant
) -> None:
    async with fed(pool, "ledger"):
        await until_registered(queue, tenant, "ledger")
        ledger = await module_of("ledger")
        async with queue.database.connect("tp_worker") as connection:
            await connection.fetch(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE usename = current_user AND pid <> pg_backend_pid()"
            )
        await queue.add(tenant)
        await eventually(lambda: ledger.heard)

        async def is_recorded() -> bool:
            return await rows_of(queue, tenant, "ledger") == []

        await until(is_recorded)
