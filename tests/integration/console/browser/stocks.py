"""A tenant whose pages have something to show: emails in many states, messages, a test email, and
provider accounts with routes."""

from pathlib import Path
from typing import Final
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from tallypost_core.ids import new_id
from tallypost_domain.db.pools import Connection, Pool, transaction
from tallypost_domain.routing.accounts import AccountChange, NewAccount, change_account
from tallypost_domain.routing.routes import replace_routes
from tallypost_domain.routing.standings import NewStanding
from tallypost_domain.routing.types import DomainRecord, NewRoute
from tests.integration.console.accounts import (
    FAILED,
    GOOD,
    SES_SECRETS,
    SES_SETTINGS,
    add_domain,
    start_worker,
    write_check,
    write_standing,
    write_trouble,
)
from tests.integration.console.mail import accept, store_message
from tests.integration.routing.samples import ACCOUNT, ACTOR, create, say_platform_has
from tests.support.database import KEY_RING, Database, SeededTenant
from tests.support.emails import sandbox_sender

DEAD_LETTERS: Final = 3

_LONG: Final = "A subject that is a good deal longer than a narrow screen has room for in one line"
_HTML: Final = "<h1 style='color:#345'>Hello</h1><p>Your <b>sample</b> order is on its way.</p>"

_Ending = tuple[str, str, int | None, str | None, str | None]
"""Status, outcome of the attempt, code, enhanced code, the server's words."""

_ENDS: Final[tuple[_Ending, ...]] = (
    ("sent", "accepted", 250, "2.0.0", "queued as 4B1F"),
    ("delivered", "accepted", 250, "2.0.0", "queued as 4B20"),
    ("deferred", "deferred", 450, "4.2.1", "mailbox busy, try again later"),
    ("unconfirmed", "ambiguous", None, None, None),
    ("bounced", "rejected", 550, "5.1.1", "no such user here"),
    ("complained", "accepted", 250, "2.0.0", "queued as 4B21"),
    *[("failed", "unavailable", None, None, "connection refused")] * DEAD_LETTERS,
)


_RECORDS: Final = (
    DomainRecord(
        type="CNAME",
        name="sample._domainkey.example.com",
        value="sample.dkim.example.net",
        is_found=True,
    ),
    DomainRecord(
        type="TXT", name="tp1._domainkey.example.com", value="p=" + "sample" * 40, is_found=False
    ),
)


class Stock(Struct, frozen=True):
    """What is there to be opened."""

    emails: dict[str, UUID]
    """One email for each status; of those that failed there are DEAD_LETTERS."""
    message: UUID
    """In the Inbox."""
    accounts: tuple[UUID, ...]
    """One whose check has failed, one in trouble with a domain that is not verified, one that is
    off."""
    route: UUID


async def stock(database: Database, folder: Path, tenant: SeededTenant) -> Stock:
    """Fill a tenant."""
    queued = (await accept(database, folder, tenant, "Waits for a worker", html=_HTML))[0]
    await accept(database, folder, tenant, "A test email", sender_of=sandbox_sender)
    emails = {"queued": queued}
    async with database.pool("tp_deliver", size=1) as pool:
        for end in _ENDS:
            emails[end[0]] = await _add_ended(database, folder, tenant, pool, end)
    await store_message(
        database, queued, content_type="text/html; charset=utf-8", body=_HTML, subject="A message"
    )
    async with database.session("tp_console", tenant.id) as session:
        found = await session.connection()
        rows = await found.exec_driver_sql("SELECT id FROM inbox_messages")
        message = rows.scalar_one()
    accounts = await _add_accounts(database, tenant)
    return Stock(emails, message, accounts, await _add_routes(database, tenant, accounts))


async def set_status(database: Database, tenant: SeededTenant, email_id: UUID, status: str) -> None:
    """Give an email another status, as a worker does."""
    async with database.pool("tp_deliver") as pool, transaction(pool, [tenant.id]) as link:
        await _set_status(link, email_id, status)


async def leave_queue(database: Database, tenant: SeededTenant, email_id: UUID) -> None:
    """Take an email off the queue, as whoever comes to an end with it does."""
    async with database.pool("tp_deliver") as pool, transaction(pool, [tenant.id]) as link:
        await link.execute("DELETE FROM send_queue WHERE email_id = $1", email_id)


async def _add_ended(
    database: Database, folder: Path, tenant: SeededTenant, pool: Pool, end: _Ending
) -> UUID:
    status = end[0]
    (email_id,) = await accept(
        database,
        folder,
        tenant,
        f"{status.capitalize()}: {_LONG}" if status == "bounced" else f"It is {status}",
        to=[f"{status}@recipient.test"],
        html=_HTML,
        text="Hello",
        tags=[{"name": "campaign", "value": "sample"}],
        attachments=[{"filename": "sample.txt", "content": "aGVsbG8="}],
    )
    async with transaction(pool, [tenant.id]) as link:
        await _end(link, tenant, email_id, *end)
    return email_id


