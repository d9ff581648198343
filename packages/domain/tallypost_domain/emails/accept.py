"""Accepts emails: an answer means that the email is durably stored and queued.

The hot path, and the one writer of new emails. It owns no transaction by itself: a request becomes
a submission, and `group_commit` writes what arrives together by one commit.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager

import structlog

from tallypost_core.crypto import KeyRing
from tallypost_core.errors import AppError, ErrorKind
from tallypost_core.object_store import ObjectStore, ObjectStoreUnavailable
from tallypost_domain.db.notifications import ChangeFeed
from tallypost_domain.db.pools import Pool
from tallypost_domain.db.sessions import SessionMaker
from tallypost_domain.emails.errors import (
    AcceptOverloaded,
    ConcurrentIdempotentRequest,
    IdempotencyConflict,
)
from tallypost_domain.emails.group_commit import GroupCommit
from tallypost_domain.emails.limits import Limits
from tallypost_domain.emails.preparing import Preparer, Request
from tallypost_domain.emails.senders import OriginDirectory
from tallypost_domain.emails.statements import Claim
from tallypost_domain.emails.storing import find_answer
from tallypost_domain.emails.submissions import Submission
from tallypost_domain.emails.types import Acceptance, Idempotency, NewEmail, Sender
from tallypost_domain.usage.quotas import Quotas
from tallypost_resilience.egress import Egress
from tallypost_telemetry import message_spans

DEFAULT_LIMITS = Limits()

log = structlog.get_logger()


class Acceptor:
    """Takes valid emails of authenticated senders. One per process."""

    def __init__(
        self,
        pool: Pool,
        sessions: SessionMaker,
        objects: ObjectStore,
        peppers: KeyRing,
        *,
        feed: ChangeFeed | None = None,
        egress: Egress | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        """pool logs in as tp_accept, sessions as tp_api.

        feed tells what has changed; without it what is remembered serves for a second only.
        egress fetches attachments; without it those given by URL are refused.
        """
        quotas = Quotas(pool, feed)
        self._pool = pool
        self._objects = objects
        self._limits = limits
        origins = OriginDirectory(sessions, feed)
        self._preparer = Preparer(origins, quotas, peppers, egress, limits)
        self._group = GroupCommit(pool, quotas, limits)
        self._fetches = asyncio.Semaphore(limits.fetches)
        # The event loop holds tasks weakly; these must end even if nobody waits for them.
        self._tasks: set[asyncio.Task[Acceptance]] = set()

    async def accept(
        self, sender: Sender, email: NewEmail, idempotency: Idempotency | None = None
    ) -> Acceptance:
        """Store and queue one email.

        A repeat with the same idempotency key gets the first one's answer. Raises
        DomainNotVerified, InvalidField (stream), InvalidAttachment, EmailTooLarge, QuotaExceeded,
        IdempotencyConflict, ConcurrentIdempotentRequest, AcceptOverloaded, DatabaseUnavailable,
        ObjectStoreUnavailable.
        """
        return await self.accept_batch(sender, (email,), strict=True, idempotency=idempotency)

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
        claim = Claim.of(sender, idempotency) if idempotency is not None else None
        with message_spans.sending(sender.tenant_id, sender.mode, len(emails)) as span:
            trace_context = message_spans.stored_context(span, is_shared=len(emails) > 1)
            request = Request(sender, emails, strict, claim, trace_context)
            if request.has_objects:
                # A client that hangs up must not leave objects behind without their email.
                work = self._start(self._accept_with_objects(request))
                acceptance = await asyncio.shield(work)
            else:
                acceptance = await self._accept(request)
            message_spans.note_accepted(span, acceptance.ids)
        return acceptance

    async def close(self) -> None:
        """Return once everything that is under way is stored or refused."""
        while self._tasks:
            await asyncio.wait(self._tasks)
        await self._group.close()

    async def _accept_with_objects(self, request: Request) -> Acceptance:
        if request.claim is not None:
            # Before anything is fetched or put for a repeat.
            answer = await self._find_answer(request.claim)
            if answer is not None:
                return answer
        async with self._turn_to_fetch():
            return await self._accept(request)

    async def _accept(self, request: Request) -> Acceptance:
        try:
            submission = await self._preparer.prepare(request)
        except AppError as error:
            if request.claim is None or error.kind is ErrorKind.UNAVAILABLE:
                raise
            # A repeat gets the first one's answer, also where it would not be accepted any more.
            answer = await self._find_answer(request.claim)
            if answer is None:
                raise
            return answer
        if not submission.items and request.claim is None:
            return submission.acceptance
        if submission.object_keys:
            return await self._submit_with_objects(submission)
        return await self._submit(submission)

    async def _find_answer(self, claim: Claim) -> Acceptance | None:
        """The answer to the first request with a key, also where that is under way here."""
        first = self._group.find(claim.row)
        if first is not None:
            return await self._follow(first, claim)
        return await find_answer(self._pool, claim)

    async def _submit(self, submission: Submission) -> Acceptance:
        """The answer to a submission that is written now, or to the first one with its key."""
        claim = submission.claim
        first = self._group.find(claim.row) if claim is not None else None
        if claim is None or first is None:
            self._group.submit(submission)
            return await submission.wait()
        try:
            answer = await self._follow(first, claim)
        except BaseException:
            # Also where the client hangs up: what it had reserved goes back.
            submission.settle(ConcurrentIdempotentRequest(retry_after_s=1))
            raise
        if answer is None:
            return await self._submit(submission)
        submission.settle(answer)
        return answer

    async def _follow(self, first: Submission, claim: Claim) -> Acceptance | None:
        """The answer to a request under way with this key; None where it failed and differs."""
        try:
            async with asyncio.timeout(self._limits.patient_wait_ms / 1000):
                outcome = await first.settled()
        except TimeoutError:
            raise ConcurrentIdempotentRequest(retry_after_s=1) from None
        is_same = first.claim == claim
        if isinstance(outcome, Exception):
            if is_same:
                raise outcome
            return None
        if not is_same:
            raise IdempotencyConflict
        return outcome

    async def _submit_with_objects(self, submission: Submission) -> Acceptance:
        try:
            for item in submission.items:
                for kept, attachment in zip(item.attachments, item.email.attachments, strict=True):
                    if kept.object_key is not None:
                        await self._objects.put(kept.object_key, attachment.body)
            return await self._submit(submission)
        except Exception as error:
            if submission.outcome is None:
                submission.settle(error)
            raise
        finally:
            # Where nobody knows whether the emails are stored, they keep what belongs to them.
            if not submission.is_stored and not submission.may_be_stored:
                await self._forget_objects(submission)

    async def _forget_objects(self, submission: Submission) -> None:
        for key in submission.object_keys:
            try:
                await self._objects.delete(key)
            except ObjectStoreUnavailable as error:
                log.warning("objects.left_behind", error=type(error).__name__)

    @asynccontextmanager
    async def _turn_to_fetch(self) -> AsyncIterator[None]:
        """Bounds how many requests hold attachments beyond the size of their own body."""
        try:
            async with asyncio.timeout(self._limits.fetch_within_s):
                await self._fetches.acquire()
        except TimeoutError:
            raise AcceptOverloaded(retry_after_s=1) from None
        try:
            yield
        finally:
            self._fetches.release()

    def _start(self, work: Coroutine[None, None, Acceptance]) -> "asyncio.Task[Acceptance]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finish)
        return task

    def _finish(self, task: "asyncio.Task[Acceptance]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # Seen here also where everybody who waited has gone.
            task.exception()
