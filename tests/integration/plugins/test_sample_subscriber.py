"""A subscriber that only pip has told Tallypost about: a worker feeds it beside its mail."""

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from msgspec import Struct

from tallypost_cli.ports import find_free_port
from tallypost_core import clock
from tallypost_domain.subscribers.feeding import register
from tallypost_simulators.smtp_reception import ReceivedMessage
from tallypost_simulators.smtp_sink import SMTPSink
from tests.integration.queue.harness import Harness, hours
from tests.integration.subscribers.rows import make_due, rows_of
from tests.integration.worker.loops import until
from tests.support.database import SeededTenant
from tests.support.plugins import LISTENER, Plugins
from tests.support.programs import Program
from tests.support.worker import eventually, worker_environment

CANARY = "canary-of-an-error"
_LIMIT_S = 120
_RETRIES = 2

Site = Callable[..., Any]


class RunningSite(Struct, frozen=True):
    """A worker process with the sample and with a second subscriber."""

    path: Path
    behaviour: Path
    second_path: Path
    relayed: list[ReceivedMessage]
    program: Program
    environment: dict[str, str]

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What the sample wrote."""
        text = self.path.read_text() if self.path.exists() else ""
        return [json.loads(line) for line in text.splitlines()]

    @property
    def second_ids(self) -> list[UUID]:
        """Events that the second subscriber had."""
        text = self.second_path.read_text() if self.second_path.exists() else ""
        return [UUID(line) for line in text.splitlines()]

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`tallypost plugins` as an operator of this installation calls it."""
        return subprocess.run(
            [sys.executable, "-P", "-m", "tallypost_cli", "plugins", *arguments],
            env=os.environ | self.environment | {"COLUMNS": "300"},
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=False,
        )

    def listed(self, name: str = "jsonl") -> dict[str, Any]:
        """What `tallypost plugins --json` tells of a subscriber."""
        told = self.call("--json")
        (found,) = (item for item in json.loads(told.stdout)["subscribers"] if item["name"] == name)
        return dict(found)


@pytest.fixture
def site(queue: Harness, redis_url: str, sample_subscriber_folder: Path, tmp_path: Path) -> Site:
    """Starts a worker process that finds both as an installation does: by their entry points."""

    @asynccontextmanager
    async def running(timeout_s: str = "20", **overrides: str) -> AsyncIterator[RunningSite]:
        path, behaviour, second = (tmp_path / name for name in ("events", "behaviour", "second"))
        (tmp_path / "plugins").mkdir(exist_ok=True)
        folder = tmp_path / "plugins"
        if not any(folder.iterdir()):
            Plugins(folder).install(
                *("listener", LISTENER),
                distribution="listener-post",
                value="listener_post:Listener",
                group="tallypost.events",
            )
        relayed: list[ReceivedMessage] = []

        async def keep(message: ReceivedMessage) -> None:
            relayed.append(message)

        async with SMTPSink(keep) as sink:
            port = find_free_port()
            settings = {
                "PYTHONPATH": f"{sample_subscriber_folder}{os.pathsep}{folder}",
                "TALLYPOST_SUBSCRIBERS": "jsonl,listener",
                "TALLYPOST_JSONL_PATH": str(path),
                "TALLYPOST_JSONL_BEHAVIOUR_FILE": str(behaviour),
                "TALLYPOST_LISTENER_FILE": str(second),
                "TALLYPOST_SUBSCRIBER_TIMEOUT_S": timeout_s,
                "TALLYPOST_SUBSCRIBER_RETRY_SCHEDULE_S": ",".join(["0.2"] * _RETRIES),
                **overrides,
            }
            environment = worker_environment(
                queue.database,
                redis_url=redis_url,
                objects=tmp_path,
                smtp_port=sink.port,
                TALLYPOST_WORKER_PORT=str(port),
                **settings,
            )
            program = Program("worker", "tallypost_worker", environment, port, tmp_path)
            program.start()
            operator = settings | {"TALLYPOST_DATABASE_CLI_URL": queue.database.url("tp_cli")}
            try:
                yield RunningSite(path, behaviour, second, relayed, program, operator)
            finally:
                # Beside the relay, which the worker takes leave of.
                await asyncio.to_thread(program.stop)

    return running


async def until_named(queue: Harness, *names: str) -> None:
    """Return once a worker has named them: from then on events are kept."""

    async def is_so() -> bool:
        async with queue.database.connect("tp_worker") as connection:
            rows = await connection.fetch("SELECT name FROM event_subscribers")
        return set(names) <= {row["name"] for row in rows}

    await until(is_so, within_s=60)


async def until_started(program: Program, starts: int) -> None:
    """Return once it was started so often."""
    await eventually(lambda: program.starts >= starts, within_s=60)


