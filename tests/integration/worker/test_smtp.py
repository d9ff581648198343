"""A whole worker against a mail server that misbehaves: every email ends in a truth, once."""

import asyncio
import datetime as dt
import email
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import pytest
from msgspec import Struct
from sqlalchemy import text

from tallypost_cli.ports import find_free_port
from tallypost_core import clock
from tallypost_domain.emails.service import cancel
from tallypost_domain.suppressions.service import suppress
from tallypost_simulators.smtp_faults import Fault, Faults
from tallypost_simulators.smtp_reception import ReceivedMessage
from tallypost_simulators.smtp_sink import SMTPSink
from tests.integration.queue.harness import Harness
from tests.integration.worker.loops import until
from tests.support.database import PEPPERS, SeededTenant
from tests.support.worker import running_worker, worker_environment


class Site(Struct, frozen=True):
    """A mail server, and how a worker is told to use it."""

    faults: Faults
    received: list[ReceivedMessage]
    environment: dict[str, str]

    def copies(self) -> Counter[tuple[str, str]]:
        """Copies for each email and recipient."""
        return Counter((got.email_id, to) for got in self.received for to in got.recipients)

    def copies_of(self, email_id: UUID) -> list[ReceivedMessage]:
        """The messages of one email, first to last."""
        return [got for got in self.received if got.email_id == str(email_id)]


@asynccontextmanager
async def _site(
    queue: Harness, folder: Path, redis_url: str, **overrides: str
) -> AsyncIterator[Site]:
    received: list[ReceivedMessage] = []

    async def keep(message: ReceivedMessage) -> None:
        received.append(message)

    async with SMTPSink(keep, faults=Faults()) as sink:
        environment = worker_environment(
            queue.database,
            redis_url=redis_url,
            objects=folder,
            smtp_port=sink.port,
            **overrides,
        )
        yield Site(sink.faults, received, environment)


async def _until_done(queue: Harness, *tenants: SeededTenant) -> None:
    query = "SELECT 1 FROM send_queue WHERE state NOT IN ('ambiguous', 'held')"

    async def is_done() -> bool:
        return not [row for tenant in tenants for row in await queue.fetch(tenant, query)]

    await until(is_done, within_s=60)


async def test_answers_and_silences_before_the_body_are_tried_again_until_one_copy_is_there(
    queue: Harness,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
    redis_url: str,
    tmp_path: Path,
) -> None:
    # A kept connection that breaks is replaced within the handover, so it takes two breaks there.
    of_each_worker = (
        [
            (Fault(phase="connect", action="drop", times=1), "unavailable"),
            (Fault(phase="mail", reply="451 4.3.0 later", times=1), "unavailable"),
            (Fault(phase="rcpt", reply="450 4.2.1 greylisted", times=1), "deferred"),
            (Fault(phase="data", reply="421 4.3.2 closing", times=2), "unavailable"),
            (Fault(phase="data", action="drop", times=2), "unavailable"),
            (Fault(phase="final", reply="451 4.3.0 later", times=1), "unavailable"),
        ],
        [(Fault(phase="hello", reply="421 4.3.2 closing", times=1), "unavailable")],
    )
    async with _site(queue, tmp_path, redis_url) as site:
        for faults in of_each_worker:
            async with running_worker(site.environment):
                for fault, outcome in faults:
                    site.faults.active = [fault]
                    (email_id,) = await queue.add(tenant, to="a@r.test")
                    await _until_done(queue, tenant)
                    assert await queue.attempts(tenant, email_id) == [
                        (1, outcome, False),
                        (2, "accepted", False),
                    ], fault
                    assert await queue.statuses(tenant, email_id) == {"a": "sent", "email": "sent"}
                    events = await queue.events(tenant, email_id)
                    assert events == ["email.deferred", "email.sent"]
                    assert await queue.billed(tenant, email_id) == 1
                    assert len(site.copies_of(email_id)) == 1
    assert await queue.fetch(other_tenant, "SELECT 1 FROM events") == []


