"""The message of an email as people see it: what the worker sends, but for the signature."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from tallypost_core.ids import new_id
from tallypost_core.object_store import FolderStore
from tallypost_domain.emails import messages
from tallypost_domain.emails.errors import AttachmentGone, AttachmentNotFound, EmailNotFound
from tallypost_domain.emails.messages import AttachmentView
from tallypost_domain.emails.types import NewEmail
from tallypost_providers.mime import build_message, write_message
from tallypost_simulators.smtp_reception import ReceivedMessage
from tallypost_simulators.smtp_sink import SMTPSink
from tests.integration.queue.harness import Harness, open_harness
from tests.support.database import Database, SeededTenant
from tests.support.emails import live_sender, new_email
from tests.support.worker import eventually, running_worker, worker_environment

LARGE = bytes(range(256)) * 1_200
ATTACHMENTS = [
    {"filename": "Grüße.txt", "content": "aGVsbG8=", "content_type": "text/plain; charset=utf-8"},
    {"filename": "large.bin", "content": [*LARGE]},
    {"filename": "logo.png", "content": "iVBORw==", "content_id": "logo"},
]


@pytest.fixture
async def queue(database: Database, tmp_path: Path) -> AsyncIterator[Harness]:
    """A queue of this test alone."""
    async with open_harness(database, tmp_path) as harness:
        yield harness


@pytest.fixture
def objects(tmp_path: Path) -> FolderStore:
    """The folder of the queue's large attachments."""
    return FolderStore(tmp_path)


def rich_email() -> NewEmail:
    """An email with something of everything that goes into a message."""
    return new_email(
        from_="Zoë <hello@example.com>",
        to=["Ada <ada@recipient.test>", "bo@recipient.test"],
        cc="cy@recipient.test",
        bcc="dee@recipient.test",
        reply_to=["answers@example.com"],
        subject="Grüße",
        html='<p>😀 <img src="cid:logo"></p>',
        text="Hallo\n.\nFrom here on",
        headers={"X-Order": "17", "List-Id": "<orders.example.com>"},
        attachments=ATTACHMENTS,
    )


async def build(
    queue: Harness, objects: FolderStore, tenant: SeededTenant, email_id: UUID
) -> bytes:
    async with queue.database.session("tp_console", tenant.id) as session:
        source = await messages.load_source(session, tenant.id, email_id)
    return build_message(await messages.assemble(objects, source))


async def build_head(queue: Harness, tenant: SeededTenant, email_id: UUID) -> bytes:
    async with queue.database.session("tp_console", tenant.id) as session:
        source = await messages.load_outline(session, tenant.id, email_id)
    return write_message(messages.outline(source)).head


async def fetch(
    queue: Harness, objects: FolderStore, tenant: SeededTenant, email_id: UUID, index: int
) -> bytes:
    async with queue.database.session("tp_console", tenant.id) as session:
        stored = await messages.get_attachment(session, tenant.id, email_id, index)
    (attachment,) = await messages.fetch_attachments(objects, [stored])
    return attachment.body


@pytest.mark.parametrize(
    "email",
    [rich_email(), new_email(), new_email(html=None, text="Only text")],
    ids=["rich", "html", "text"],
)
async def test_message_is_what_arrives_but_for_the_signature(
    queue: Harness,
    objects: FolderStore,
    tenant: SeededTenant,
    redis_url: str,
    tmp_path: Path,
    email: NewEmail,
) -> None:
    received: list[ReceivedMessage] = []

    async def keep(message: ReceivedMessage) -> None:
        received.append(message)

    async with SMTPSink(keep) as sink:
        environment = worker_environment(
            queue.database, redis_url=redis_url, objects=tmp_path, smtp_port=sink.port
        )
        (email_id,) = (await queue.acceptor.accept(live_sender(tenant), email)).ids
        before = await build(queue, objects, tenant, email_id)
        async with running_worker(environment):
            await eventually(lambda: received)
    message = await build(queue, objects, tenant, email_id)
    assert message == before
    assert received[0].body.endswith(message)
    signatures = received[0].body.removesuffix(message).decode()
    fields = signatures.replace("\r\n\t", "").splitlines()
    assert [field.partition(":")[0] for field in fields] == ["DKIM-Signature"] * 2
    assert b"dee@recipient.test" not in message