async def until_sent(queue: Harness, *tenants: SeededTenant) -> None:
    """Return once nothing of theirs is due or under way."""

    async def is_done() -> bool:
        left = [await queue.fetch(owner, "SELECT 1 FROM send_queue") for owner in tenants]
        return not any(left)

    await until(is_done, within_s=60)


async def until_told(queue: Harness, name: str, *tenants: SeededTenant) -> None:
    """Return once a subscriber has handled all that there is."""

    async def is_done() -> bool:
        return not any([await rows_of(queue, owner, name) for owner in tenants])

    await until(is_done, within_s=60)


async def stored(queue: Harness, tenant: SeededTenant) -> dict[str, tuple[str, str]]:
    """Type and subject of a tenant's events by id, as JSON has them."""
    rows = await queue.fetch(tenant, "SELECT id, type, subject_id FROM events")
    return {str(row["id"]): (row["type"], str(row["subject_id"])) for row in rows}


async def test_events_of_every_tenants_mail_come_to_both_subscribers(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant, site: Site
) -> None:
    async with site() as running:
        await until_named(queue, "jsonl", "listener")
        await queue.add(tenant, count=5, to=["a@r.test", "b@r.test"])
        await queue.add(other_tenant)
        await queue.add(other_tenant, mode="test")
        await until_sent(queue, tenant, other_tenant)
        for name in ("jsonl", "listener"):
            await until_told(queue, name, tenant, other_tenant)
        assert len(running.relayed) == 6
        listed = await asyncio.to_thread(running.listed)
    lines = running.lines
    for owner, modes in ((tenant, {"live"}), (other_tenant, {"live", "test"})):
        own = [line for line in lines if line["tenant_id"] == str(owner.id)]
        assert {line["id"]: (line["type"], line["subject_id"]) for line in own} == await stored(
            queue, owner
        )
        assert {line["mode"] for line in own} == modes
        assert {line["type"] for line in own} == {"email.queued", "email.sent"}
    assert len({line["id"] for line in lines}) == len(lines)
    assert sorted(map(str, running.second_ids)) == sorted(line["id"] for line in lines)
    assert (listed["distribution"], listed["version"]) == ("tallypost-jsonl", "1.0.0")
    assert (listed["is_named"], listed["problem"]) == (True, None)
    assert {item["variable"]: item["state"] for item in listed["settings"]} == {
        "TALLYPOST_JSONL_PATH": "set",
        "TALLYPOST_JSONL_TYPES": "unset",
        "TALLYPOST_JSONL_BEHAVIOUR_FILE": "set",
    }
    state = listed["state"]
    assert (state["waiting"], state["dead"], state["is_hanging"]) == (0, 0, False)


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        ("raise", "ConnectionRefusedError"),
        pytest.param("wait", "TimeoutError", marks=[pytest.mark.slow]),
        ("exit", "SystemExit"),
    ],
)
async def test_failing_sample_holds_up_nobody_and_is_given_up_until_somebody_retries(
    queue: Harness,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
    site: Site,
    behaviour: str,
    kind: str,
) -> None:
    async with site(timeout_s="3" if behaviour == "wait" else "20") as running:
        running.behaviour.write_text(behaviour)
        await until_named(queue, "jsonl", "listener")
        await queue.add(tenant, count=2)
        await queue.add(other_tenant)
        await until_sent(queue, tenant, other_tenant)
        await until_told(queue, "listener", tenant, other_tenant)
        assert len(running.relayed) == 3
        assert running.lines == []

        async def is_given_up() -> bool:
            rows = await rows_of(queue, tenant, "jsonl")
            rows += await rows_of(queue, other_tenant, "jsonl")
            return Counter(row["state"] for row in rows) == {"dead": 6}

        await until(is_given_up, within_s=60)
        (row, *_) = await rows_of(queue, other_tenant, "jsonl")
        assert (row["attempt"], row["last_error"]) == (_RETRIES + 1, kind)
        state = (await asyncio.to_thread(running.listed))["state"]
        assert (state["waiting"], state["dead"], state["last_error"]) == (0, 6, kind)
        running.behaviour.unlink()
        retried = await asyncio.to_thread(running.call, "retry", "jsonl")
        assert retried.stdout == "Dead events of jsonl that are due again: 6\n"
        await until_told(queue, "jsonl", tenant, other_tenant)
    wanted = {*await stored(queue, tenant), *await stored(queue, other_tenant)}
    assert {line["id"] for line in running.lines} == wanted
    assert CANARY not in running.program.log_path.read_text()


