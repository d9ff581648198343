"""Accepts emails: an answer means that the email is durably stored and queued.

The hot path: raw asyncpg on the insert-only login, one multi-row statement for all rows. It is
the one writer of new emails and owns its transaction.
"""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Struct

from tallypost_core import clock
from tallypost_core.crypto import KeyRing
from tallypost_core.errors import AppError, ErrorKind
from tallypost_core.ids import new_id
from tallypost_core.object_store import ObjectStore
from tallypost_domain.db.pools import Connection, Pool, transaction
from tallypost_domain.db.sessions import SessionMaker
from tallypost_domain.emails import statements
from tallypost_domain.emails.errors import ConcurrentIdempotentRequest, IdempotencyConflict
from tallypost_domain.emails.rows import build_rows, distinct_recipients, store_attachments
from tallypost_domain.emails.senders import Origin, OriginDirectory
from tallypost_domain.emails.types import Acceptance, BatchError, Idempotency, NewEmail, Sender
from tallypost_domain.suppressions.service import address_hashes, normalise
from tallypost_telemetry import metrics

# A repeat of a request that is still being stored waits this long for the first one's answer.
_CONCURRENT_WAIT = "3s"


class Item(Struct, frozen=True):
    """One email on its way in, under the id that it will keep."""

    id: UUID
    email: NewEmail
    origin: Origin


class Acceptor:
    """Takes valid emails of authenticated senders. One per process."""

    def __init__(
        self,
        pool: Pool,
        sessions: SessionMaker,
        objects: ObjectStore,
        peppers: KeyRing,
    ) -> None:
        """pool logs in as tp_accept, sessions as tp_api."""
        self._pool = pool
        self._origins = OriginDirectory(sessions)
        self._objects = objects
        self._peppers = peppers
        # The event loop holds tasks weakly; these must end even if nobody waits for them.
        self._writing: set[asyncio.Task[Acceptance]] = set()

    async def accept(
        self, sender: Sender, email: NewEmail, idempotency: Idempotency | None = None
    ) -> Acceptance:
        """Store and queue one email.

        A repeat with the same idempotency key gets the first one's answer. Raises
        DomainNotVerified, InvalidField (stream), IdempotencyConflict,
        ConcurrentIdempotentRequest, DatabaseUnavailable, ObjectStoreUnavailable.
        """
        return await self.accept_batch(sender, [email], strict=True, idempotency=idempotency)

    async def accept_batch(
        self,
        sender: Sender,
        emails: Sequence[NewEmail | AppError],
        *,
        strict: bool,
        idempotency: Idempotency | None = None,
    ) -> Acceptance:
        """Store and queue several emails in one transaction.

        An AppError among the emails is an item that failed validation. strict: the first bad
        item is raised and nothing is stored. Otherwise bad items are left out and listed.
        Raises as `accept`.
        """
        if idempotency is not None:
            answer = await self._find_answer(sender, idempotency)
            if answer is not None:
                return answer
        good, errors = await self._resolve(sender, emails, strict=strict)
        batch = [Item(new_id(), email, origin) for email, origin in good]
        acceptance = Acceptance(ids=tuple(item.id for item in batch), errors=tuple(errors))
        await self._store_objects(sender, batch)
        # A client that hangs up must not cut the transaction: it learns of it by a repeat.
        write = asyncio.create_task(self._write(sender, batch, acceptance, idempotency))
        self._writing.add(write)
        write.add_done_callback(self._writing.discard)
        return await asyncio.shield(write)

    async def _resolve(
        self, sender: Sender, emails: Sequence[NewEmail | AppError], *, strict: bool
    ) -> tuple[list[tuple[NewEmail, Origin]], list[BatchError]]:
        good: list[tuple[NewEmail, Origin]] = []
        errors: list[BatchError] = []
        for index, email in enumerate(emails):
            try:
                if isinstance(email, AppError):
                    raise email
                good.append((email, await self._origins.get_origin(sender, email)))
            except AppError as error:
                # An outage is no fault of the item, so it fails the whole request.
                if error.kind is ErrorKind.UNAVAILABLE:
                    raise
                if strict:
                    raise _at_index(error, index, len(emails)) from None
                errors.append(BatchError(index=index, message=error.message))
        return good, errors

    async def _find_answer(self, sender: Sender, idempotency: Idempotency) -> Acceptance | None:
        async with transaction(self._pool, [sender.tenant_id]) as connection:
            return await _find_answer(connection, sender, idempotency)

    async def _write(
        self,
        sender: Sender,
        batch: Sequence[Item],
        acceptance: Acceptance,
        idempotency: Idempotency | None,
    ) -> Acceptance:
        try:
            async with transaction(self._pool, [sender.tenant_id]) as connection:
                if idempotency is None or await _claim_key(
                    connection, sender, idempotency, acceptance
                ):
                    await self._insert(connection, sender, batch)
                    answer = acceptance
                else:
                    answer = await _get_answer(connection, sender, idempotency)
        except (ConcurrentIdempotentRequest, IdempotencyConflict):
            await self._forget_objects(sender, batch)
            raise
        if answer is acceptance:
            for item in batch:
                metrics.record_accepted(sender.mode, item.origin.lane)
        else:
            await self._forget_objects(sender, batch)
        return answer

    async def _insert(self, connection: Connection, sender: Sender, batch: Sequence[Item]) -> None:
        suppressed = await self._find_suppressed(connection, sender, batch)
        now = clock.utc_now()
        rows = [
            build_rows(item.id, sender, item.origin, item.email, suppressed=suppressed, now=now)
            for item in batch
        ]
        await statements.insert_emails(connection, rows)

    async def _find_suppressed(
        self, connection: Connection, sender: Sender, batch: Sequence[Item]
    ) -> frozenset[str]:
        by_hash = {
            hashed: normalise(address.address)
            for item in batch
            for _, address in distinct_recipients(item.email)
            for hashed in address_hashes(self._peppers, address.address)
        }
        rows = await connection.fetch(
            statements.FIND_SUPPRESSED, sender.tenant_id, sender.mode, list(by_hash)
        )
        return frozenset(by_hash[row["address_hash"]] for row in rows)

    async def _store_objects(self, sender: Sender, batch: Sequence[Item]) -> None:
        for item in batch:
            stored = store_attachments(item.id, sender.tenant_id, item.email)
            for kept, attachment in zip(stored, item.email.attachments, strict=True):
                if kept.object_key is not None:
                    await self._objects.put(kept.object_key, attachment.body)

    async def _forget_objects(self, sender: Sender, batch: Sequence[Item]) -> None:
        for item in batch:
            for kept in store_attachments(item.id, sender.tenant_id, item.email):
                if kept.object_key is not None:
                    await self._objects.delete(kept.object_key)