async def test_silence_after_the_body_is_sent_again_in_the_same_bytes_on_the_transactional_lane(
    queue: Harness,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
    redis_url: str,
    tmp_path: Path,
) -> None:
    async with _site(queue, tmp_path, redis_url) as site, running_worker(site.environment):
        site.faults.active = [Fault(phase="final", action="drop", times=1)]
        (urgent,) = await queue.add(
            tenant, to=["a@r.test", "b@r.test"], html="<p>Grüße</p>", text="Grüße"
        )
        await _until_done(queue, tenant)
        site.faults.active = [Fault(phase="final", action="drop", times=1)]
        (bulk,) = await queue.add_bulk(other_tenant)
        await _until_done(queue, other_tenant)
        # What is put aside stays there while others pass.
        (later,) = await queue.add_bulk(other_tenant)
        await until(lambda: queue.billed(other_tenant, later))
        first, second = site.copies_of(urgent)
        assert first.body == second.body
        assert first.recipients == second.recipients == ("a@r.test", "b@r.test")
        assert email.message_from_bytes(first.body)["Message-ID"] == f"<{urgent}@example.com>"
        assert len(site.copies_of(bulk)) == len(site.copies_of(later)) == 1
    assert await queue.statuses(tenant, urgent) == {"a": "sent", "b": "sent", "email": "sent"}
    assert await queue.events(tenant, urgent) == ["email.unconfirmed"] * 2 + ["email.sent"] * 2
    assert await queue.billed(tenant, urgent) == 2
    assert await queue.attempts(tenant, urgent) == [
        (1, "ambiguous", False),
        (2, "accepted", False),
    ]
    assert await queue.state(other_tenant, bulk) == "ambiguous"
    assert await queue.statuses(other_tenant, bulk) == {
        "first": "unconfirmed",
        "email": "unconfirmed",
    }
    assert await queue.billed(other_tenant, bulk) == 0


async def test_server_that_never_answers_is_given_up_in_time(
    queue: Harness, tenant: SeededTenant, redis_url: str, tmp_path: Path
) -> None:
    overrides = {"TALLYPOST_DELIVERY_HANDOVER_TIMEOUT_S": "1.5"}
    async with (
        _site(queue, tmp_path, redis_url, **overrides) as site,
        running_worker(site.environment),
    ):
        site.faults.active = [
            Fault(phase="rcpt", action="hang", pattern="^before@", times=1),
            Fault(phase="final", action="hang", times=1),
        ]
        (before,) = await queue.add(tenant, to="before@r.test")
        (after,) = await queue.add(tenant, to="after@r.test")
        await _until_done(queue, tenant)
        assert [len(site.copies_of(id_)) for id_ in (before, after)] in ([1, 2], [2, 1])
    doubled = [id_ for id_ in (before, after) if len(site.copies_of(id_)) == 2]
    # The copy too many is listed.
    assert "email.unconfirmed" in await queue.events(tenant, doubled[0])
    for email_id in (before, after):
        assert (await queue.attempts(tenant, email_id))[-1][1] == "accepted"
        assert await queue.billed(tenant, email_id) == 1


async def test_refusal_that_lasts_ends_as_a_dead_letter_after_the_schedule(
    queue: Harness, tenant: SeededTenant, redis_url: str, tmp_path: Path
) -> None:
    async with _site(queue, tmp_path, redis_url) as site, running_worker(site.environment):
        site.faults.active = [Fault(phase="rcpt", pattern="^busy@", reply="450 4.2.1 busy")]
        (email_id,) = await queue.add(tenant, to=["busy@r.test", "free@r.test"])
        await _until_done(queue, tenant)
        assert site.copies() == {(str(email_id), "free@r.test"): 1}
    assert await queue.statuses(tenant, email_id) == {
        "busy": "failed",
        "free": "sent",
        "email": "failed",
    }
    # The schedule of the tests has three retries.
    assert [number for number, _, _ in await queue.attempts(tenant, email_id)] == [1, 2, 3, 4]
    assert await queue.billed(tenant, email_id) == 1


async def test_what_changed_since_accept_is_seen_before_anything_leaves(
    queue: Harness,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
    redis_url: str,
    tmp_path: Path,
) -> None:
    (some,) = await queue.add(tenant, to=["a@r.test", "No@r.test"])
    (none,) = await queue.add(tenant, to="no@r.test")
    (held,) = await queue.add(other_tenant, to="a@r.test")
    async with queue.database.session("tp_cli", tenant.id) as session:
        await suppress(session, tenant.id, "live", "NO@r.test", origin="complaint", peppers=PEPPERS)
    async with queue.database.session("tp_cli", other_tenant.id) as session:
        await session.execute(text("UPDATE tenants SET status = 'suspended'"))
    async with _site(queue, tmp_path, redis_url) as site, running_worker(site.environment):
        await _until_done(queue, tenant, other_tenant)
        assert site.copies() == {(str(some), "a@r.test"): 1}
    assert await queue.statuses(tenant, some) == {"a": "sent", "No": "suppressed", "email": "sent"}
    assert await queue.statuses(tenant, none) == {"no": "suppressed", "email": "suppressed"}
    assert await queue.statuses(other_tenant, held) == {"a": "held", "email": "held"}
    assert await queue.state(other_tenant, held) == "held"
    assert await queue.attempts(other_tenant, held) == []
    assert await queue.billed(tenant, some) == 1