@pytest.mark.slow
async def test_sample_that_blocks_its_thread_is_shown_and_holds_up_nobody(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant, site: Site
) -> None:
    async with site(timeout_s="3", TALLYPOST_SUBSCRIBER_RETRY_SCHEDULE_S="3600") as running:
        running.behaviour.write_text("block")
        await until_named(queue, "jsonl", "listener")
        await queue.add(tenant, count=20)
        await queue.add(other_tenant, count=20)
        await until_sent(queue, tenant, other_tenant)
        await until_told(queue, "listener", tenant, other_tenant)
        assert len(running.relayed) == 40
        assert running.lines == []

        async def hangs() -> bool:
            listed = await asyncio.to_thread(running.listed)
            return bool(listed["state"]["is_hanging"])

        await until(hangs, within_s=60)
        shown = await asyncio.to_thread(running.call)
        row = next(line for line in shown.stdout.splitlines() if line.startswith("│ jsonl "))
        assert "ago, hangs" in row
        running.behaviour.unlink()
        # Late is not lost: what it had at the time counts as handled.
        await until_told(queue, "jsonl", tenant, other_tenant)
        assert not (await asyncio.to_thread(running.listed))["state"]["is_hanging"]
    wanted = {*await stored(queue, tenant), *await stored(queue, other_tenant)}
    assert {line["id"] for line in running.lines} == wanted


async def test_event_of_a_worker_that_was_killed_comes_again(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant, site: Site
) -> None:
    async with site() as running:
        running.behaviour.write_text("wait")
        await until_named(queue, "jsonl", "listener")
        await queue.add(tenant)
        await queue.add(other_tenant)

        async def is_under_way() -> bool:
            rows = await rows_of(queue, tenant, "jsonl")
            rows += await rows_of(queue, other_tenant, "jsonl")
            return len(rows) == 4 and all(row["attempt"] == 1 for row in rows)

        await until(is_under_way, within_s=60)
        assert await asyncio.to_thread(running.program.kill)
        running.behaviour.unlink()
        await eventually(lambda: running.program.starts == 2)
        for owner in (tenant, other_tenant):
            # As if the lease of the one that was killed were over.
            await make_due(queue, owner, "jsonl")
        await until_told(queue, "jsonl", tenant, other_tenant)
    wanted = {*await stored(queue, tenant), *await stored(queue, other_tenant)}
    assert sorted(line["id"] for line in running.lines) == sorted(wanted)


async def test_event_that_ends_the_process_is_given_up_and_no_other_pays_for_it(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant, site: Site, tmp_path: Path
) -> None:
    async with queue.database.pool("tp_worker") as pool:
        await register(pool, "jsonl", is_hanging=None)
    later = (clock.utc_now() + hours(1)).isoformat()
    await queue.add(tenant, count=5, scheduled_at=later)
    await queue.add(other_tenant, count=5, scheduled_at=later)
    wanted = {*await stored(queue, tenant), *await stored(queue, other_tenant)}
    poison = min(await stored(queue, tenant))
    # Where the site has it; the first event comes as soon as the worker is there.
    (tmp_path / "behaviour").write_text(f"crash {poison}")
    async with site(TALLYPOST_SUBSCRIBER_RETRY_SCHEDULE_S="0.2") as running:
        # Once among all others, and once alone.
        for starts in (2, 3):
            await until_started(running.program, starts)
            for owner in (tenant, other_tenant):
                # As if the leases of the one that crashed were over.
                await make_due(queue, owner, "jsonl")

        async def is_over() -> bool:
            state = (await asyncio.to_thread(running.listed))["state"]
            return (state["waiting"], state["dead"]) == (0, 1)

        await until(is_over, within_s=60)
        assert running.program.starts == 3
        (row,) = await rows_of(queue, tenant, "jsonl")
    assert (str(row["event_id"]), row["last_error"]) == (poison, "WorkerLost")
    assert {line["id"] for line in running.lines} == wanted - {poison}


async def test_worker_delivers_although_a_named_subscriber_is_uninstalled(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant, site: Site
) -> None:
    async with site(PYTHONPATH="") as running:
        await until_named(queue, "jsonl", "listener")
        await queue.add(tenant)
        await queue.add(other_tenant)
        await until_sent(queue, tenant, other_tenant)
        assert len(running.relayed) == 2
        told = await asyncio.to_thread(running.call)
    assert told.returncode == 1
    assert (
        "TALLYPOST_SUBSCRIBERS names what cannot be loaded or made: jsonl, listener." in told.stderr
    )
    # Its events are kept: once it is back it is told of them all.
    async with site() as running:
        await until_told(queue, "jsonl", tenant, other_tenant)
        wanted = {*await stored(queue, tenant), *await stored(queue, other_tenant)}
        assert {line["id"] for line in running.lines} == wanted
