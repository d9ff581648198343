"""Accepting: an answer means stored and queued, once."""

import asyncio
import datetime as dt
from pathlib import Path

import pytest

from tallypost_core import clock
from tallypost_core.errors import AppError
from tallypost_core.object_store import FolderStore
from tallypost_domain.emails.accept import Acceptor
from tallypost_domain.emails.errors import (
    DomainNotVerified,
    IdempotencyConflict,
    InvalidField,
)
from tallypost_domain.emails.types import Idempotency, NewEmail
from tallypost_domain.suppressions import service as suppressions
from tests.support.database import PEPPERS, TEST_READER, Database, SeededTenant
from tests.support.emails import acceptor, live_sender, new_email


async def _count(database: Database, tenant: SeededTenant, table: str) -> int:
    async with database.connect(TEST_READER) as connection, connection.transaction():
        await connection.execute("SELECT set_config('app.tenant_id', $1, true)", str(tenant.id))
        count: int = await connection.fetchval(f"SELECT count(*) FROM {table}")  # noqa: S608 - a name of this file
        return count


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _key(key: str = "order-17", fingerprint: bytes = b"a" * 32) -> Idempotency:
    return Idempotency("POST /emails", key, fingerprint)


async def test_accepted_email_is_stored_and_queued(
    database: Database, tenant: SeededTenant, other_tenant: SeededTenant, tmp_path: Path
) -> None:
    email = new_email(to=["a@recipient.test", "b@recipient.test"], bcc="c@recipient.test")
    async with acceptor(database, tmp_path) as accept:
        acceptance = await accept.accept(live_sender(tenant), email)
    assert len(acceptance.ids) == 1
    assert await _count(database, tenant, "emails") == 1
    assert await _count(database, tenant, "recipients") == 3
    assert await _count(database, tenant, "send_queue") == 1
    for table in ("emails", "recipients", "send_queue", "events"):
        assert await _count(database, other_tenant, table) == 0


