"""A delivery loop with providers of the test's own, on a real queue."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from msgspec import Struct

from tallypost_core.ids import new_id
from tallypost_core.object_store import ObjectStore
from tallypost_domain.db.pools import create_pool
from tallypost_domain.domains.signing import SigningKeyDirectory
from tallypost_domain.emails.types import Lane
from tallypost_domain.routing.directory import RoutingDirectory
from tallypost_domain.routing.types import OpenedAccount
from tallypost_providers.base import same_for_all
from tallypost_providers.types import (
    Capabilities,
    Outcome,
    OutgoingEmail,
    Provider,
    SendResult,
)
from tallypost_resilience.breaker import Breaker
from tallypost_resilience.circuit import BreakerConfig
from tallypost_resilience.limiter import LocalLimiter
from tallypost_resilience.retry import RetryPolicy
from tallypost_worker.assembly import Assembler
from tallypost_worker.delivery import Delivery
from tallypost_worker.delivery_loop import DeliveryLoop
from tallypost_worker.delivery_samples import DeliverySamples
from tallypost_worker.fleet import Fleet, judge_handover
from tallypost_worker.heartbeat import Heartbeat
from tallypost_worker.look_ups import LookUpWaits
from tallypost_worker.recorder import Recorder
from tallypost_worker.tenant_routes import RouteBook
from tallypost_worker.wakeups import DueTenants
from tests.integration.queue.harness import Harness
from tests.support.database import KEY_RING, PEPPERS, SeededTenant

QUICK = RetryPolicy(schedule_s=(0.05, 0.05, 0.05), jitter=0.0)
NEVER_OPENS = BreakerConfig(min_calls=1_000_000)

Answer = Callable[[OutgoingEmail], SendResult]


async def until(is_so: Callable[[], Awaitable[object]], *, within_s: float = 30.0) -> None:
    """Return once a condition of the database holds; within_s only bounds a hang."""
    async with asyncio.timeout(within_s):
        while not await is_so():  # noqa: ASYNC110 - what is waited for is in the database
            await asyncio.sleep(0.02)


def says(outcome: Outcome) -> Answer:
    """An answer that is the same for every recipient."""
    return lambda email: same_for_all(email, outcome, phase="final")


class FakeProvider:
    """A provider that gives its answers one after the other, and the last one for ever."""

    name = "fake"
    account = "fake"
    rate_per_s: float | None = None
    capabilities = Capabilities(
        raw_mime=True,
        keeps_message_id=True,
        keeps_envelope=True,
        signs_dkim=False,
        idempotent=False,
        lookup=False,
        events=False,
        reaches_outside=True,
    )

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers or [says(Outcome.ACCEPTED)])
        self.handovers: list[OutgoingEmail] = []
        self.obstacle: str | None = None
        self.takes_s = 0.0
        self.gate = asyncio.Event()
        self.gate.set()

    def find_obstacle(self, _email: OutgoingEmail) -> str | None:
        """What a test has put in the way."""
        return self.obstacle

    async def send(self, email: OutgoingEmail, timeout_s: float) -> SendResult:
        """Take note of the email, wait while the gate is closed, and answer."""
        assert timeout_s > 0
        self.handovers.append(email)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        await self.gate.wait()
        await asyncio.sleep(self.takes_s)
        return answer(email)

    async def close(self) -> None:
        """Nothing to give back."""


def no_accounts(account: OpenedAccount) -> Provider:
    """For tests in which no tenant has an account of its own."""
    raise AssertionError(f"nobody makes account {account.id}")


class Running(Struct, frozen=True):
    """The parts of a loop that runs."""

    loop: DeliveryLoop
    recorder: Recorder
    heartbeat: Heartbeat
    due: DueTenants
    samples: DeliverySamples
    stop: asyncio.Event


@asynccontextmanager
async def running_loop(
    url: str,
    provider: Provider,
    objects: ObjectStore,
    *,
    others: Sequence[Provider] = (),
    breaker: BreakerConfig = NEVER_OPENS,
    beat_url: str | None = None,
    concurrency: int = 5,
    policy: RetryPolicy = QUICK,
    look_up_waits: LookUpWaits | None = None,
    create_own: Callable[[OpenedAccount], Provider] = no_accounts,
    timeout_s: float = 25.0,
) -> AsyncIterator[Running]:
    """Deliver until the block ends, and then drain, as a worker process does.

    url logs in as tp_deliver; beat_url is where the heart beats, if elsewhere. others are asked
    after provider; create_own makes the accounts of tenants; timeout_s is of a handover,
    longer than a test holds one back.
    """
    worker_id = new_id()
    pool = await create_pool(url, size=4, app="test")
    heartbeat = Heartbeat(beat_url or url, worker_id)
    due = DueTenants(pool, beat_url or url)
    recorder = Recorder(pool, worker_id, policy, on_due_again=due.note_claim)
    samples = DeliverySamples(worker_id)
    fleet = Fleet(
        [provider, *others],
        concurrency=concurrency,
        breaker=Breaker("test", breaker, judge=judge_handover),
        limiter=LocalLimiter(),
    )
    routes = RouteBook(RoutingDirectory(pool, KEY_RING), fleet, create_own)
    loop = DeliveryLoop(
        pool,
        worker_id,
        PEPPERS,
        delivery=Delivery(
            worker_id,
            fleet=fleet,
            routes=routes,
            assembler=Assembler(pool, objects, SigningKeyDirectory(pool, KEY_RING)),
            recorder=recorder,
            heartbeat=heartbeat,
            samples=samples,
            timeout_s=timeout_s,
            look_up_waits=look_up_waits,
        ),
        recorder=recorder,
        heartbeat=heartbeat,
        due=due,
        concurrency=concurrency,
    )
    stop, beating = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(heartbeat.run(beating))
        background: Sequence[asyncio.Task[None]] = [
            tasks.create_task(recorder.run()),
            tasks.create_task(due.listen(stop)),
            tasks.create_task(due.refresh(stop)),
        ]
        claiming = tasks.create_task(loop.run(stop))
        try:
            yield Running(loop, recorder, heartbeat, due, samples, stop)
        finally:
            stop.set()
            for lane in Lane:
                due.wake(lane)
            await claiming
            async with asyncio.timeout(20):
                loop.begin_drain()
                await loop.wait_until_drained()
                await recorder.wait_until_idle()
                await loop.return_unsent()
            await routes.close()
            for task in background:
                task.cancel()
            beating.set()
    await heartbeat.sign_off()
    pool.terminate()


async def all_sent(queue: Harness, *tenants: SeededTenant) -> None:
    """Return once nothing of these tenants is in the queue any more."""

    async def is_done() -> bool:
        left: Sequence[object] = [
            row for owner in tenants for row in await queue.fetch(owner, "SELECT 1 FROM send_queue")
        ]
        return not left

    await until(is_done)
