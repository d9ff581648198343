"""The Inbox, written by the local mail server and the worker, read by the console."""

import datetime as dt
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from tallypost_core import clock
from tallypost_core.ids import new_id
from tallypost_domain.emails.types import Sender
from tallypost_domain.inbox import service as inbox
from tallypost_domain.inbox.errors import MessageNotFound
from tallypost_domain.inbox.types import MessageSummary
from tallypost_providers.types import EnvelopeRecipient, Mode, OutgoingEmail
from tests.support.database import Database, SeededTenant
from tests.support.emails import acceptor, live_sender, new_email, sandbox_sender

RECIPIENTS = ["ada@recipient.test", "bo@recipient.test"]


async def accept(database: Database, folder: Path, sender: Sender) -> UUID:
    async with acceptor(database, folder) as accepting:
        return (await accepting.accept(sender, new_email())).ids[0]


def message_of(email_id: UUID | str, *, subject: str = "Hello", body: bytes = b"Hello") -> bytes:
    return (
        f"From: hello@example.com\r\nX-Tallypost-Email-Id: {email_id}\r\nSubject: {subject}\r\n\r\n"
    ).encode() + body


async def store(database: Database, message: bytes) -> bool:
    async with database.pool("tp_inbox") as pool:
        return await inbox.store_message(
            pool,
            envelope_sender="bounces@example.com",
            envelope_recipients=RECIPIENTS,
            message=message,
        )


async def list_all(
    database: Database, tenant: SeededTenant, mode: Mode | None = None
) -> tuple[MessageSummary, ...]:
    async with database.session("tp_console", tenant.id) as session:
        return (await inbox.list_messages(session, tenant.id, mode, limit=100)).items


def outgoing(tenant: SeededTenant, email_id: UUID) -> OutgoingEmail:
    return OutgoingEmail(
        tenant_id=tenant.id,
        email_id=email_id,
        mode="test",
        created_at=dt.datetime(2026, 11, 23, tzinfo=dt.UTC),
        from_header="hello@example.com",
        envelope_sender="bounces@example.com",
        to=("ada@recipient.test",),
        cc=(),
        reply_to=(),
        subject="From the worker",
        html=None,
        text="Hello",
        headers={},
        attachments=(),
        recipients=(
            EnvelopeRecipient(recipient_id=new_id(), address="ada@recipient.test", kind="to"),
        ),
        dkim_keys=(),
        tags={},
    )