async def test_repeat_with_same_key_returns_first_email(
    database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    async with acceptor(database, tmp_path) as accept:
        first = await accept.accept(live_sender(tenant), new_email(), _key())
        second = await accept.accept(live_sender(tenant), new_email(), _key())
    assert first == second
    assert await _count(database, tenant, "emails") == 1


async def test_same_key_with_other_body_is_a_conflict(
    database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    async with acceptor(database, tmp_path) as accept:
        await accept.accept(live_sender(tenant), new_email(), _key())
        with pytest.raises(IdempotencyConflict):
            await accept.accept(live_sender(tenant), new_email(), _key(fingerprint=b"b" * 32))
    assert await _count(database, tenant, "emails") == 1


async def test_same_key_of_another_tenant_is_another_key(
    database: Database, tenant: SeededTenant, other_tenant: SeededTenant, tmp_path: Path
) -> None:
    async with acceptor(database, tmp_path) as accept:
        first = await accept.accept(live_sender(tenant), new_email(), _key())
        other_email = new_email(from_="hello@example.org")
        second = await accept.accept(live_sender(other_tenant), other_email, _key())
    assert first.ids != second.ids


async def test_concurrent_repeats_store_one_email(
    database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    body = "QUFB" * 120_000
    email = new_email(attachments=[])
    large = new_email(attachments=[{"filename": "a.bin", "content": body}])
    async with acceptor(database, tmp_path) as accept:
        answers = await asyncio.gather(
            *(accept.accept(live_sender(tenant), email, _key()) for _ in range(20))
        )
        large_answers = await asyncio.gather(
            *(accept.accept(live_sender(tenant), large, _key("large")) for _ in range(5))
        )
    assert len(set(answers)) == 1
    assert len(set(large_answers)) == 1
    assert await _count(database, tenant, "emails") == 2
    # The losers' copies of the attachment are gone from the object store.
    assert len(_files(tmp_path)) == 1


async def test_large_attachment_goes_to_the_object_store_and_small_one_to_the_row(
    database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    email = new_email(
        attachments=[
            {"filename": "small.txt", "content": "aGVsbG8="},
            {"filename": "large.bin", "content": [7] * 300_000},
        ]
    )
    async with acceptor(database, tmp_path) as accept:
        (email_id,) = (await accept.accept(live_sender(tenant), email)).ids
    stored = await FolderStore(tmp_path).get(f"{tenant.id}/{email_id}/1")
    assert stored == bytes([7]) * 300_000


async def test_unverified_domain_is_refused(
    database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    async with acceptor(database, tmp_path) as accept:
        with pytest.raises(DomainNotVerified):
            # Verified, but by the other tenant.
            await accept.accept(live_sender(tenant), new_email(from_="a@example.org"))
    assert await _count(database, tenant, "emails") == 0


async def test_strict_batch_stores_all_or_nothing(
    database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    bad = InvalidField("The `to` field is wrong.", field="to")
    items: list[NewEmail | AppError] = [new_email(), bad, new_email()]
    async with acceptor(database, tmp_path) as accept:
        with pytest.raises(InvalidField) as caught:
            await accept.accept_batch(live_sender(tenant), items, strict=True)
        assert caught.value.field == "[1].to"
        assert await _count(database, tenant, "emails") == 0
        good = await accept.accept_batch(
            live_sender(tenant), [new_email() for _ in range(100)], strict=True
        )
    assert len(set(good.ids)) == 100
    assert await _count(database, tenant, "send_queue") == 100


async def test_permissive_batch_stores_the_good_and_lists_the_bad(
    database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    items: list[NewEmail | AppError] = [
        new_email(from_="a@example.org"),
        new_email(),
        InvalidField("The `to` field is wrong.", field="to"),
    ]
    async with acceptor(database, tmp_path) as accept:
        acceptance = await accept.accept_batch(live_sender(tenant), items, strict=False)
        only_bad: list[AppError] = [InvalidField("wrong", field="to")]
        nothing = await accept.accept_batch(live_sender(tenant), only_bad, strict=False)
    assert len(acceptance.ids) == 1
    assert [error.index for error in acceptance.errors] == [0, 2]
    assert nothing.ids == ()
    assert await _count(database, tenant, "emails") == 1


async def test_suppressed_recipient_is_recorded_and_not_queued(
    database: Database, tenant: SeededTenant, other_tenant: SeededTenant, tmp_path: Path
) -> None:
    async with database.session("tp_cli", tenant.id) as session:
        await suppressions.suppress(
            session, tenant.id, "live", "Gone@Recipient.test", origin="bounce", peppers=PEPPERS
        )
    async with acceptor(database, tmp_path) as accept:
        await accept.accept(live_sender(tenant), new_email(to="gone@recipient.test"))
        other = new_email(from_="hello@example.org", to="gone@recipient.test")
        await accept.accept(live_sender(other_tenant), other)
    assert await _count(database, tenant, "send_queue") == 0
    assert await _count(database, other_tenant, "send_queue") == 1


async def test_unknown_stream_is_refused_and_known_one_decides_the_lane(
    database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    async with acceptor(database, tmp_path) as accept:
        with pytest.raises(InvalidField):
            await accept.accept(
                live_sender(tenant), new_email(headers={"X-Tallypost-Stream": "nosuch"})
            )
        await accept.accept(live_sender(tenant, stream="bulk"), new_email())
    async with database.connect(TEST_READER) as connection, connection.transaction():
        await connection.execute("SELECT set_config('app.tenant_id', $1, true)", str(tenant.id))
        assert await connection.fetchval("SELECT lane FROM send_queue") == "bulk"


async def test_past_schedule_is_due_at_once_and_future_one_waits(
    database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    now = clock.utc_now()
    async with acceptor(database, tmp_path) as accept:
        for moment in (now - dt.timedelta(hours=1), now + dt.timedelta(hours=1)):
            await accept.accept(live_sender(tenant), new_email(scheduled_at=moment.isoformat()))
    async with database.connect(TEST_READER) as connection, connection.transaction():
        await connection.execute("SELECT set_config('app.tenant_id', $1, true)", str(tenant.id))
        rows = await connection.fetch("SELECT status, scheduled_at FROM emails ORDER BY id")
        due = await connection.fetchval("SELECT count(*) FROM send_queue WHERE due_at <= now()")
    assert [row["status"] for row in rows] == ["queued", "scheduled"]
    assert due == 1


async def test_client_that_hangs_up_does_not_undo_the_email(
    database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    async def hang_up(accept: Acceptor) -> None:
        task = asyncio.create_task(accept.accept(live_sender(tenant), new_email(), _key()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async with acceptor(database, tmp_path) as accept:
        await hang_up(accept)
        again = await accept.accept(live_sender(tenant), new_email(), _key())
    assert len(again.ids) == 1
    assert await _count(database, tenant, "emails") == 1
