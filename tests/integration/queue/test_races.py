"""Whoever comes first wins, the other learns of it, and nobody waits for each other for ever."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_core import clock
from tallypost_domain.db.pools import transaction
from tallypost_domain.db.sessions import SessionMaker, tenant_session
from tallypost_domain.emails.errors import EmailNotScheduled
from tallypost_domain.emails.service import cancel, reschedule
from tallypost_domain.queue.claims import LEASE_S, release_claims
from tallypost_domain.queue.sweeps import sweep_abandoned
from tallypost_domain.queue.types import Claim, Settlement
from tallypost_providers.types import Outcome
from tests.integration.queue.harness import POLICY, Harness, hours, settlement
from tests.support.database import PEPPERS, SeededTenant

ROUNDS = 40

Change = Callable[[AsyncSession, UUID, UUID], Awaitable[None]]


async def _cancel(session: AsyncSession, tenant_id: UUID, email_id: UUID) -> None:
    await cancel(session, tenant_id, "live", email_id)


async def _postpone(session: AsyncSession, tenant_id: UUID, email_id: UUID) -> None:
    await reschedule(session, tenant_id, "live", email_id, clock.utc_now() + hours(2))


async def _is_done(
    sessions: SessionMaker, tenant: SeededTenant, email_id: UUID, change: Change
) -> bool:
    try:
        async with tenant_session(sessions, tenant.id) as session:
            await change(session, tenant.id, email_id)
    except EmailNotScheduled:
        return False
    return True


async def _add_scheduled_and_due(
    queue: Harness, sessions: SessionMaker, tenant: SeededTenant, count: int
) -> tuple[UUID, ...]:
    later = (clock.utc_now() + hours(1)).isoformat()
    added = await queue.add(tenant, count, scheduled_at=later)
    async with tenant_session(sessions, tenant.id) as session:
        for email_id in added:
            await reschedule(session, tenant.id, "live", email_id, clock.utc_now() - hours(1))
    return added


@pytest.mark.parametrize("change", [_cancel, _postpone])
async def test_of_a_claim_and_a_change_of_plan_exactly_one_wins(
    queue: Harness, tenant: SeededTenant, change: Change
) -> None:
    worker = await queue.start_worker()
    claimed: list[UUID] = []
    changed: list[UUID] = []
    next_one = (
        "SELECT email_id FROM send_queue WHERE state = 'waiting' AND due_at <= now() "
        "ORDER BY due_at, email_id LIMIT 1"
    )
    async with queue.database.sessions("tp_api") as sessions:
        added = await _add_scheduled_and_due(queue, sessions, tenant, ROUNDS)
        while rows := await queue.fetch(tenant, next_one):
            # Both go for the same one, unless the claim finds it locked and takes the next.
            email_id = rows[0]["email_id"]
            claims, is_done = await asyncio.gather(
                queue.claim(worker, tenant, quota=1), _is_done(sessions, tenant, email_id, change)
            )
            claimed += [claim.email_id for claim in claims]
            changed += [email_id] if is_done else []
            assert claims or is_done
            assert (email_id in claimed) is not is_done
    assert len(claimed) + len(changed) == len(added)
    assert {*claimed, *changed} == set(added)
    for email_id in changed:
        state = await queue.state(tenant, email_id)
        assert state == (None if change is _cancel else "waiting")
    for email_id in claimed:
        assert await queue.state(tenant, email_id) == "claimed"
        assert await queue.statuses(tenant, email_id) == {
            "first": "scheduled",
            "email": "scheduled",
        }


async def test_two_cancellations_at_once_cancel_once(queue: Harness, tenant: SeededTenant) -> None:
    later = (clock.utc_now() + hours(1)).isoformat()
    async with queue.database.sessions("tp_api") as sessions:
        for email_id in await queue.add(tenant, 5, scheduled_at=later):
            answers = await asyncio.gather(
                *(_is_done(sessions, tenant, email_id, _cancel) for _ in range(3)),
                _is_done(sessions, tenant, email_id, _postpone),
            )
            assert sum(answers[:3]) == 1
            # An event bears the time at which its transaction began, so their order is open.
            assert sorted(await queue.events(tenant, email_id)) == [
                "email.canceled",
                *(["email.rescheduled"] if answers[3] else []),
            ]


async def test_claim_that_is_given_back_can_be_canceled_again(
    queue: Harness, tenant: SeededTenant
) -> None:
    worker = await queue.start_worker()
    async with queue.database.sessions("tp_api") as sessions:
        (email_id,) = await _add_scheduled_and_due(queue, sessions, tenant, 1)
        claims = await queue.claim(worker, tenant)
        assert not await _is_done(sessions, tenant, email_id, _cancel)
        await release_claims(queue.pool, worker, claims)
        assert await _is_done(sessions, tenant, email_id, _cancel)
    assert await queue.mark(worker, *claims) == ()
    assert await queue.statuses(tenant, email_id) == {"first": "canceled", "email": "canceled"}


async def test_call_that_waits_for_one_row_holds_none_that_comes_after_it(
    queue: Harness, tenant: SeededTenant
) -> None:
    worker = await queue.start_worker()
    first, last = sorted(await queue.add(tenant, 2))
    claims = {claim.email_id: claim for claim in await queue.claim(worker, tenant)}
    await queue.mark(worker, claims[last])
    result = await queue.settle(worker, claims[last], "accepted")
    lock = "SELECT 1 FROM send_queue WHERE email_id = $1 FOR UPDATE"
    before = await _deadlocks(queue)
    async with transaction(queue.pool, [tenant.id]) as connection:
        await connection.execute(lock, first)
        # Its result is for the last row and its mark for the first: it waits there, first of all.
        call = asyncio.create_task(queue.record(worker, result, claims=[claims[first]]))
        await _wait_until_one_waits(queue)
        await connection.execute(lock, last)
        assert not call.done()
    recorded = await call
    assert [claim.email_id for claim in recorded.marked] == [first]
    assert await queue.state(tenant, first) == "handing_over"
    assert await queue.statuses(tenant, last) == {"first": "sent", "email": "sent"}
    assert await _deadlocks(queue) == before


async def _wait_until_one_waits(queue: Harness) -> None:
    blocked = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"
    async with asyncio.timeout(10):
        while not await queue.reader.fetchval(blocked):  # noqa: ASYNC110 - the database's locks
            await asyncio.sleep(0.002)


class Crowd:
    """Workers, a tenant's programs and sweepers, all after the same rows."""

    def __init__(
        self, queue: Harness, sessions: SessionMaker, tenants: tuple[SeededTenant, SeededTenant]
    ) -> None:
        self._queue = queue
        self._sessions = sessions
        self._tenants = tenants
        self._choice = random.Random(11)  # noqa: S311 - the same run each time
        self._old: list[tuple[UUID, Claim, list[UUID]]] = []
        self.is_over = False
        self.turns = 0

    async def work(self) -> None:
        """Claim, mark, record in chunks of any order; sometimes freeze, and come back late."""
        while not self.is_over:
            worker = await self._queue.start_worker()
            claims = await self._queue.claim(worker, *self._tenants, quota=15)
            emails = {email.claim.email_id: email for email in await self._queue.load(*claims)}
            self._choice.shuffle(claims)
            marked = list(await self._queue.mark(worker, *claims[: len(claims) // 2 + 1]))
            fates = [
                (worker, claim, [to.id for to in emails[claim.email_id].recipients])
                for claim in marked
            ]
            if self._choice.random() < 0.4:
                await self._queue.age_beat(worker, LEASE_S + 1)
                self._old += fates
                # It does not know yet, and marks the rest while they are swept.
                await self._queue.mark(worker, *claims)
                continue
            self._choice.shuffle(fates)
            await self._queue.record(
                worker, *self._settlements(fates), claims=claims[len(claims) // 2 + 1 :]
            )
            await release_claims(self._queue.pool, worker, claims)
            await self._queue.age_beat(worker, LEASE_S + 1)
            self.turns += 1

    async def come_late(self) -> None:
        """Record results of workers that were frozen."""
        while not self.is_over:
            fates, self._old = self._old, []
            self._choice.shuffle(fates)
            if fates:
                await self._queue.record(fates[0][0], *self._settlements(fates))
                self.turns += 1
            await asyncio.sleep(0.005)

    async def sweep(self) -> None:
        """Free rows of the dead."""
        while not self.is_over:
            await sweep_abandoned(self._queue.pool, POLICY, PEPPERS)
            self.turns += 1
            await asyncio.sleep(0.005)

    async def change_plans(self, added: list[tuple[SeededTenant, UUID]]) -> None:
        """Cancel and move emails at random."""
        while not self.is_over:
            tenant, email_id = self._choice.choice(added)
            change = _cancel if self._choice.random() < 0.2 else _postpone
            await _is_done(self._sessions, tenant, email_id, change)
            self.turns += 1

    async def make_due(self) -> None:
        """Let everything that waits be due, again and again."""
        ids = [tenant.id for tenant in self._tenants]
        while not self.is_over:
            async with self._queue.pool.acquire() as connection, connection.transaction():
                await connection.execute(
                    "SELECT set_config('app.tenant_ids', $1, true)",
                    f"{{{ids[0]},{ids[1]}}}",
                )
                await connection.execute(
                    "WITH w AS (SELECT tenant_id, email_id FROM send_queue WHERE state = 'waiting' "
                    "ORDER BY tenant_id, email_id FOR UPDATE SKIP LOCKED) "
                    "UPDATE send_queue q SET due_at = now() FROM w "
                    "WHERE q.tenant_id = w.tenant_id AND q.email_id = w.email_id"
                )
            await asyncio.sleep(0.01)

    def _settlements(self, fates: list[tuple[UUID, Claim, list[UUID]]]) -> list[Settlement]:
        words = ("accepted", "deferred", "ambiguous", "rejected")
        weights = (1, 4, 4, 1)
        return [
            settlement(
                worker,
                claim,
                {id_: Outcome(self._choice.choices(words, weights)[0]) for id_ in recipients},
            )
            for worker, claim, recipients in fates
            if recipients
        ]


async def _run_for(seconds: float, crowd: Crowd, added: list[tuple[SeededTenant, UUID]]) -> None:
    async with asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(crowd.work())
        for _ in range(2):
            tasks.create_task(crowd.sweep())
            tasks.create_task(crowd.change_plans(added))
        tasks.create_task(crowd.come_late())
        tasks.create_task(crowd.make_due())
        await asyncio.sleep(seconds)
        crowd.is_over = True


async def test_everybody_at_once_never_deadlocks_and_the_books_agree(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    both = (tenant, other_tenant)
    before = await _deadlocks(queue)
    added: list[tuple[SeededTenant, UUID]] = []
    async with queue.database.sessions("tp_api") as sessions:
        for owner in both:
            to = ["a@r.test", "b@r.test", "c@r.test"]
            added += [(owner, id_) for id_ in await queue.add(owner, 60, to=to)]
            scheduled = await _add_scheduled_and_due(queue, sessions, owner, 30)
            added += [(owner, id_) for id_ in scheduled]
        crowd = Crowd(queue, sessions, both)
        await _run_for(3, crowd, added)
    assert crowd.turns > 50
    for owner in both:
        assert await _books(queue, owner) == {}
    assert await _deadlocks(queue) == before


async def _deadlocks(queue: Harness) -> int:
    """How often the database has ever had to choose a victim."""
    count: int = await queue.reader.fetchval(
        "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    )
    return count


_PENDING = "('scheduled', 'queued', 'held', 'deferred', 'unconfirmed')"
_ACCEPTED = (
    "SELECT a.email_id, (r ->> 'recipient_id')::uuid AS id FROM attempts a, "
    "jsonb_array_elements(a.recipients) r WHERE r ->> 'outcome' = 'accepted'"
)
# Each finds rows that must not exist.
_CHECKS = {
    "ledger row without an acceptance": """
        SELECT 1 FROM usage_ledger WHERE (email_id, recipient_id) NOT IN (ACCEPTED)
    """,
    "sent without a ledger row": """
        SELECT 1 FROM recipients
        WHERE status = 'sent' AND id NOT IN (SELECT recipient_id FROM usage_ledger)
    """,
    "ledger row of one not sent": """
        SELECT 1 FROM usage_ledger
        WHERE recipient_id NOT IN (SELECT id FROM recipients WHERE status = 'sent')
    """,
    "pending without a queue row": """
        SELECT 1 FROM recipients
        WHERE status IN PENDING AND email_id NOT IN (SELECT email_id FROM send_queue)
    """,
    "accepted twice and not listed": """
        SELECT id FROM (ACCEPTED) a GROUP BY id
        HAVING count(*) > 1 AND id NOT IN (
            SELECT recipient_id FROM events
            WHERE type = 'email.duplicate_suspected' AND recipient_id IS NOT NULL
        )
    """,
    "email and recipients disagree": """
        SELECT 1 FROM emails e WHERE (e.status IN PENDING) <> EXISTS (
            SELECT 1 FROM recipients r WHERE r.email_id = e.id AND r.status IN PENDING
        )
    """,
}


async def _books(queue: Harness, tenant: SeededTenant) -> dict[str, int]:
    """What does not agree, counted; empty where all is well."""
    wrong = {}
    for name, check in _CHECKS.items():
        query = check.replace("ACCEPTED", _ACCEPTED).replace("PENDING", _PENDING)
        if rows := await queue.fetch(tenant, query):
            wrong[name] = len(rows)
    return wrong
