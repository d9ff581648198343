"""Accepting at its edges: suppression in any spelling, waiting for a twin, and failing clean."""

import asyncio
from pathlib import Path

import pytest

from tallypost_core.errors import AppError
from tallypost_domain.db.pools import name_tenants, transaction
from tallypost_domain.emails.errors import ConcurrentIdempotentRequest, InvalidField
from tallypost_domain.emails.limits import Limits
from tallypost_domain.emails.types import BatchError, Idempotency, NewEmail
from tallypost_domain.suppressions.service import suppress
from tests.integration.queue.harness import Harness, open_harness
from tests.support.database import PEPPERS, Database, SeededTenant
from tests.support.emails import acceptor, live_sender, new_email

LARGE = [{"filename": "a.bin", "content": [7] * 300_000}]
_CLAIM = "INSERT INTO idempotency_keys VALUES ($1, 'live', $2, $3, $4, '{}')"
KEY = Idempotency("POST /emails", "order-17", b"a" * 32)


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def _suppress(queue: Harness, tenant: SeededTenant, address: str, mode: str) -> None:
    async with queue.database.session("tp_cli", tenant.id) as session:
        await suppress(session, tenant.id, mode, address, origin="bounce", peppers=PEPPERS)


async def test_suppressed_address_is_known_in_every_email_of_a_batch_and_any_spelling(
    database: Database, tenant: SeededTenant, other_tenant: SeededTenant, tmp_path: Path
) -> None:
    async with open_harness(database, tmp_path) as queue:
        await _suppress(queue, tenant, "ADA@recipient.test", "live")
        emails = [
            new_email(to=[to, "b@r.test"]) for to in ("Ada@recipient.test", "aDA@RECIPIENT.test")
        ]
        (first, second) = (
            await queue.acceptor.accept_batch(live_sender(tenant), emails, strict=True)
        ).ids
        assert await queue.statuses(tenant, first) == {
            "Ada": "suppressed",
            "b": "queued",
            "email": "queued",
        }
        assert (await queue.statuses(tenant, second))["aDA"] == "suppressed"
        assert await queue.events(tenant, first) == ["email.suppressed"]
        # Of another tenant, and in the other mode, it is an address like any other.
        for owner, mode in ((other_tenant, "live"), (tenant, "test")):
            (email_id,) = await queue.add(owner, mode=mode, to="ada@recipient.test")
            assert set((await queue.statuses(owner, email_id)).values()) == {"queued"}


async def test_email_to_suppressed_addresses_only_is_accepted_and_never_queued(
    database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    async with open_harness(database, tmp_path) as queue:
        await _suppress(queue, tenant, "a@r.test", "live")
        await _suppress(queue, tenant, "b@r.test", "live")
        (email_id,) = await queue.add(tenant, to=["a@r.test"], bcc="b@r.test")
        assert set((await queue.statuses(tenant, email_id)).values()) == {"suppressed"}
        assert await queue.find_row(tenant, email_id) is None
        assert await queue.events(tenant, email_id) == ["email.suppressed"] * 2


async def test_mailbox_in_several_fields_is_one_recipient(
    database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    async with open_harness(database, tmp_path) as queue:
        (email_id,) = await queue.add(
            tenant,
            to=["A <a@r.test>", "a@R.test"],
            cc=["A@r.test", "b@r.test"],
            bcc=["B@r.test", "c@r.test"],
        )
        rows = await queue.fetch(
            tenant, "SELECT kind, address FROM recipients WHERE email_id = $1 ORDER BY id", email_id
        )
        assert [tuple(row) for row in rows] == [
            ("to", "a@r.test"),
            ("cc", "b@r.test"),
            ("bcc", "c@r.test"),
        ]
        (row,) = await queue.fetch(tenant, "SELECT * FROM emails")
        assert "a@r.test" in row["to_header"]
        assert "A@r.test" in row["cc_header"]


async def test_twin_that_waits_too_long_is_told_to_repeat_and_leaves_nothing(
    database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    hasty = Limits(brief_wait_ms=10, patient_wait_ms=100)
    async with (
        open_harness(database, tmp_path) as queue,
        acceptor(database, tmp_path, limits=hasty) as accept,
        database.pool("tp_accept") as pool,
        transaction(pool, [tenant.id]) as connection,
    ):
        # As the first request does, between its first statement and its commit.
        await connection.execute(_CLAIM, tenant.id, KEY.route, KEY.key, KEY.fingerprint)
        with pytest.raises(ConcurrentIdempotentRequest) as caught:
            await accept.accept(live_sender(tenant), new_email(attachments=LARGE), KEY)
        assert caught.value.retry_after_s
        assert _files(tmp_path) == []
        assert await queue.fetch(tenant, "SELECT 1 FROM emails") == []


async def test_first_request_that_fails_leaves_the_key_to_its_twin(
    database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    async with open_harness(database, tmp_path) as queue, database.connect("tp_accept") as first:
        transaction = first.transaction()
        await transaction.start()
        await name_tenants(first, [tenant.id])
        await first.execute(_CLAIM, tenant.id, KEY.route, KEY.key, KEY.fingerprint)
        twin = asyncio.create_task(queue.acceptor.accept(live_sender(tenant), new_email(), KEY))
        async with asyncio.timeout(10):
            while not await queue.reader.fetch("SELECT 1 FROM pg_locks WHERE NOT granted"):  # noqa: ASYNC110 - the database's locks
                await asyncio.sleep(0.01)
        await transaction.rollback()
        assert len((await twin).ids) == 1
        assert len(await queue.fetch(tenant, "SELECT 1 FROM emails")) == 1


async def test_permissive_batch_of_bad_emails_only_stores_nothing_and_lists_all(
    database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    bad: list[NewEmail | AppError] = [
        InvalidField("The `to` field is wrong.", field="to"),
        new_email(from_="hello@example.org"),
        new_email(headers={"X-Tallypost-Stream": "nosuch"}),
    ]
    async with open_harness(database, tmp_path) as queue:
        acceptance = await queue.acceptor.accept_batch(live_sender(tenant), bad, strict=False)
        assert acceptance.ids == ()
        assert [type(error) for error in acceptance.errors] == [BatchError] * 3
        assert [error.index for error in acceptance.errors] == [0, 1, 2]
        assert await queue.fetch(tenant, "SELECT 1 FROM emails") == []


async def test_keys_are_of_one_mode_and_one_route(
    database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    async with open_harness(database, tmp_path) as queue:
        sender = live_sender(tenant)
        sandbox = type(sender)(tenant.id, tenant.test_key.id, "test", None)
        batch = Idempotency("POST /emails/batch", KEY.key, b"b" * 32)
        answers = [
            await queue.acceptor.accept(sender, new_email(), KEY),
            await queue.acceptor.accept(sandbox, new_email(), KEY),
            await queue.acceptor.accept(sender, new_email(), batch),
        ]
        assert len({answer.ids for answer in answers}) == 3
