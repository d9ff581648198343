"""Emails in a real queue, and workers that the test moves step by step."""

import datetime as dt
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import asyncpg
from msgspec import Struct
from msgspec.structs import replace

from tallypost_core.ids import new_id
from tallypost_domain.db.pools import Connection, Pool, transaction
from tallypost_domain.emails.accept import Acceptor
from tallypost_domain.queue.claims import beat, claim_for_sending
from tallypost_domain.queue.loading import LoadedEmail, load_claimed
from tallypost_domain.queue.records import Recorded, record_and_mark
from tallypost_domain.queue.types import (
    Claim,
    Settlement,
    StoredEmail,
    attempt_of,
    changes_of,
)
from tallypost_providers.types import Outcome, RecipientResult, SendResult
from tallypost_resilience.retry import RetryPolicy
from tests.support.database import PEPPERS, TEST_READER, Database, SeededTenant
from tests.support.emails import acceptor, live_sender, new_email, sandbox_sender

# Without jitter, so that a due time can be named.
POLICY = RetryPolicy(schedule_s=(10.0, 20.0), jitter=0.0)

TABLES = ("emails", "recipients", "attempts", "events", "usage_ledger", "send_queue")

_ROWS_READ = """
    SELECT ((SELECT sum(idx_tup_read) FROM pg_stat_user_indexes)
            + (SELECT sum(seq_tup_read) FROM pg_stat_user_tables))::bigint
"""

State = Literal["waiting", "held", "claimed", "handing_over", "ambiguous"]


class Harness(Struct, frozen=True):
    """A queue with its real logins."""

    database: Database
    pool: Pool
    """Logs in as tp_deliver."""
    acceptor: Acceptor
    reader: Connection
    """Logs in as TEST_READER."""

    # Any: the fields of a request.
    async def add(
        self, tenant: SeededTenant, count: int = 1, *, mode: str = "live", **fields: Any
    ) -> tuple[UUID, ...]:
        """Accept emails of a tenant, from its own domain."""
        fields.setdefault("from_", f"hello@{tenant.domain}")
        sender = live_sender(tenant) if mode == "live" else sandbox_sender(tenant)
        emails = [new_email(**fields) for _ in range(count)]
        return (await self.acceptor.accept_batch(sender, emails, strict=True)).ids

    async def add_bulk(
        self, tenant: SeededTenant, count: int = 1, **fields: Any
    ) -> tuple[UUID, ...]:
        """Accept emails on the tenant's stream for bulk mail."""
        headers = {"X-Tallypost-Stream": "bulk"}
        return await self.add(tenant, count, headers=headers, **fields)

    async def start_worker(self) -> UUID:
        """A worker that has just beaten."""
        worker_id = new_id()
        async with self.pool.acquire() as connection:
            await beat(connection, worker_id)
        return worker_id

    async def age_beat(self, worker_id: UUID, seconds: float) -> None:
        """Let the worker's last beat be that long ago."""
        await self.pool.execute(
            "UPDATE workers SET beat_at = now() - make_interval(secs => $2) WHERE id = $1",
            worker_id,
            seconds,
        )

    async def claim(
        self, worker_id: UUID, *tenants: SeededTenant, lane: str = "transactional", quota: int = 100
    ) -> list[Claim]:
        """Claim due rows of the tenants."""
        return await claim_for_sending(
            self.pool,
            worker_id,
            lane=lane,
            tenant_ids=[tenant.id for tenant in tenants],
            quota=quota,
        )

    async def load(self, *claims: Claim) -> list[LoadedEmail]:
        """Load claimed emails."""
        return await load_claimed(self.pool, claims, PEPPERS)

    async def record(
        self, worker_id: UUID, *settlements: Settlement, claims: Sequence[Claim] = ()
    ) -> Recorded:
        """Record settlements and mark claims in one transaction."""
        return await record_and_mark(self.pool, worker_id, settlements, claims, POLICY)

    async def mark(self, worker_id: UUID, *claims: Claim) -> tuple[Claim, ...]:
        """Mark claims as about to leave."""
        return (await self.record(worker_id, claims=claims)).marked

    async def hand_over(
        self, worker_id: UUID, *tenants: SeededTenant, lane: str = "transactional"
    ) -> list[Claim]:
        """Claim and mark everything due, as if it were on the wire now."""
        return list(await self.mark(worker_id, *await self.claim(worker_id, *tenants, lane=lane)))

    async def settle(
        self, worker_id: UUID, claim: Claim, outcome: str, **by_address: str
    ) -> Settlement:
        """What a provider answered: for all pending recipients, or by local part of the address."""
        (email,) = await self.load(claim)
        outcomes = {
            to.id: Outcome(by_address.get(to.address.partition("@")[0], outcome))
            for to in email.recipients
        }
        return replace(settlement(worker_id, claim, outcomes), as_loaded=_as_loaded(email))

    async def postpone(
        self, worker_id: UUID, claim: Claim, retry_in_s: float | None = None
    ) -> Settlement:
        """That nothing was handed over; without a time the email keeps its turn."""
        (email,) = await self.load(claim)
        return Settlement(
            claim=claim,
            worker_id=worker_id,
            attempt=None,
            changes=(),
            retry_in_s=retry_in_s,
            as_loaded=_as_loaded(email),
        )

    async def make_due(self, tenant: SeededTenant, email_id: UUID) -> None:
        """Let a waiting row be due now."""
        async with transaction(self.pool, [tenant.id]) as connection:
            await connection.execute(
                "UPDATE send_queue SET due_at = now() WHERE email_id = $1", email_id
            )

    async def fetch(
        self, tenant: SeededTenant, query: str, *arguments: object
    ) -> list[asyncpg.Record]:
        """Read any table, within one tenant."""
        async with self.reader.transaction():
            await self.reader.execute(
                "SELECT set_config('app.tenant_id', $1, true)", str(tenant.id)
            )
            return list(await self.reader.fetch(query, *arguments))

    async def find_row(self, tenant: SeededTenant, email_id: UUID) -> dict[str, object] | None:
        """The whole queue row of an email."""
        query = "SELECT * FROM send_queue WHERE email_id = $1"
        rows = await self.fetch(tenant, query, email_id)
        return dict(rows[0]) if rows else None

    async def state(self, tenant: SeededTenant, email_id: UUID) -> str | None:
        """The state of an email's queue row; None where it is gone."""
        row = await self.find_row(tenant, email_id)
        return str(row["state"]) if row else None

    async def statuses(self, tenant: SeededTenant, email_id: UUID) -> dict[str, str]:
        """Statuses of the recipients by local part, and of the email itself as `email`."""
        query = "SELECT address, status FROM recipients WHERE email_id = $1"
        rows = await self.fetch(tenant, query, email_id)
        found = {row["address"].partition("@")[0]: row["status"] for row in rows}
        (row,) = await self.fetch(tenant, "SELECT status FROM emails WHERE id = $1", email_id)
        return {**found, "email": row["status"]}

    async def events(self, tenant: SeededTenant, email_id: UUID) -> list[str]:
        """Types of the events after acceptance, oldest first."""
        query = "SELECT type FROM events WHERE subject_id = $1 ORDER BY created_at, id"
        types = [row["type"] for row in await self.fetch(tenant, query, email_id)]
        return [word for word in types if word not in ("email.queued", "email.scheduled")]

    async def attempts(self, tenant: SeededTenant, email_id: UUID) -> list[tuple[int, str, bool]]:
        """Number, outcome and lateness of the attempts, in the order of their recording."""
        query = "SELECT * FROM attempts WHERE email_id = $1 ORDER BY created_at, attempt"
        rows = await self.fetch(tenant, query, email_id)
        return [(row["attempt"], row["outcome"], row["is_late"]) for row in rows]

    async def billed(self, tenant: SeededTenant, email_id: UUID) -> int:
        """Ledger rows of an email."""
        query = "SELECT 1 FROM usage_ledger WHERE email_id = $1"
        return len(await self.fetch(tenant, query, email_id))

    async def snapshot(self, tenant: SeededTenant) -> dict[str, list[str]]:
        """Everything that recording may write, to be compared."""
        return {
            table: sorted(repr(row) for row in await self.fetch(tenant, f"SELECT * FROM {table}"))  # noqa: S608 - names of this file
            for table in TABLES
        }


