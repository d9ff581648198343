"""Attachments that a request names by URL are stored like those that it brings."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path

import pytest

from tallypost_core.errors import AppError
from tallypost_core.object_store import FolderStore
from tallypost_domain.emails.accept import Acceptor
from tallypost_domain.emails.errors import EmailTooLarge, FieldNotSupported, InvalidAttachment
from tallypost_domain.emails.limits import Limits
from tallypost_domain.emails.types import Idempotency, NewEmail
from tallypost_resilience.egress import Egress
from tallypost_resilience.egress_rules import EgressRules
from tests.integration.emails.test_lost_answers import files
from tests.integration.queue.harness import open_harness
from tests.support.database import PEPPERS, Database, SeededTenant
from tests.support.emails import acceptor, live_sender, new_email
from tests.support.http_peers import Peer, answer, peer

KEY = Idempotency("POST /emails", "order-17", b"a" * 32)
BODY = bytes(range(256)) * 2_000


@asynccontextmanager
async def acceptor_for(
    database: Database, folder: Path, server: Peer, **limits: int
) -> AsyncIterator[Acceptor]:
    """An acceptor that may fetch from the server."""
    rules = EgressRules(
        ports=frozenset({server.port}), allowed_networks=(ip_network("127.0.0.0/8"),)
    )
    egress = Egress("test", rules)
    async with database.pool("tp_accept") as pool, database.sessions("tp_api") as sessions:
        accept = Acceptor(
            pool, sessions, FolderStore(folder), PEPPERS, egress=egress, limits=Limits(**limits)
        )
        yield accept
        await accept.close()
    await egress.aclose()


def email_with(*urls: str) -> NewEmail:
    """An email with attachments to fetch."""
    return new_email(attachments=[{"path": url} for url in urls])


async def test_fetched_attachment_is_stored_and_a_repeat_fetches_nothing(
    database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    async with (
        peer(answer(BODY, headers=("Content-Type: application/pdf",))) as server,
        acceptor_for(database, tmp_path, server) as accept,
        open_harness(database, tmp_path) as queue,
    ):
        email = email_with(server.url(path="/report.pdf"))
        first = await accept.accept(live_sender(tenant), email, KEY)
        assert await accept.accept(live_sender(tenant), email, KEY) == first
        assert len(server.requests) == 1
        (row,) = await queue.fetch(
            tenant,
            "SELECT c.attachments, e.size_bytes FROM emails e "
            "JOIN email_contents c ON c.email_id = e.id",
        )
        (email_id,) = first.ids
        assert await FolderStore(tmp_path).get(f"{tenant.id}/{email_id}/0") == BODY
        assert '"report.pdf"' in row["attachments"]
        assert "application/pdf" in row["attachments"]
        assert row["size_bytes"] > len(BODY)


async def test_what_cannot_be_fetched_stores_nothing_and_is_named(
    database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    async with (
        peer(answer(b"gone", status="404 Not Found")) as server,
        acceptor_for(database, tmp_path, server) as accept,
        open_harness(database, tmp_path) as queue,
    ):
        bad = email_with(server.url())
        with pytest.raises(InvalidAttachment) as caught:
            await accept.accept(live_sender(tenant), bad, KEY)
        assert caught.value.field == "attachments[0].path"
        items: list[NewEmail | AppError] = [new_email(), bad]
        with pytest.raises(InvalidAttachment) as caught:
            await accept.accept_batch(live_sender(tenant), items, strict=True)
        assert caught.value.field == "[1].attachments[0].path"
        kept = await accept.accept_batch(live_sender(tenant), items, strict=False)
        assert [error.index for error in kept.errors] == [1]
        assert len(await queue.fetch(tenant, "SELECT 1 FROM emails")) == 1


async def test_emails_of_one_request_share_a_bound_on_what_is_fetched(
    database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    async with (
        peer(answer(BODY)) as server,
        acceptor_for(database, tmp_path, server, fetched_bytes=len(BODY) * 2) as accept,
        open_harness(database, tmp_path) as queue,
    ):
        emails = [email_with(server.url())] * 3
        with pytest.raises(EmailTooLarge):
            await accept.accept_batch(live_sender(tenant), emails, strict=True)
        assert await queue.fetch(tenant, "SELECT 1 FROM emails") == []
        assert files(tmp_path) == []


async def test_without_a_way_out_the_field_is_refused(
    database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    async with acceptor(database, tmp_path) as accept:
        with pytest.raises(FieldNotSupported) as caught:
            await accept.accept(live_sender(tenant), email_with("https://example.com/a"))
        assert caught.value.field == "attachments[0].path"
