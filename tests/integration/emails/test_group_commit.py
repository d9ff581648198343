"""Many requests by one commit: what one of them does wrong, or slowly, is felt by no other."""

import asyncio
import contextlib
from pathlib import Path

import msgspec
import pytest

from tallypost_domain.db.pools import transaction
from tallypost_domain.emails.accept import Acceptor
from tallypost_domain.emails.errors import (
    AcceptOverloaded,
    ConcurrentIdempotentRequest,
    IdempotencyConflict,
)
from tallypost_domain.emails.limits import Limits
from tallypost_domain.emails.types import Acceptance, Idempotency, NewEmail
from tallypost_telemetry import metrics
from tests.integration.emails import races
from tests.integration.queue.harness import Harness, open_harness
from tests.support.database import Database, SeededTenant
from tests.support.emails import acceptor, live_sender, new_email

LARGE_TEXT = "x" * 150_000

_CLAIM = "INSERT INTO idempotency_keys VALUES ($1, 'live', $2, $3, $4, $5)"


def key(name: str = "order-17", fingerprint: bytes = b"a" * 32) -> Idempotency:
    """An idempotency key of a single email."""
    return Idempotency("POST /emails", name, fingerprint)


def bad_email() -> NewEmail:
    """An email that no database takes, as if validation had let it through."""
    return msgspec.structs.replace(new_email(), html="a\x00b")


async def warm_up(accept: Acceptor, tenant: SeededTenant) -> None:
    """Let the acceptor look up what it then remembers, so that requests stay together."""
    await accept.accept(live_sender(tenant), new_email(from_=f"hello@{tenant.domain}"))


def flushes_counted() -> list[float]:
    """How many commits the metrics of this process know, and the emails in them."""
    name = "tallypost_accept_flush_size_emails"
    return [metrics.REGISTRY.get_sample_value(f"{name}_{of}") or 0.0 for of in ("count", "sum")]


async def stored(queue: Harness, tenant: SeededTenant) -> int:
    """How many emails of a tenant there are."""
    return len(await queue.fetch(tenant, "SELECT 1 FROM emails"))


async def test_requests_that_arrive_together_share_commits(
    database: Database, tenant: SeededTenant, other_tenant: SeededTenant, tmp_path: Path
) -> None:
    async with (
        open_harness(database, tmp_path) as queue,
        acceptor(database, tmp_path) as accept,
    ):
        for owner in (tenant, other_tenant):
            await warm_up(accept, owner)
        before = flushes_counted()
        answers = await asyncio.gather(
            *(
                accept.accept(live_sender(owner), new_email(from_=f"hello@{owner.domain}"))
                for owner in (tenant, other_tenant) * 20
            )
        )
        commits = set()
        for owner in (tenant, other_tenant):
            rows = await queue.fetch(owner, "SELECT id, xmin::text FROM emails")
            assert len(rows) == 21
            commits |= {row["xmin"] for row in rows}
    assert len({answer.ids for answer in answers}) == 40
    # Two of these are of the first emails.
    assert len(commits) < 12
    flushes, emails = (now - then for now, then in zip(flushes_counted(), before, strict=True))
    assert (flushes, emails) == (len(commits) - 2, 40)


async def test_bad_row_fails_its_own_request_only(
    database: Database, tenant: SeededTenant, other_tenant: SeededTenant, tmp_path: Path
) -> None:
    async with (
        open_harness(database, tmp_path) as queue,
        acceptor(database, tmp_path) as accept,
    ):
        for owner in (tenant, other_tenant):
            await warm_up(accept, owner)
        requests = [
            accept.accept(live_sender(tenant), new_email(), key("first")),
            accept.accept(live_sender(tenant), bad_email()),
            accept.accept(live_sender(tenant), bad_email(), key("bad")),
            accept.accept(live_sender(other_tenant), new_email(from_="hello@example.org")),
        ]
        outcomes = await asyncio.gather(*requests, return_exceptions=True)
        assert [isinstance(outcome, Acceptance) for outcome in outcomes] == [
            True,
            False,
            False,
            True,
        ]
        assert (await stored(queue, tenant), await stored(queue, other_tenant)) == (2, 2)
        # The key of what failed is free.
        assert await accept.accept(live_sender(tenant), new_email(), key("bad"))