def _at_index(error: AppError, index: int, count: int) -> AppError:
    # Alone, an email needs no number.
    if count == 1:
        return error
    field = f"[{index}].{error.field}" if error.field else f"[{index}]"
    return type(error)(f"Email at index {index}: {error.message}", field=field)


async def _claim_key(
    connection: Connection,
    sender: Sender,
    idempotency: Idempotency,
    acceptance: Acceptance,
) -> bool:
    """True where this request is the first with its key; waits for one in flight.

    Raises ConcurrentIdempotentRequest where that one takes too long.
    """
    await connection.execute(f"SET LOCAL lock_timeout = '{_CONCURRENT_WAIT}'")
    try:
        status = await connection.execute(
            statements.CLAIM_IDEMPOTENCY_KEY,
            sender.tenant_id,
            sender.mode,
            idempotency.route,
            idempotency.key,
            idempotency.fingerprint,
            acceptance,
        )
    except asyncpg.LockNotAvailableError as error:
        raise ConcurrentIdempotentRequest(retry_after_s=1) from error
    return str(status) == "INSERT 0 1"


async def _find_answer(
    connection: Connection, sender: Sender, idempotency: Idempotency
) -> Acceptance | None:
    row = await connection.fetchrow(
        statements.FIND_ANSWER, sender.tenant_id, sender.mode, idempotency.route, idempotency.key
    )
    if row is None:
        return None
    if row["fingerprint"] != idempotency.fingerprint:
        raise IdempotencyConflict()
    return msgspec.convert(row["answer"], Acceptance)


async def _get_answer(
    connection: Connection, sender: Sender, idempotency: Idempotency
) -> Acceptance:
    answer = await _find_answer(connection, sender, idempotency)
    if answer is None:
        # The first one's answer has just reached its age and was forgotten.
        raise ConcurrentIdempotentRequest(retry_after_s=1)
    return answer
