"""Resending: another email like the first, accepted as the first was, once for each press."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast
from uuid import UUID

import asyncpg
import pytest
from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_core.ids import new_id
from tallypost_core.object_store import FolderStore
from tallypost_domain.api_keys.errors import TenantSuspended
from tallypost_domain.api_keys.service import revoke_key
from tallypost_domain.audit.types import Actor
from tallypost_domain.db.errors import DatabaseUnavailable
from tallypost_domain.db.sessions import SessionMaker
from tallypost_domain.emails.errors import (
    AttachmentGone,
    DomainNotVerified,
    EmailNotFound,
    IdempotencyConflict,
    InvalidIdempotencyKey,
)
from tallypost_domain.emails.resending import Resender
from tallypost_domain.emails.types import Sender
from tallypost_domain.suppressions.service import suppress
from tallypost_domain.usage.errors import QuotaExceeded
from tests.integration.queue.harness import Harness, open_harness
from tests.support.database import PEPPERS, Database, SeededTenant
from tests.support.emails import new_email

ACTOR = Actor(kind="person", id=new_id(), ip_address="192.0.2.7", user_agent="Browser/1.0")
LARGE = bytes(range(256)) * 1_200
KEY = "of one form"

# All that the tenant wrote, and what came with it.
_WRITTEN = """
    SELECT e.mode, e.api_key_id, e.domain_id, e.stream, e.lane, e.from_header, e.from_address,
           e.to_header, e.cc_header, e.bcc_header, e.reply_to, e.subject, e.headers, e.tags,
           e.size_bytes, c.html, c.text
    FROM emails e JOIN email_contents c ON c.email_id = e.id WHERE e.id = $1
"""
_ADDRESSES = "SELECT kind, address FROM recipients WHERE email_id = $1 ORDER BY id"
_AUDIT = """
    SELECT action, actor_id, subject_kind, subject_id, changes ->> 'resent_from' AS resent_from
    FROM audit_log ORDER BY sequence
