"""Delivering: from a queued row to the provider and on record."""

import asyncio
import email
import email.policy
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import asyncpg

from tallypost_domain.emails.types import NewEmail, Sender
from tallypost_simulators.smtp_faults import Fault, Faults
from tallypost_simulators.smtp_reception import ReceivedMessage
from tallypost_simulators.smtp_sink import SMTPSink
from tests.support.database import TEST_READER, Database, SeededTenant
from tests.support.emails import acceptor, live_sender, new_email, sandbox_sender
from tests.support.worker import running_worker, worker_environment


async def _fetch(
    database: Database, tenant: SeededTenant, query: str, *arguments: object
) -> list[asyncpg.Record]:
    async with database.connect(TEST_READER) as connection, connection.transaction():
        await connection.execute("SELECT set_config('app.tenant_id', $1, true)", str(tenant.id))
        return list(await connection.fetch(query, *arguments))


async def _accept(
    database: Database, folder: Path, sender: Sender, emails: Sequence[NewEmail]
) -> tuple[UUID, ...]:
    async with acceptor(database, folder) as accept:
        return (await accept.accept_batch(sender, list(emails), strict=True)).ids


async def _until_queue_is_empty(database: Database, tenant: SeededTenant) -> None:
    async with asyncio.timeout(30):
        while await _fetch(database, tenant, "SELECT 1 FROM send_queue"):  # noqa: ASYNC110 - another process's rows
            await asyncio.sleep(0.05)


async def test_email_reaches_the_sink_once_and_is_recorded(
    database: Database,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
    redis_url: str,
    tmp_path: Path,
) -> None:
    received: list[ReceivedMessage] = []

    async def keep(message: ReceivedMessage) -> None:
        received.append(message)

    message = new_email(to=["a@recipient.test"], cc="b@recipient.test", bcc="c@recipient.test")
    async with SMTPSink(keep) as sink:
        environment = worker_environment(
            database, redis_url=redis_url, objects=tmp_path, smtp_port=sink.port
        )
        async with running_worker(environment):
            (email_id,) = await _accept(database, tmp_path, live_sender(tenant), [message])
            await _until_queue_is_empty(database, tenant)
    assert sorted(to for got in received for to in got.recipients) == [
        "a@recipient.test",
        "b@recipient.test",
        "c@recipient.test",
    ]
    parsed = email.message_from_bytes(received[0].body, policy=email.policy.default)
    assert parsed["X-Tallypost-Email-Id"] == str(email_id)
    assert parsed["Bcc"] is None
    assert b"c@recipient.test" not in received[0].body
    statuses = await _fetch(database, tenant, "SELECT status FROM recipients")
    assert {row["status"] for row in statuses} == {"sent"}
    assert len(await _fetch(database, tenant, "SELECT 1 FROM usage_ledger")) == 3
    (attempt,) = await _fetch(database, tenant, "SELECT outcome, attempt FROM attempts")
    assert (attempt["outcome"], attempt["attempt"]) == ("accepted", 1)
    for table in ("attempts", "usage_ledger", "events"):
        assert await _fetch(database, other_tenant, f"SELECT 1 FROM {table}") == []  # noqa: S608 - names of this test


async def test_test_mode_goes_to_the_inbox_and_is_not_metered(
    database: Database, tenant: SeededTenant, redis_url: str, tmp_path: Path
) -> None:
    async with SMTPSink(is_counting=True) as sink:
        environment = worker_environment(
            database, redis_url=redis_url, objects=tmp_path, smtp_port=sink.port
        )
        async with running_worker(environment):
            await _accept(database, tmp_path, sandbox_sender(tenant), [new_email()])
            await _until_queue_is_empty(database, tenant)
        assert sink.taken == 0
    assert await _fetch(database, tenant, "SELECT 1 FROM usage_ledger") == []
    inbox = await _fetch(database, tenant, "SELECT mode, subject FROM inbox_messages")
    assert [(row["mode"], row["subject"]) for row in inbox] == [("test", "A subject")]


async def test_refused_recipient_bounces_and_the_others_are_sent(
    database: Database, tenant: SeededTenant, redis_url: str, tmp_path: Path
) -> None:
    faults = Faults(Fault(phase="rcpt", pattern="^gone@", reply="550 5.1.1 no such mailbox"))
    async with SMTPSink(is_counting=True, faults=faults) as sink:
        environment = worker_environment(
            database, redis_url=redis_url, objects=tmp_path, smtp_port=sink.port
        )
        async with running_worker(environment):
            message = new_email(to=["gone@recipient.test", "here@recipient.test"])
            await _accept(database, tmp_path, live_sender(tenant), [message])
            await _until_queue_is_empty(database, tenant)
    rows = await _fetch(database, tenant, "SELECT address, status FROM recipients")
    assert {row["address"]: row["status"] for row in rows} == {
        "gone@recipient.test": "bounced",
        "here@recipient.test": "sent",
    }
    assert len(await _fetch(database, tenant, "SELECT 1 FROM usage_ledger")) == 1
