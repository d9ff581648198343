"""What the writers of the Inbox say where the database goes away while they store."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Literal, cast

import asyncpg
import pytest

from tallypost_cli import local_ses
from tallypost_cli.local_inbox import keeper
from tallypost_core.clock import utc_now
from tallypost_core.ids import new_id
from tallypost_core.settings.providers import SMTPSettings
from tallypost_domain.db.errors import DatabaseUnavailable
from tallypost_domain.db.pools import Connection, Pool
from tallypost_domain.inbox import service as inbox
from tallypost_providers.errors import StoreOutcomeUnknown
from tallypost_providers.inbox import InboxProvider
from tallypost_providers.message import render
from tallypost_providers.smtp import SMTPProvider
from tallypost_providers.types import Outcome, OutgoingEmail, Provider
from tallypost_simulators.keeping import MessageRefused
from tallypost_simulators.smtp_reception import ReceivedMessage
from tallypost_simulators.smtp_sink import SMTPSink
from tests.support.ses import running_ses
from tests.unit.providers.emails import make_email

Stage = Literal["begin", "insert", "commit", "never"]
BEFORE_COMMIT: list[Stage] = ["begin", "insert"]
GONE = [
    asyncpg.ConnectionDoesNotExistError("gone"),
    asyncpg.AdminShutdownError("gone"),
    ConnectionResetError(),
    TimeoutError(),
]


class Away:
    """A pool with one connection and its transaction, cut off at one stage."""

    def __init__(self, stage: Stage, error: Exception = GONE[0], *, owns: bool = True) -> None:
        self.stage = stage
        self.error = error
        self.owns = owns
        self.is_in = False

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator["Away"]:
        """As of a pool."""
        yield self

    def transaction(self) -> "Away":
        """As of a connection."""
        return self

    def is_in_transaction(self) -> bool:
        """As of a connection."""
        return self.is_in

    async def fetchrow(self, statement: str, email_id: object) -> dict[str, object] | None:
        """The owner of the email."""
        return {"tenant_id": new_id(), "mode": "live"} if self.owns else None

    async def execute(self, statement: str, *values: object) -> None:
        """As of a connection."""
        if "INSERT" in statement:
            self._pass("insert")

    async def start(self) -> None:
        """As of a transaction."""
        self._pass("begin")
        self.is_in = True

    async def commit(self) -> None:
        """As of a transaction."""
        self._pass("commit")

    async def rollback(self) -> None:
        """As of a transaction, whose connection is gone by now."""
        raise asyncpg.InterfaceError("the connection is closed")

    def _pass(self, stage: Stage) -> None:
        if self.stage == stage:
            raise self.error


async def store(away: Away) -> bool:
    return await inbox.store_message(
        cast(Pool, away),
        envelope_sender="bounces@example.com",
        envelope_recipients=["ada@example.net"],
        message=render(make_email()),
    )


async def outcome_of(provider: Provider) -> Outcome:
    result = await provider.send(make_email(), 10.0)
    return result.recipients[0].outcome


async def outcome_at_the_inbox(away: Away) -> Outcome:
    async def keep(email: OutgoingEmail, message: bytes) -> None:
        await inbox.store_outgoing(cast(Connection, away), email, message)

    return await outcome_of(InboxProvider(keep))


async def outcome_at_the_sink(away: Away) -> Outcome:
    async with SMTPSink(keeper(cast(Pool, away))) as sink:
        settings = SMTPSettings(host="127.0.0.1", port=sink.port, security="none")
        provider = SMTPProvider(settings, "local")
        try:
            return await outcome_of(provider)
        finally:
            await provider.close()


async def outcome_at_ses(away: Away) -> Outcome:
    async with running_ses(local_ses.keeper(cast(Pool, away))) as ses:
        return await outcome_of(ses.provider)


@pytest.mark.parametrize("error", GONE, ids=lambda error: type(error).__name__)
async def test_commit_that_was_cut_off_may_have_stored_the_message(error: Exception) -> None:
    with pytest.raises(StoreOutcomeUnknown):
        await store(Away("commit", error))


@pytest.mark.parametrize("stage", BEFORE_COMMIT)
async def test_what_was_cut_off_before_its_commit_is_not_stored(stage: Stage) -> None:
    with pytest.raises(DatabaseUnavailable):
        await store(Away(stage))


async def test_commit_that_the_database_refused_has_stored_nothing() -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await store(Away("commit", asyncpg.CheckViolationError("refused")))


@pytest.mark.parametrize("outcome_at", [outcome_at_the_inbox, outcome_at_the_sink, outcome_at_ses])
@pytest.mark.parametrize(
    ("stage", "outcome"),
    [
        ("begin", Outcome.UNAVAILABLE),
        ("insert", Outcome.UNAVAILABLE),
        ("commit", Outcome.AMBIGUOUS),
        ("never", Outcome.ACCEPTED),
    ],
)
async def test_the_sender_learns_what_is_known_and_no_more(
    outcome_at: Callable[[Away], Awaitable[Outcome]], stage: Stage, outcome: Outcome
) -> None:
    assert await outcome_at(Away(stage)) is outcome


@pytest.mark.parametrize("outcome_at", [outcome_at_the_sink, outcome_at_ses])
async def test_message_that_belongs_to_no_email_is_not_acknowledged(
    outcome_at: Callable[[Away], Awaitable[Outcome]],
) -> None:
    assert await outcome_at(Away("never", owns=False)) is Outcome.REJECTED


@pytest.mark.parametrize("head", [b"Subject: no id\r\n", b"no header field\r\n"])
async def test_message_without_a_readable_id_is_refused(head: bytes) -> None:
    message = ReceivedMessage("", ("ada@example.net",), head + b"\r\nHello", utc_now())
    with pytest.raises(MessageRefused, match="no email of this installation"):
        await keeper(cast(Pool, Away("never")))(message)