async def test_scheduled_email_leaves_when_it_is_due_and_a_canceled_one_never(
    queue: Harness, tenant: SeededTenant, redis_url: str, tmp_path: Path
) -> None:
    due_at = clock.utc_now() + dt.timedelta(seconds=1)
    (later,) = await queue.add(tenant, scheduled_at=due_at.isoformat())
    (never,) = await queue.add(tenant, scheduled_at=due_at.isoformat())
    async with _site(queue, tmp_path, redis_url) as site, running_worker(site.environment):
        async with queue.database.session("tp_api", tenant.id) as session:
            await cancel(session, tenant.id, "live", never)
        (now,) = await queue.add(tenant)
        await _until_done(queue, tenant)
        assert {key[0] for key in site.copies()} == {str(now), str(later)}
        (copy,) = site.copies_of(later)
        assert copy.received_at >= due_at
    assert await queue.statuses(tenant, never) == {"first": "canceled", "email": "canceled"}


async def test_delivery_does_not_need_redis(
    queue: Harness,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
    tmp_path: Path,
    unused_port: int,
) -> None:
    nowhere = f"redis://127.0.0.1:{unused_port}/0"
    async with _site(queue, tmp_path, nowhere) as site, running_worker(site.environment):
        added = [*await queue.add(tenant, 20), *await queue.add(other_tenant, 20)]
        await _until_done(queue, tenant, other_tenant)
        assert site.copies() == {(str(id_), "first@recipient.test"): 1 for id_ in added}
    for owner in (tenant, other_tenant):
        assert len(await queue.fetch(owner, "SELECT 1 FROM usage_ledger")) == 20


async def test_two_workers_share_the_work_without_doubling(
    queue: Harness,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
    redis_url: str,
    tmp_path: Path,
) -> None:
    async with _site(queue, tmp_path, redis_url) as site:
        site.faults.latency_s = 0.002
        async with running_worker(site.environment), running_worker(site.environment):
            added: list[UUID] = []
            for owner in (tenant, other_tenant) * 3:
                added += await queue.add(owner, 50)
            added += await queue.add_bulk(tenant, 50)
            await _until_done(queue, tenant, other_tenant)
        assert site.copies() == {(str(id_), "first@recipient.test"): 1 for id_ in added}
    workers: set[UUID] = set()
    for owner, count in ((tenant, 200), (other_tenant, 150)):
        rows = await queue.fetch(owner, "SELECT worker_id, outcome, attempt FROM attempts")
        assert [(row["outcome"], row["attempt"]) for row in rows] == [("accepted", 1)] * count
        workers |= {row["worker_id"] for row in rows}
        assert len(await queue.fetch(owner, "SELECT 1 FROM usage_ledger")) == count
    assert len(workers) == 2
    # Both said goodbye.
    assert await queue.pool.fetchval("SELECT count(*) FROM workers") == 0


async def test_quiet_tenant_does_not_wait_for_a_noisy_one(
    queue: Harness,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
    redis_url: str,
    tmp_path: Path,
) -> None:
    overrides = {"TALLYPOST_DELIVERY_CONCURRENCY": "4"}
    async with _site(queue, tmp_path, redis_url, **overrides) as site:
        site.faults.latency_s = 0.005
        noisy = {str(id_) for _ in range(2) for id_ in await queue.add(tenant, 100)}
        async with running_worker(site.environment):
            await until(lambda: asyncio.sleep(0, len(site.received) >= 10))
            before = len(site.received)
            (quiet,) = await queue.add(other_tenant)
            (bulk,) = await queue.add_bulk(other_tenant)
            await _until_done(queue, tenant, other_tenant)
        order = [got.email_id for got in site.received]
        assert set(order) == noisy | {str(quiet), str(bulk)}
        # Ahead of it are only those that were claimed or on their way when it came; twice the
        # slots are claimed ahead, and a share of them is kept for bulk mail.
        assert order.index(str(quiet)) - before < 50
        assert order.index(str(bulk)) - before < 50


@pytest.fixture
def unused_port() -> int:
    """A port on which nobody listens."""
    return find_free_port()