async def _add_accounts(database: Database, tenant: SeededTenant) -> tuple[UUID, ...]:
    failed = await create(database, tenant)
    await write_check(database, tenant, failed, FAILED)
    ses = NewAccount(name="SES", provider="ses", settings=SES_SETTINGS, secrets=SES_SECRETS)
    unverified = await create(database, tenant, ses)
    await write_check(database, tenant, unverified, GOOD)
    standing = NewStanding(status="unverified", records=_RECORDS, detail="DKIM is pending")
    await write_standing(database, tenant, tenant.domain_id, str(unverified), standing)
    worker_id = await start_worker(database)
    await write_trouble(database, tenant, unverified, worker_id, "open", 600.0)
    off = await create(database, tenant, replace(ACCOUNT, name=f"Sample relay. {_LONG}"))
    change = AccountChange(is_on=False)
    async with database.session("tp_console", tenant.id) as session:
        await change_account(session, tenant.id, off, change, key_ring=KEY_RING, actor=ACTOR)
    return failed, unverified, off


async def _add_routes(database: Database, tenant: SeededTenant, accounts: tuple[UUID, ...]) -> UUID:
    await _add_platform(database, tenant, "ses", "sendgrid")
    own = tuple(map(str, accounts))
    async with database.session("tp_console", tenant.id) as session:
        first, *_ = await replace_routes(
            session,
            tenant.id,
            [
                NewRoute(accounts=own, tag_name="kind", tag_value="receipt", share=0.25),
                NewRoute(accounts=own[1:], lane="bulk", domain_id=tenant.domain_id),
                NewRoute(accounts=(own[0], "platform:ses", "platform")),
                NewRoute(accounts=("platform",)),
            ],
            actor=ACTOR,
        )
    return first.id


async def _add_platform(
    database: Database, tenant: SeededTenant, verifying: str, missing: str
) -> None:
    """Two accounts of the platform that have to know domains: one knows them all, one does not."""
    await say_platform_has(database, verifying, missing, "smtp")
    known = await add_domain(database, tenant, f"{'sample-' * 8}of-a-long-name.example.com")
    verified = NewStanding(status="verified")
    for domain_id, account in ((known, verifying), (known, missing), (tenant.domain_id, verifying)):
        await write_standing(database, tenant, domain_id, account, verified)
    standing = NewStanding(status="unverified", records=_RECORDS, detail="found no CNAME")
    await write_standing(database, tenant, tenant.domain_id, missing, standing)


async def _set_status(link: Connection, email_id: UUID, status: str) -> None:
    await link.execute(
        "UPDATE emails SET status = $2, updated_at = now() WHERE id = $1", email_id, status
    )


async def _end(
    link: Connection,
    tenant: SeededTenant,
    email_id: UUID,
    status: str,
    outcome: str,
    reply_code: int | None,
    enhanced_code: str | None,
    detail: str | None,
) -> None:
    recipient_id = await link.fetchval("SELECT id FROM recipients WHERE email_id = $1", email_id)
    answer = {
        "recipient_id": str(recipient_id),
        "outcome": outcome,
        "reply_code": reply_code,
        "enhanced_code": enhanced_code,
        "detail": detail,
    }
    await link.execute(
        """
        INSERT INTO attempts (
            tenant_id, email_id, id, attempt, fence, worker_id, provider, account, outcome, phase,
            recipients, evidence, duration_s
        ) VALUES ($1, $2, $3, 1, 1, $4, 'smtp', 'relay', $5, 'rcpt', $6, $7, 0.035)
        """,
        tenant.id,
        email_id,
        new_id(),
        new_id(),
        outcome,
        [answer],
        {"greeting": "220 mx.recipient.test ESMTP"},
    )
    data = {"reason": "attempts_exhausted"} if status == "failed" else {"outcome": outcome}
    await link.execute(
        """
        INSERT INTO events (tenant_id, subject_id, id, mode, type, recipient_id, data)
        VALUES ($1, $2, $3, 'live', $4, $5, $6)
        """,
        tenant.id,
        email_id,
        new_id(),
        f"email.{status}",
        recipient_id,
        data,
    )
    await link.execute(
        "UPDATE recipients SET status = $2, detail = $3, updated_at = now() WHERE id = $1",
        recipient_id,
        status,
        detail,
    )
    await _set_status(link, email_id, status)
    if status not in ("deferred", "unconfirmed"):
        await link.execute("DELETE FROM send_queue WHERE email_id = $1", email_id)
    elif status == "unconfirmed":
        await link.execute(
            "UPDATE send_queue SET state = 'ambiguous' WHERE email_id = $1", email_id
        )