async def test_strict_batch_with_a_bad_row_stores_nothing_and_its_neighbours_everything(
    database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    async with (
        open_harness(database, tmp_path) as queue,
        acceptor(database, tmp_path) as accept,
    ):
        await warm_up(accept, tenant)
        batch = [new_email(), bad_email(), new_email()]
        outcomes = await asyncio.gather(
            accept.accept_batch(live_sender(tenant), [new_email()] * 3, strict=True),
            accept.accept_batch(live_sender(tenant), batch, strict=True),
            return_exceptions=True,
        )
        assert [isinstance(outcome, Acceptance) for outcome in outcomes] == [True, False]
        assert await stored(queue, tenant) == 4


async def test_repeats_that_arrive_together_get_one_answer_or_a_conflict(
    database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    async with (
        open_harness(database, tmp_path) as queue,
        acceptor(database, tmp_path) as accept,
    ):
        await warm_up(accept, tenant)
        outcomes = await asyncio.gather(
            *(accept.accept(live_sender(tenant), new_email(), key()) for _ in range(5)),
            accept.accept(live_sender(tenant), new_email(), key(fingerprint=b"b" * 32)),
            return_exceptions=True,
        )
        assert len({repr(outcome) for outcome in outcomes[:5]}) == 1
        assert isinstance(outcomes[0], Acceptance)
        assert isinstance(outcomes[5], IdempotencyConflict)
        assert await stored(queue, tenant) == 2


async def test_another_request_with_the_key_of_one_that_fails_is_accepted(
    database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    async with (
        open_harness(database, tmp_path) as queue,
        acceptor(database, tmp_path) as accept,
    ):
        await warm_up(accept, tenant)
        outcomes = await asyncio.gather(
            accept.accept(live_sender(tenant), bad_email(), key()),
            accept.accept(live_sender(tenant), new_email(), key(fingerprint=b"b" * 32)),
            return_exceptions=True,
        )
        assert [isinstance(outcome, Acceptance) for outcome in outcomes] == [False, True]
        assert await stored(queue, tenant) == 2


@pytest.mark.parametrize("is_committed", [True, False])
async def test_twin_in_another_process_holds_up_nobody_else(
    database: Database, tenant: SeededTenant, tmp_path: Path, is_committed: bool
) -> None:
    patient = Limits(patient_wait_ms=30_000)
    first = Acceptance(ids=(tenant.domain_id,))
    async with (
        open_harness(database, tmp_path) as queue,
        acceptor(database, tmp_path, limits=patient) as accept,
        database.connect("tp_accept") as other_process,
    ):
        await warm_up(accept, tenant)
        claim = other_process.transaction()
        await claim.start()
        await other_process.execute(
            "SELECT set_config('app.tenant_ids', $1, true)", f"{{{tenant.id}}}"
        )
        await other_process.execute(
            _CLAIM,
            tenant.id,
            "POST /emails",
            "twin",
            b"a" * 32,
            msgspec.json.encode(first).decode(),
        )
        twin = asyncio.create_task(accept.accept(live_sender(tenant), new_email(), key("twin")))
        others = await asyncio.gather(
            *(accept.accept(live_sender(tenant), new_email(), key(f"{n}")) for n in range(5)),
            *(accept.accept(live_sender(tenant), new_email()) for _ in range(5)),
        )
        assert len({answer.ids for answer in others}) == 10
        assert not twin.done()
        await (claim.commit() if is_committed else claim.rollback())
        answer = await twin
        assert (answer == first) is is_committed
        assert await stored(queue, tenant) == (11 if is_committed else 12)


async def test_what_does_not_fit_is_told_to_come_back_and_what_was_taken_on_is_stored(
    database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    tight = Limits(held_emails=3)
    async with (
        open_harness(database, tmp_path) as queue,
        acceptor(database, tmp_path, limits=tight) as accept,
    ):
        await warm_up(accept, tenant)
        outcomes = await asyncio.gather(
            *(accept.accept(live_sender(tenant), new_email()) for _ in range(5)),
            return_exceptions=True,
        )
        refused = [outcome for outcome in outcomes if isinstance(outcome, AcceptOverloaded)]
        assert len(refused) == 2
        assert all(error.retry_after_s for error in refused)
        assert await stored(queue, tenant) == 4
        # There is room again.
        await accept.accept_batch(live_sender(tenant), [new_email()] * 3, strict=True)


async def test_bytes_on_their_way_are_bounded_too(
    database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    tight = Limits(held_bytes=400_000, large_in_flight=1)
    async with (
        open_harness(database, tmp_path) as queue,
        acceptor(database, tmp_path, limits=tight) as accept,
    ):
        await warm_up(accept, tenant)
        outcomes = await asyncio.gather(
            *(accept.accept(live_sender(tenant), new_email(text=LARGE_TEXT)) for _ in range(3)),
            accept.accept(live_sender(tenant), new_email()),
            return_exceptions=True,
        )
        assert [type(outcome) for outcome in outcomes] == [
            Acceptance,
            Acceptance,
            AcceptOverloaded,
            Acceptance,
        ]
        assert await stored(queue, tenant) == 4


class _TakenBack(Exception):
    """Ends a transaction without a commit."""


async def test_small_email_does_not_wait_for_a_large_one(
    database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    async with (
        open_harness(database, tmp_path) as queue,
        acceptor(database, tmp_path, limits=Limits(brief_wait_ms=20_000)) as accept,
        database.pool("tp_accept") as pool,
    ):
        await warm_up(accept, tenant)
        with contextlib.suppress(_TakenBack):
            async with transaction(pool, [tenant.id]) as connection:
                # The commit of whoever has the same key waits for this one.
                await connection.execute(
                    _CLAIM, tenant.id, "POST /emails", "large", b"a" * 32, "{}"
                )
                large = asyncio.create_task(
                    accept.accept(live_sender(tenant), new_email(text=LARGE_TEXT), key("large"))
                )
                async with asyncio.timeout(20):
                    while not await queue.reader.fetch("SELECT 1 FROM pg_locks WHERE NOT granted"):  # noqa: ASYNC110 - the database's locks
                        await asyncio.sleep(0.01)
                small = accept.accept(live_sender(tenant), new_email(), key("small"))
                await asyncio.wait_for(small, 10)
                assert not large.done()
                raise _TakenBack
        await asyncio.wait_for(large, 20)
        assert await stored(queue, tenant) == 3


async def test_client_that_hangs_up_while_its_email_is_written_loses_nothing(
    database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    async with (
        open_harness(database, tmp_path) as queue,
        acceptor(database, tmp_path) as accept,
    ):
        await warm_up(accept, tenant)
        requests = [
            asyncio.create_task(accept.accept(live_sender(tenant), new_email(), key(f"{n}")))
            for n in range(10)
        ]
        # Each goes as far as it can: into the group that is written next.
        await asyncio.sleep(0)
        for request in requests:
            request.cancel()
        assert {type(o) for o in await asyncio.gather(*requests, return_exceptions=True)} == {
            asyncio.CancelledError
        }
        await accept.close()
        assert await stored(queue, tenant) == 11


async def test_repeat_of_one_that_takes_too_long_is_told_to_come_back(
    database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    hasty = Limits(patient_wait_ms=50, brief_wait_ms=20)
    async with (
        open_harness(database, tmp_path) as queue,
        acceptor(database, tmp_path, limits=hasty) as accept,
        database.pool("tp_accept") as pool,
    ):
        await warm_up(accept, tenant)
        async with transaction(pool, [tenant.id]) as connection:
            await connection.execute(_CLAIM, tenant.id, "POST /emails", "twin", b"a" * 32, "{}")
            outcomes = await asyncio.gather(
                *(accept.accept(live_sender(tenant), new_email(), key("twin")) for _ in range(3)),
                return_exceptions=True,
            )
        assert {type(outcome) for outcome in outcomes} == {ConcurrentIdempotentRequest}
        assert await stored(queue, tenant) == 1


async def test_processes_with_the_same_keys_never_lock_each_other_out(
    database: Database, tenant: SeededTenant, other_tenant: SeededTenant, tmp_path: Path
) -> None:
    keys = [f"key-{n}" for n in range(60)]
    answers: dict[str, set[str]] = {}
    with races.racing(database, tmp_path, [tenant, other_tenant], keys, processes=4) as racers:
        for racer in racers:
            for name, answer in (await asyncio.to_thread(racer.answers)).items():
                answers.setdefault(name, set()).add(answer)
    # One answer to each key, whichever process was asked.
    assert len(answers) == 2 * len(keys)
    assert [name for name, given in answers.items() if len(given) != 1] == []
    async with open_harness(database, tmp_path) as queue:
        assert await stored(queue, tenant) == len(keys)
        assert await stored(queue, other_tenant) == len(keys)
    async with database.connect("tp_accept") as connection:
        assert (
            await connection.fetchval(
                "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
            )
            == 0
        )