@pytest.mark.parametrize(
    "email",
    [rich_email(), new_email(html="<p>ä</p>"), new_email(html=None, text="Only text")],
    ids=["rich", "html", "text"],
)
async def test_head_is_the_message_s_own_without_a_look_at_the_object_store(
    queue: Harness, objects: FolderStore, tenant: SeededTenant, email: NewEmail
) -> None:
    (email_id,) = (await queue.acceptor.accept(live_sender(tenant), email)).ids
    message = await build(queue, objects, tenant, email_id)
    await objects.delete(f"{tenant.id}/{email_id}/1")
    head = await build_head(queue, tenant, email_id)
    assert head.endswith(b"\r\n\r\n")
    assert message.partition(b"\r\n\r\n")[0] == head.removesuffix(b"\r\n\r\n")


async def test_attachments_are_listed_in_order_and_fetched_by_their_index(
    queue: Harness, objects: FolderStore, tenant: SeededTenant
) -> None:
    (email_id,) = (await queue.acceptor.accept(live_sender(tenant), rich_email())).ids
    async with queue.database.session("tp_console", tenant.id) as session:
        listed = await messages.list_attachments(session, tenant.id, email_id)
    assert listed == (
        AttachmentView(
            index=0,
            filename="Grüße.txt",
            content_type="text/plain; charset=utf-8",
            size_bytes=5,
            content_id=None,
        ),
        AttachmentView(
            index=1,
            filename="large.bin",
            content_type="application/octet-stream",
            size_bytes=len(LARGE),
            content_id=None,
        ),
        AttachmentView(
            index=2, filename="logo.png", content_type="image/png", size_bytes=4, content_id="logo"
        ),
    )
    bodies = [await fetch(queue, objects, tenant, email_id, view.index) for view in listed]
    assert bodies == [b"hello", LARGE, b"\x89PNG"]


async def test_email_without_attachments_has_none_to_list(
    queue: Harness, tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add(tenant)
    async with queue.database.session("tp_console", tenant.id) as session:
        assert await messages.list_attachments(session, tenant.id, email_id) == ()


@pytest.mark.parametrize("index", [-1, 3, 10**12])
async def test_index_that_no_attachment_has_is_not_found(
    queue: Harness, objects: FolderStore, tenant: SeededTenant, index: int
) -> None:
    (email_id,) = (await queue.acceptor.accept(live_sender(tenant), rich_email())).ids
    with pytest.raises(AttachmentNotFound):
        await fetch(queue, objects, tenant, email_id, index)


async def test_attachment_that_left_the_object_store_is_said_to_be_gone(
    queue: Harness, objects: FolderStore, tenant: SeededTenant
) -> None:
    (email_id,) = (await queue.acceptor.accept(live_sender(tenant), rich_email())).ids
    await objects.delete(f"{tenant.id}/{email_id}/1")
    with pytest.raises(AttachmentGone):
        await build(queue, objects, tenant, email_id)
    with pytest.raises(AttachmentGone):
        await fetch(queue, objects, tenant, email_id, 1)
    assert await fetch(queue, objects, tenant, email_id, 0) == b"hello"


async def test_email_of_another_tenant_is_as_unknown_as_one_that_does_not_exist(
    queue: Harness, objects: FolderStore, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    (email_id,) = (await queue.acceptor.accept(live_sender(tenant), rich_email())).ids
    for wanted in (email_id, new_id()):
        with pytest.raises(EmailNotFound):
            await build(queue, objects, other_tenant, wanted)
        with pytest.raises(EmailNotFound):
            await build_head(queue, other_tenant, wanted)
        with pytest.raises(EmailNotFound):
            await fetch(queue, objects, other_tenant, wanted, 0)
        async with queue.database.session("tp_console", other_tenant.id) as session:
            with pytest.raises(EmailNotFound):
                await messages.list_attachments(session, other_tenant.id, wanted)
