"""Two subscribers that do as a test says, and feeders for them in the test's own process."""

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from tallypost_domain.db.pools import Pool
from tallypost_domain.subscribers import administration
from tallypost_domain.subscribers.types import SubscriberState
from tallypost_resilience.retry import RetryPolicy
from tallypost_telemetry.metrics import REGISTRY
from tallypost_worker import subscriber_feeder
from tallypost_worker.subscriber_feeder import Feeder
from tallypost_worker.subscriber_places import Places
from tests.integration.queue.harness import Harness
from tests.integration.worker.loops import until
from tests.support.database import SeededTenant
from tests.support.plugins import Plugins
from tests.support.worker import eventually

SOURCE = """
import asyncio
import threading
import time
from typing import Annotated

from msgspec import Meta, Struct

heard = []
begun = []
spans = {}
threads = set()
made = []
closed = []
behaviour = {}
gate = threading.Event()


class Settings(Struct, frozen=True):
    word: Annotated[str | None, Meta(description="What it does at first.")] = None


class Listener:
    name = "NAME"
    settings = Settings

    def __init__(self, settings):
        made.append(settings.word)
        behaviour.setdefault("does", settings.word)

    async def handle(self, event):
        threads.add(threading.current_thread().name)
        begun.append(event.id)
        began_at_s = time.monotonic()
        does = behaviour.get("does")
        if does == "raise":
            raise ValueError("canary-of-an-error")
        if does == "exit":
            raise SystemExit
        if does == "cancel":
            raise asyncio.CancelledError
        if does == "stop-loop":
            asyncio.get_running_loop().stop()
            await asyncio.sleep(60)
        if does == "linger":
            await asyncio.sleep(0.05)
            spans[event.id] = (began_at_s, time.monotonic())
        if does == "wait":
            await asyncio.sleep(60)
        if does == "ignore":
            while not gate.is_set():
                try:
                    await asyncio.sleep(0.01)
                except asyncio.CancelledError:
                    pass
        if does == "block":
            gate.wait()
        heard.append(event.id)

    async def close(self):
        closed.append(True)
"""
QUICK = RetryPolicy(schedule_s=(0.05, 0.05), jitter=0.0)
PATIENT = RetryPolicy(schedule_s=(3600.0, 3600.0), jitter=0.0)
AMPLE_S = 60.0
"""On a slow machine too, nobody who does well takes as long for an event."""
SHORT_S = 0.3


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorter waits between looks; what is decided there stays as it is."""
    monkeypatch.setattr(subscriber_feeder, "POLL_EVERY_S", 0.05)
    monkeypatch.setattr(subscriber_feeder, "_RETRY_S", 0.1)
    monkeypatch.setattr(subscriber_feeder, "_GRACE_S", 0.2)
    monkeypatch.setattr(subscriber_feeder, "_DRAIN_LIMIT_S", 0.5)
    monkeypatch.setattr(subscriber_feeder, "_CLOSE_LIMIT_S", 0.5)


@pytest.fixture(autouse=True)
def installed(plugins: Plugins) -> None:
    """Two subscribers, alike but for their names."""
    for name in ("ledger", "second"):
        plugins.install(
            name,
            SOURCE.replace("NAME", name),
            distribution=f"{name}-book",
            value=f"{name}_book:Listener",
            group="tallypost.events",
        )


@asynccontextmanager
async def fed(
    pool: Pool,
    *names: str,
    policy: RetryPolicy = QUICK,
    environ: Mapping[str, str] | None = None,
    ledger_timeout_s: float = AMPLE_S,
) -> AsyncIterator[None]:
    """Feed until the block ends, and then stop as a worker does."""
    places = Places()
    async with AsyncExitStack() as stack:
        for name in names:
            timeout_s = ledger_timeout_s if name == "ledger" else AMPLE_S
            feeder = Feeder(pool, name, environ or {}, policy, timeout_s, places)
            task = asyncio.create_task(feeder.run(), name=name)
            stack.push_async_callback(_stop, task)
        yield


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# Any: a module that the test wrote.
async def module_of(name: str) -> Any:
    """The module of a plugin, once its thread has imported and made it."""
    await eventually(lambda: getattr(sys.modules.get(f"{name}_book"), "made", None))
    return sys.modules[f"{name}_book"]


# Any: the same.
async def until_heard(module: Any, count: int) -> None:
    """Return once it has handled so many events, and no more than that."""
    await eventually(lambda: len(module.heard) >= count)
    assert len(module.heard) == count


async def states(queue: Harness, tenant: SeededTenant) -> dict[str, SubscriberState]:
    """How every subscriber does, by name."""
    async with queue.database.session("tp_cli", tenant.id) as session:
        found = await administration.list_subscribers_all_tenants(session)
    return {state.name: state for state in found}


async def until_registered(queue: Harness, tenant: SeededTenant, *names: str) -> None:
    """Return once a feeder has named them: from then on events are kept."""

    async def is_so() -> bool:
        return set(names) <= set(await states(queue, tenant))

    await until(is_so)


def counted(name: str) -> dict[str, float]:
    """Events of a subscriber in this process, by what came of them."""
    return {
        result: REGISTRY.get_sample_value(
            "tallypost_subscriber_events_total", {"subscriber": name, "result": result}
        )
        or 0
        for result in ("handled", "failed", "dead")
    }


def hanging(name: str) -> float | None:
    """1 while a subscriber is reported as hanging."""
    return REGISTRY.get_sample_value("tallypost_hanging_subscribers", {"subscriber": name})