"""


class Desk(Struct, frozen=True):
    """Somebody who resends, at a queue."""

    queue: Harness
    resender: Resender

    async def resend(self, tenant: SeededTenant, email_id: UUID, *, key: str = KEY) -> UUID:
        """Press the button of a form."""
        return await self.resender.resend(tenant.id, email_id, key=key, actor=ACTOR)

    async def written(self, tenant: SeededTenant, email_id: UUID) -> dict[str, object]:
        """What an email says."""
        (row,) = await self.queue.fetch(tenant, _WRITTEN, email_id)
        return dict(row)

    async def addresses(self, tenant: SeededTenant, email_id: UUID) -> list[tuple[str, str]]:
        """Whom an email goes to."""
        rows = await self.queue.fetch(tenant, _ADDRESSES, email_id)
        return [(row["kind"], row["address"]) for row in rows]

    async def count(self, tenant: SeededTenant) -> int:
        """Emails of a tenant."""
        return len(await self.queue.fetch(tenant, "SELECT 1 FROM emails"))


@pytest.fixture
async def desk(database: Database, tmp_path: Path) -> AsyncIterator[Desk]:
    """A desk with the logins of the console."""
    async with (
        open_harness(database, tmp_path) as queue,
        database.sessions("tp_console") as sessions,
    ):
        yield Desk(queue, Resender(queue.acceptor, sessions, FolderStore(tmp_path)))


@asynccontextmanager
async def _administering(
    database: Database, tenant: SeededTenant
) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    async with database.connect("tp_cli") as connection, connection.transaction():
        await connection.execute("SELECT set_config('app.tenant_id', $1, true)", str(tenant.id))
        yield connection


async def test_resent_email_says_the_same_to_the_same_people(
    desk: Desk, tenant: SeededTenant
) -> None:
    (first,) = await desk.queue.add(
        tenant,
        from_='"Zoë, \\"Z\\"" <hello@example.com>',
        to=["Ada <ada@recipient.test>", "bo@bücher.test"],
        cc='"Cy (home)" <cy@recipient.test>',
        bcc=["dee@recipient.test", "ada@recipient.test"],
        reply_to=["answers@example.com"],
        subject="Grüße",
        html="<p>😀</p>\r\n",
        text="",
        headers={"X-Order": "17", "X-Tallypost-Stream": "bulk"},
        tags=[{"name": "order", "value": "17"}],
        attachments=[
            {"filename": "a.ics", "content": "aGVsbG8=", "content_type": "text/calendar; method=X"},
            {"filename": "empty", "content": ""},
            {"filename": "logo.png", "content": "iVBORw==", "content_id": "<logo>"},
        ],
    )
    second = await desk.resend(tenant, first)
    assert second != first
    assert await desk.written(tenant, second) == await desk.written(tenant, first)
    assert await desk.addresses(tenant, second) == await desk.addresses(tenant, first)
    kept = "SELECT attachments FROM email_contents WHERE email_id = $1"
    assert await desk.queue.fetch(tenant, kept, second) == await desk.queue.fetch(
        tenant, kept, first
    )
    assert await desk.queue.state(tenant, second) == "waiting"
    assert await desk.queue.events(tenant, first) == []


async def test_large_attachment_is_copied_so_that_each_email_has_its_own(
    desk: Desk, tenant: SeededTenant, tmp_path: Path
) -> None:
    attachments = [{"filename": "large.bin", "content": [*LARGE]}]
    (first,) = await desk.queue.add(tenant, attachments=attachments)
    second = await desk.resend(tenant, first)
    objects = FolderStore(tmp_path)
    await objects.delete(f"{tenant.id}/{first}/0")
    assert await objects.get(f"{tenant.id}/{second}/0") == LARGE
    with pytest.raises(AttachmentGone):
        await desk.resend(tenant, first, key="another form")
    assert await desk.count(tenant) == 2


async def test_scheduled_email_is_resent_at_once(desk: Desk, tenant: SeededTenant) -> None:
    (first,) = await desk.queue.add(tenant, scheduled_at="in 2 days")
    second = await desk.resend(tenant, first)
    assert (await desk.queue.statuses(tenant, second))["email"] == "queued"
    assert (await desk.queue.statuses(tenant, first))["email"] == "scheduled"


async def test_pressing_twice_sends_once(desk: Desk, tenant: SeededTenant) -> None:
    (first,) = await desk.queue.add(tenant)
    together = await asyncio.gather(*(desk.resend(tenant, first) for _ in range(5)))
    later = await desk.resend(tenant, first)
    assert len({*together, later}) == 1
    assert await desk.count(tenant) == 2


async def test_another_form_sends_again(desk: Desk, tenant: SeededTenant) -> None:
    (first,) = await desk.queue.add(tenant)
    assert await desk.resend(tenant, first) != await desk.resend(tenant, first, key="another form")
    assert await desk.count(tenant) == 3


async def test_key_of_another_email_is_a_conflict(desk: Desk, tenant: SeededTenant) -> None:
    first, other = await desk.queue.add(tenant, 2)
    await desk.resend(tenant, first)
    with pytest.raises(IdempotencyConflict):
        await desk.resend(tenant, other)
    assert await desk.count(tenant) == 3


@pytest.mark.parametrize("key", ["", "k" * 257])
async def test_key_that_is_none_is_refused(desk: Desk, tenant: SeededTenant, key: str) -> None:
    (first,) = await desk.queue.add(tenant)
    with pytest.raises(InvalidIdempotencyKey):
        await desk.resend(tenant, first, key=key)
    assert await desk.count(tenant) == 1


async def test_tenant_resends_only_its_own_emails(
    desk: Desk, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    (first,) = await desk.queue.add(tenant)
    for wanted in (first, new_id()):
        with pytest.raises(EmailNotFound):
            await desk.resend(other_tenant, wanted)
    assert await desk.count(other_tenant) == 0
    assert await desk.queue.fetch(other_tenant, _AUDIT) == []
    assert await desk.count(tenant) == 1


async def test_suppressed_recipient_stays_suppressed(
    desk: Desk, tenant: SeededTenant, database: Database
) -> None:
    (first,) = await desk.queue.add(tenant, to=["gone@recipient.test", "here@recipient.test"])
    async with database.session("tp_cli", tenant.id) as session:
        await suppress(
            session, tenant.id, "live", "gone@recipient.test", origin="bounce", peppers=PEPPERS
        )
    second = await desk.resend(tenant, first)
    assert await desk.queue.statuses(tenant, second) == {
        "gone": "suppressed",
        "here": "queued",
        "email": "queued",
    }


async def test_quota_holds_and_after_it_is_raised_the_same_press_sends(
    desk: Desk, tenant: SeededTenant, database: Database
) -> None:
    async with _administering(database, tenant) as connection:
        await connection.execute("UPDATE tenants SET monthly_quota = 3")
    (first,) = await desk.queue.add(tenant, to=["a@recipient.test", "b@recipient.test"])
    with pytest.raises(QuotaExceeded):
        await desk.resend(tenant, first)
    assert await desk.count(tenant) == 1
    async with _administering(database, tenant) as connection:
        await connection.execute("UPDATE tenants SET monthly_quota = NULL")
    # The refusal is remembered for a second.
    async with asyncio.timeout(30):
        while await desk.count(tenant) == 1:
            try:
                await desk.resend(tenant, first)
            except QuotaExceeded:
                await asyncio.sleep(0.1)
    assert await desk.count(tenant) == 2


async def test_domain_that_lost_its_verification_sends_nothing_again(
    desk: Desk, tenant: SeededTenant, database: Database
) -> None:
    (first,) = await desk.queue.add(tenant)
    async with _administering(database, tenant) as connection:
        await connection.execute("UPDATE domains SET status = 'failed'")
    # What was true a second ago may still serve.
    async with asyncio.timeout(30):
        while True:
            try:
                await desk.resend(tenant, first, key=str(new_id()))
            except DomainNotVerified:
                break
            await asyncio.sleep(0.1)


async def test_suspended_tenant_sends_nothing_again(
    desk: Desk, tenant: SeededTenant, database: Database
) -> None:
    (first,) = await desk.queue.add(tenant)
    async with _administering(database, tenant) as connection:
        await connection.execute("UPDATE tenants SET status = 'suspended'")
    with pytest.raises(TenantSuspended):
        await desk.resend(tenant, first)
    assert await desk.count(tenant) == 1


async def test_email_of_a_key_that_was_revoked_can_be_resent(
    desk: Desk, tenant: SeededTenant, database: Database
) -> None:
    (first,) = await desk.queue.add(tenant)
    async with database.session("tp_cli", tenant.id) as session:
        await revoke_key(session, tenant.id, tenant.live_key.id)
    second = await desk.resend(tenant, first)
    assert (await desk.written(tenant, second))["api_key_id"] == tenant.live_key.id


async def test_email_of_test_mode_stays_in_test_mode(desk: Desk, tenant: SeededTenant) -> None:
    (first,) = await desk.queue.add(tenant, mode="test")
    second = await desk.resend(tenant, first)
    written = await desk.written(tenant, second)
    assert (written["mode"], written["api_key_id"]) == ("test", tenant.test_key.id)


async def test_stream_that_came_from_a_key_is_kept_where_no_header_could_name_it(
    desk: Desk, tenant: SeededTenant, database: Database
) -> None:
    async with _administering(database, tenant) as connection:
        await connection.execute(
            "INSERT INTO streams (tenant_id, name, lane, on_unconfirmed) "
            "VALUES ($1, 'Order mail', 'bulk', 'hold')",
            tenant.id,
        )
    sender = Sender(tenant.id, tenant.live_key.id, "live", "Order mail")
    (first,) = (await desk.queue.acceptor.accept(sender, new_email())).ids
    second = await desk.resend(tenant, first)
    written = await desk.written(tenant, second)
    assert (written["stream"], written["lane"]) == ("Order mail", "bulk")


async def test_audit_log_tells_who_asked_and_once_what_was_sent(
    desk: Desk, tenant: SeededTenant
) -> None:
    (first,) = await desk.queue.add(tenant)
    second = await desk.resend(tenant, first)
    assert await desk.resend(tenant, first) == second
    assert [tuple(row) for row in await desk.queue.fetch(tenant, _AUDIT)] == [
        ("email.resend_requested", ACTOR.id, "email", first, None),
        ("email.resent", ACTOR.id, "email", second, str(first)),
        ("email.resend_requested", ACTOR.id, "email", first, None),
    ]


async def test_pressing_together_is_one_entry_of_what_was_sent(
    desk: Desk, tenant: SeededTenant
) -> None:
    (first,) = await desk.queue.add(tenant)
    await asyncio.gather(*(desk.resend(tenant, first) for _ in range(5)))
    entries = [row["action"] for row in await desk.queue.fetch(tenant, _AUDIT)]
    assert sorted(entries) == ["email.resend_requested"] * 5 + ["email.resent"]


async def test_refused_resend_is_on_record_as_asked_for_only(
    desk: Desk, tenant: SeededTenant, database: Database
) -> None:
    async with _administering(database, tenant) as connection:
        await connection.execute("UPDATE tenants SET monthly_quota = 1")
    (first,) = await desk.queue.add(tenant)
    with pytest.raises(QuotaExceeded):
        await desk.resend(tenant, first)
    entries = [row["action"] for row in await desk.queue.fetch(tenant, _AUDIT)]
    assert entries == ["email.resend_requested"]


async def test_entry_that_could_not_be_written_is_made_up_for_by_the_next_press(
    desk: Desk, tenant: SeededTenant, database: Database, tmp_path: Path
) -> None:
    (first,) = await desk.queue.add(tenant)
    async with database.sessions("tp_console") as sessions:
        cut_off = Resender(desk.queue.acceptor, _failing_after(sessions, 1), FolderStore(tmp_path))
        with pytest.raises(DatabaseUnavailable):
            await cut_off.resend(tenant.id, first, key=KEY, actor=ACTOR)
    second = await desk.resend(tenant, first)
    assert await desk.count(tenant) == 2
    sent = [
        row for row in await desk.queue.fetch(tenant, _AUDIT) if row["action"] == "email.resent"
    ]
    assert [row["subject_id"] for row in sent] == [second]


def _failing_after(sessions: SessionMaker, count: int) -> SessionMaker:
    """Sessions of which so many work."""
    left = iter(range(count))

    def make() -> AsyncSession:
        if next(left, None) is None:
            raise ConnectionRefusedError
        return sessions()

    # It is called and nothing else.
    return cast("SessionMaker", make)
