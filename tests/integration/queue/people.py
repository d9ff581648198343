"""A person of a tenant who looks at its queue and decides, with the console's login."""

from collections.abc import Awaitable, Callable, Collection
from typing import Any
from uuid import UUID

from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_core.ids import new_id
from tallypost_domain.audit.types import Actor
from tallypost_domain.emails.views import Page
from tallypost_domain.queue import dead_letters, requeueing, waiting
from tallypost_domain.queue.dead_letters import DeadLetter, DeadLetterCount, DeadLetterFilter
from tallypost_domain.queue.requeueing import Requeued
from tallypost_domain.queue.waiting import QueueCounts, QueuePage, QueueState
from tallypost_providers.types import Mode
from tests.integration.queue.harness import Harness
from tests.support.database import PEPPERS, SeededTenant

EVERYTHING = DeadLetterFilter()
SOMEBODY = Actor(kind="person", id=new_id(), ip_address="192.0.2.1")


class Person(Struct, frozen=True):
    """Each call is one transaction in the tenant, as one request to the console is."""

    queue: Harness
    tenant: SeededTenant
    mode: Mode = "live"
    actor: Actor = SOMEBODY

    async def see(
        self, state: QueueState | None = None, *, limit: int = 100, after: UUID | None = None
    ) -> QueuePage:
        """Look at what waits."""
        async with self.queue.database.session("tp_console", self.tenant.id) as session:
            return await waiting.list_queue(
                session, self.tenant.id, self.mode, state=state, limit=limit, after=after
            )

    async def count_waiting(self) -> QueueCounts:
        """Count what waits."""
        async with self.queue.database.session("tp_console", self.tenant.id) as session:
            return await waiting.count_queue(session, self.tenant.id, self.mode)

    async def dead(
        self,
        wanted: DeadLetterFilter = EVERYTHING,
        *,
        limit: int = 100,
        after: UUID | None = None,
    ) -> Page[DeadLetter]:
        """Look at dead letters."""
        async with self.queue.database.session("tp_console", self.tenant.id) as session:
            return await dead_letters.list_dead_letters(
                session, self.tenant.id, self.mode, wanted, limit=limit, after=after
            )

    async def count(self, wanted: DeadLetterFilter = EVERYTHING) -> DeadLetterCount:
        """Count dead letters."""
        async with self.queue.database.session("tp_console", self.tenant.id) as session:
            return await dead_letters.count_dead_letters(session, self.tenant.id, self.mode, wanted)

    async def causes(self) -> tuple[str, ...]:
        """Causes to choose from."""
        async with self.queue.database.session("tp_console", self.tenant.id) as session:
            return await dead_letters.list_causes(session, self.tenant.id, self.mode)

    async def requeue(self, ids: Collection[UUID]) -> Requeued:
        """Send these dead letters again."""
        async with self.queue.database.session("tp_console", self.tenant.id) as session:
            return await requeueing.requeue(
                session, self.tenant.id, self.mode, ids, actor=self.actor, peppers=PEPPERS
            )

    async def requeue_all(self) -> Requeued:
        """Send all dead letters again that one page shows."""
        return await self.requeue([letter.id for letter in (await self.dead()).items])

    async def requeue_matching(
        self, start: UUID, wanted: DeadLetterFilter = EVERYTHING, *, limit: int = 1_000
    ) -> Requeued:
        """Send what matches again, one step."""
        async with self.queue.database.session("tp_console", self.tenant.id) as session:
            return await requeueing.requeue_matching(
                session,
                self.tenant.id,
                self.mode,
                wanted,
                start=start,
                limit=limit,
                actor=self.actor,
                peppers=PEPPERS,
            )

    async def resend(self, *email_ids: UUID) -> Requeued:
        """Send parked emails again, though they may arrive twice."""
        async with self.queue.database.session("tp_console", self.tenant.id) as session:
            return await requeueing.resend_unconfirmed(
                session,
                self.tenant.id,
                self.mode,
                dict.fromkeys(email_ids),
                actor=self.actor,
                peppers=PEPPERS,
            )


async def let_fail(
    queue: Harness,
    *tenants: SeededTenant,
    outcome: str = "unavailable",
    lane: str = "transactional",
    **by_address: str,
) -> None:
    """Use up the attempts of everything that is due; by_address answers by local part."""
    worker = await queue.start_worker()
    # The policy of the harness allows two retries.
    for _ in range(3):
        claims = await queue.hand_over(worker, *tenants, lane=lane)
        for claim in claims:
            await queue.record(worker, await queue.settle(worker, claim, outcome, **by_address))
        for tenant in tenants:
            for claim in claims:
                if claim.tenant_id == tenant.id:
                    await queue.make_due(tenant, claim.email_id)


# Any: what a statement is called with, and what it answers.
def interrupt(session: AsyncSession, meanwhile: Callable[[], Awaitable[None]]) -> None:
    """Let something happen right after the first statement of a session."""
    execute = session.execute

    async def execute_first(*arguments: Any, **options: Any) -> Any:
        # The class's own is back.
        del session.execute
        answer = await execute(*arguments, **options)
        await meanwhile()
        return answer

    session.execute = execute_first  # type: ignore[method-assign]  # Of this session alone.
