"""What the pages stand on: messages of emails, and sending one again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tallypost_cli.ports import find_free_port
from tallypost_console.services import Services
from tallypost_core.ids import new_id
from tallypost_domain.audit.types import Actor
from tallypost_domain.db.errors import DatabaseUnavailable
from tallypost_domain.emails.errors import EmailNotFound
from tests.integration.console.mail import accept
from tests.integration.console.running import console_settings
from tests.support.database import TEST_READER, Database, SeededTenant

ACTOR = Actor(kind="person", id=new_id())
LARGE = bytes(range(256)) * 1_200


@asynccontextmanager
async def open_services(database_url: str, objects: Path) -> AsyncIterator[Services]:
    settings = console_settings(database_url, url="http://localhost:8001", objects=objects)
    services = Services(settings)
    try:
        yield services
    finally:
        await services.close()


@pytest.fixture
async def services(database: Database, tmp_path: Path) -> AsyncIterator[Services]:
    """Services of a console on the test's database."""
    async with open_services(database.url("tp_console"), tmp_path) as opened:
        yield opened


async def count_emails(database: Database, tenant: SeededTenant) -> int:
    async with database.connect(TEST_READER) as reader, reader.transaction():
        await reader.execute("SELECT set_config('app.tenant_id', $1, true)", str(tenant.id))
        count: int = await reader.fetchval("SELECT count(*) FROM emails")
        return count


async def test_message_begins_with_its_head_and_holds_what_is_attached(
    database: Database, tenant: SeededTenant, services: Services, tmp_path: Path
) -> None:
    attachments = [{"filename": "large.bin", "content": [*LARGE]}]
    (email_id,) = await accept(database, tmp_path, tenant, "Hello", attachments=attachments)
    message = await services.build_message(tenant.id, email_id)
    head = await services.build_head(tenant.id, email_id)
    assert message.startswith(head)
    assert b"\r\nSubject: Hello\r\n" in head
    assert b"DKIM-Signature" not in head
    assert b'filename="large.bin"' in message or b"filename=large.bin" in message
    attachment = await services.fetch_attachment(tenant.id, email_id, 0)
    assert (attachment.filename, attachment.body) == ("large.bin", LARGE)


async def test_many_may_ask_for_messages_at_the_same_time(
    database: Database, tenant: SeededTenant, services: Services, tmp_path: Path
) -> None:
    (email_id,) = await accept(database, tmp_path, tenant, "Hello")
    asked = (services.build_message(tenant.id, email_id) for _ in range(20))
    assert len(set(await asyncio.gather(*asked))) == 1


async def test_resending_is_connected_at_first_use_and_sends_once(
    database: Database, tenant: SeededTenant, services: Services, tmp_path: Path
) -> None:
    (email_id,) = await accept(database, tmp_path, tenant, "Hello")
    pressed = (
        services.resend(tenant.id, email_id, key="of one form", actor=ACTOR) for _ in range(4)
    )
    assert len(set(await asyncio.gather(*pressed))) == 1
    assert await count_emails(database, tenant) == 2


async def test_another_tenant_s_email_is_not_found(
    database: Database,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
    services: Services,
    tmp_path: Path,
) -> None:
    (email_id,) = await accept(database, tmp_path, tenant, "Hello")
    for attempt in (
        services.build_message(other_tenant.id, email_id),
        services.build_head(other_tenant.id, email_id),
        services.fetch_attachment(other_tenant.id, email_id, 0),
        services.resend(other_tenant.id, email_id, key="of one form", actor=ACTOR),
    ):
        with pytest.raises(EmailNotFound):
            await attempt
    assert await count_emails(database, other_tenant) == 0


async def test_database_that_is_away_is_said_to_be_and_closing_still_works(
    tenant: SeededTenant, tmp_path: Path
) -> None:
    url = f"postgresql://tp_console:x@127.0.0.1:{find_free_port()}/tallypost"
    async with open_services(url, tmp_path) as cut_off:
        with pytest.raises(DatabaseUnavailable):
            await cut_off.build_message(tenant.id, new_id())
        with pytest.raises(DatabaseUnavailable):
            await cut_off.resend(tenant.id, new_id(), key="of one form", actor=ACTOR)