def settlement(worker_id: UUID, claim: Claim, outcomes: Mapping[UUID, Outcome]) -> Settlement:
    """An answer of a provider as it goes on record."""
    result = SendResult(
        recipients=tuple(
            RecipientResult(recipient_id=id_, outcome=outcome, detail="words of the peer")
            for id_, outcome in outcomes.items()
        ),
        phase="final",
    )
    return Settlement(
        claim=claim,
        worker_id=worker_id,
        attempt=attempt_of(
            result,
            attempt_id=new_id(),
            number=claim.attempt,
            provider="smtp",
            account="smtp",
            duration_s=0.1,
        ),
        changes=changes_of(result),
    )


def _as_loaded(email: LoadedEmail) -> StoredEmail:
    return StoredEmail(
        mode=email.mode,
        on_unconfirmed=email.on_unconfirmed,
        attempts_begun=email.claim.attempt,
        is_current=True,
        status=email.status,
        statuses=email.statuses,
    )


def ids(claims: Iterable[Claim]) -> list[UUID]:
    """The emails of claims."""
    return [claim.email_id for claim in claims]


def hours(count: float) -> dt.timedelta:
    """A time span."""
    return dt.timedelta(hours=count)


@asynccontextmanager
async def open_harness(database: Database, folder: Path) -> AsyncIterator[Harness]:
    """A harness on a database; large attachments go to the folder."""
    async with (
        database.pool("tp_deliver", size=8) as pool,
        acceptor(database, folder) as accept,
        database.connect(TEST_READER) as reader,
    ):
        yield Harness(database, pool, accept, reader)


async def rows_read(pool: Pool) -> int:
    """How many rows and index entries have been read in this database; of a pool with one
    connection, its own are among them."""
    await pool.execute("SELECT pg_stat_force_next_flush()")
    count: int = await pool.fetchval(_ROWS_READ)
    return count
