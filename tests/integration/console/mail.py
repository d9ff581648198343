"""Puts emails, their history and messages into a tenant."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from tallypost_core.ids import new_id
from tallypost_domain.db.pools import Connection, transaction
from tallypost_domain.emails.types import Sender
from tallypost_domain.inbox import service as inbox
from tests.support.database import Database, SeededTenant
from tests.support.emails import acceptor, live_sender, new_email

SenderOf = Callable[[SeededTenant], Sender]

_INSERT_ATTEMPT = """
    INSERT INTO attempts (
        tenant_id, email_id, id, attempt, fence, worker_id, provider, account, outcome, phase,
        recipients, evidence, duration_s
    ) VALUES ($1, $2, $3, $4, 1, $5, 'smtp', $6, $7, $8, $9, $10, 0.035)
"""
_INSERT_EVENT = """
    INSERT INTO events (tenant_id, subject_id, id, mode, type, recipient_id, data)
    VALUES ($1, $2, $3, 'live', $4, $5, $6)
"""


# Any: fields of a request.
async def accept(
    database: Database,
    folder: Path,
    tenant: SeededTenant,
    *subjects: str,
    sender_of: SenderOf = live_sender,
    **fields: Any,
) -> list[UUID]:
    """Accept one email for each subject; returns their ids, oldest first."""
    from_ = f"Sample Sender <hello@{tenant.domain}>"
    async with acceptor(database, folder) as accepting:
        return [
            (
                await accepting.accept(
                    sender_of(tenant), new_email(from_=from_, subject=subject, **fields)
                )
            ).ids[0]
            for subject in subjects
        ]


async def record_attempt(
    database: Database,
    tenant: SeededTenant,
    email_id: UUID,
    number: int,
    outcome: str,
    phase: str,
    *,
    account: str = "relay",
) -> None:
    """Write down a handover and its event, as a worker does; detail is `answer <number>`."""
    async with _writing(database, tenant) as connection:
        recipient_id = await connection.fetchval(
            "SELECT id FROM recipients WHERE email_id = $1", email_id
        )
        answer = {
            "recipient_id": str(recipient_id),
            "outcome": outcome,
            "reply_code": 250,
            "detail": f"answer {number}",
        }
        await connection.execute(
            _INSERT_ATTEMPT,
            tenant.id,
            email_id,
            new_id(),
            number,
            new_id(),
            account,
            outcome,
            phase,
            [answer],
            {"greeting": f"220 mx{number}.recipient.test"},
        )
        await connection.execute(
            _INSERT_EVENT,
            tenant.id,
            email_id,
            new_id(),
            f"email.{outcome}",
            recipient_id,
            {"attempt": number},
        )


async def store_message(
    database: Database,
    email_id: UUID,
    *,
    subject: str = "Hello",
    content_type: str = "text/plain; charset=utf-8",
    body: str = "The body",
) -> bytes:
    """Deliver a message of an email to the Inbox; returns its bytes."""
    message = (
        f"X-Tallypost-Email-Id: {email_id}\r\nSubject: {subject}\r\n"
        f"Content-Type: {content_type}\r\n\r\n{body}"
    ).encode()
    async with database.pool("tp_inbox") as pool:
        assert await inbox.store_message(
            pool,
            envelope_sender="bounces@example.com",
            envelope_recipients=["ada@recipient.test", "bo@recipient.test"],
            message=message,
        )
    return message


@asynccontextmanager
async def _writing(database: Database, tenant: SeededTenant) -> AsyncIterator[Connection]:
    async with database.pool("tp_deliver") as pool, transaction(pool, [tenant.id]) as connection:
        yield connection