async def test_message_is_kept_byte_for_byte(
    database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    email_id = await accept(database, tmp_path, live_sender(tenant))
    message = message_of(
        email_id, subject="=?utf-8?q?Gr=C3=BC=C3=9Fe?=", body=bytes(range(256)) + b"\rBcc: x\n"
    )
    assert await store(database, message)
    (summary,) = await list_all(database, tenant)
    assert (summary.email_id, summary.mode, summary.subject) == (email_id, "live", "Grüße")
    assert summary.envelope_sender == "bounces@example.com"
    assert summary.envelope_recipients == tuple(RECIPIENTS)
    assert summary.size_bytes == len(message)
    assert abs(summary.received_at - clock.utc_now()) < dt.timedelta(minutes=5)
    async with database.session("tp_console", tenant.id) as session:
        assert (await inbox.get_message(session, tenant.id, summary.id)).message == message


async def test_message_that_comes_twice_is_kept_twice(
    database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    email_id = await accept(database, tmp_path, live_sender(tenant))
    assert await store(database, message_of(email_id))
    assert await store(database, message_of(email_id))
    assert len(await list_all(database, tenant)) == 2


async def test_message_without_a_known_email_is_not_kept(
    database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    email_id = await accept(database, tmp_path, live_sender(tenant))
    header = f"X-Tallypost-Email-Id: {email_id}\r\n".encode()
    for message in (
        message_of(new_id()),
        message_of("not an id"),
        message_of(f"{email_id} {email_id}"),
        b"Subject: no id\r\n\r\n",
        b"Subject: in the body\r\n\r\n" + header,
        header + message_of(email_id),
        message_of(email_id).replace(b"Subject", b"Bad Name"),
        message_of(email_id, subject="two\rlines"),
        message_of(email_id).replace(b"\r\n", b"\n"),
        b"",
    ):
        assert not await store(database, message), message
    assert await list_all(database, tenant) == ()


async def test_message_is_its_tenants_alone(
    database: Database, tenant: SeededTenant, other_tenant: SeededTenant, tmp_path: Path
) -> None:
    email_id = await accept(database, tmp_path, live_sender(tenant))
    await store(database, message_of(email_id))
    (summary,) = await list_all(database, tenant)
    assert await list_all(database, other_tenant) == ()
    async with database.session("tp_console", other_tenant.id) as session:
        for tenant_id in (tenant.id, other_tenant.id):
            with pytest.raises(MessageNotFound):
                await inbox.get_message(session, tenant_id, summary.id)


async def test_control_characters_of_an_envelope_can_be_stored(
    database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    email_id = await accept(database, tmp_path, live_sender(tenant))
    async with database.pool("tp_inbox") as pool:
        assert await inbox.store_message(
            pool,
            envelope_sender="a\x00b\udcff@example.com",
            envelope_recipients=["c\r\nd@example.com"],
            message=message_of(email_id, subject="=?utf-8?q?a=00b?="),
        )
    (summary,) = await list_all(database, tenant)
    assert summary.envelope_sender == "a b @example.com"
    assert summary.envelope_recipients == ("c d@example.com",)
    assert summary.subject == "a b"


async def test_worker_stores_test_messages(database: Database, tenant: SeededTenant) -> None:
    email_id, message = new_id(), b"Subject: x\r\n\r\nHello"
    async with database.connect("tp_deliver") as connection:
        await inbox.store_outgoing(connection, outgoing(tenant, email_id), message)
    (summary,) = await list_all(database, tenant)
    assert (summary.email_id, summary.mode, summary.subject) == (
        email_id,
        "test",
        "From the worker",
    )
    assert summary.envelope_recipients == ("ada@recipient.test",)
    async with database.session("tp_console", tenant.id) as session:
        assert (await inbox.get_message(session, tenant.id, summary.id)).message == message


async def test_worker_must_not_store_inside_its_own_transaction(
    database: Database, tenant: SeededTenant
) -> None:
    async with database.connect("tp_deliver") as connection, connection.transaction():
        with pytest.raises(ValueError, match="no transaction"):
            await inbox.store_outgoing(connection, outgoing(tenant, new_id()), b"x")


@pytest.mark.parametrize("role", ["tp_inbox", "tp_deliver"])
async def test_writers_may_not_read(database: Database, role: str) -> None:
    async with database.connect(role) as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetch("SELECT id FROM inbox_messages")


async def test_list_is_filtered_by_mode_and_by_email(
    database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    live = await accept(database, tmp_path, live_sender(tenant))
    other_live = await accept(database, tmp_path, live_sender(tenant))
    sandbox = await accept(database, tmp_path, sandbox_sender(tenant))
    for email_id in (live, other_live, sandbox):
        await store(database, message_of(email_id))
    assert [item.email_id for item in await list_all(database, tenant)] == [
        sandbox,
        other_live,
        live,
    ]
    assert [item.email_id for item in await list_all(database, tenant, "test")] == [sandbox]
    async with database.session("tp_console", tenant.id) as session:
        page = await inbox.list_messages(session, tenant.id, limit=10, email_id=live)
    assert [item.email_id for item in page.items] == [live]


async def test_pages_give_every_message_once(
    database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    email_id = await accept(database, tmp_path, live_sender(tenant))
    for number in range(7):
        await store(database, message_of(email_id, subject=str(number)))
    subjects: list[str] = []
    after, has_more = None, True
    async with database.session("tp_console", tenant.id) as session:
        while has_more:
            page = await inbox.list_messages(session, tenant.id, limit=3, after=after)
            subjects += [item.subject for item in page.items]
            after, has_more = page.items[-1].id, page.has_more
    assert subjects == ["6", "5", "4", "3", "2", "1", "0"]


@pytest.mark.parametrize("limit", [0, 101])
async def test_limit_is_bounded(database: Database, tenant: SeededTenant, limit: int) -> None:
    async with database.session("tp_console", tenant.id) as session:
        with pytest.raises(ValueError, match="limit"):
            await inbox.list_messages(session, tenant.id, limit=limit)
