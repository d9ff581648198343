"""A queue, a worker's loop, and providers that can be asked what they took."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

from msgspec.structs import replace

from tallypost_core.object_store import FolderStore
from tallypost_domain.routing.types import OpenedAccount
from tallypost_providers.look_ups import FoundMessage
from tallypost_providers.sendgrid import SendGridProvider
from tallypost_providers.types import Outcome, Provider
from tallypost_worker.look_ups import LookUpWaits
from tests.integration.queue.harness import Harness
from tests.integration.worker.loops import (
    FakeProvider,
    no_accounts,
    running_loop,
    says,
    until,
)
from tests.support.database import SeededTenant

EVER_S = 3600.0
# Everything is due at once, and no record of a provider is ever too old.
PATIENT = LookUpWaits(
    first_s=0.05, again_s=0.05, window_s=EVER_S, patience_s=EVER_S, pause_s=0.05, spread_s=0.05
)
# Whoever is not found at once counts as not found.
HASTY = replace(PATIENT, window_s=0.0)

# Phase, outcome and round of attempts.
SILENT, FOUND = ("http", "ambiguous", 1), ("lookup", "accepted", 1)
NOT_FOUND, RESENT = ("lookup", "ambiguous", 1), ("http", "accepted", 2)


class Asked(SendGridProvider):
    """SendGrid, and how often its activity feed was asked."""

    asked = 0

    async def look_up(self, email_id: UUID) -> tuple[FoundMessage, ...]:
        """Count the question and ask it."""
        self.asked += 1
        return await super().look_up(email_id)


class Knowing(FakeProvider):
    """A provider that is silent and can be asked; each answer is for one look-up, the last one for
    all that follow."""

    capabilities = replace(FakeProvider.capabilities, lookup=True)

    def __init__(self, *found: Callable[[], tuple[FoundMessage, ...]]) -> None:
        super().__init__(says(Outcome.AMBIGUOUS), says(Outcome.ACCEPTED))
        self._found = list(found)
        self.asked = 0
        self.at_once = 0
        self.most_at_once = 0
        self.memory = asyncio.Event()
        self.memory.set()

    async def look_up(self, _email_id: UUID) -> tuple[FoundMessage, ...]:
        """Answer once the memory is there."""
        self.asked += 1
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            await self.memory.wait()
        finally:
            self.at_once -= 1
        return (self._found.pop(0) if len(self._found) > 1 else self._found[0])()


def knows(*addresses: str) -> Callable[[], tuple[FoundMessage, ...]]:
    """The answer of a provider that has a message for each of the addresses."""
    return lambda: tuple(FoundMessage(each, f"id of {each}", "processed") for each in addresses)


class Stage:
    """A queue and where its large attachments are."""

    def __init__(self, queue: Harness, folder: Path) -> None:
        self.queue = queue
        self._folder = folder

    async def deliver(
        self,
        provider: Provider,
        is_done: Callable[[], object],
        *others: Provider,
        waits: LookUpWaits = PATIENT,
        concurrency: int = 5,
        create_own: Callable[[OpenedAccount], Provider] = no_accounts,
    ) -> None:
        """Run a worker's loop until something is so; is_done may return a coroutine."""

        async def check() -> object:
            found = is_done()
            return await found if asyncio.iscoroutine(found) else found

        url = self.queue.database.url("tp_deliver")
        async with running_loop(
            url,
            provider,
            FolderStore(self._folder),
            others=others,
            look_up_waits=waits,
            concurrency=concurrency,
            create_own=create_own,
        ):
            await until(check)

    async def fall_silent(
        self,
        provider: Provider,
        owner: SeededTenant,
        *email_ids: UUID,
        create_own: Callable[[OpenedAccount], Provider] = no_accounts,
    ) -> None:
        """Hand emails over to a provider that does not answer, and let their look-ups be due."""

        async def are_silent() -> bool:
            rows = await self.queue.fetch(owner, "SELECT 1 FROM send_queue WHERE due_at > now()")
            return len(rows) == len(email_ids)

        waits = replace(PATIENT, first_s=EVER_S)
        await self.deliver(provider, are_silent, waits=waits, create_own=create_own)
        for email_id in email_ids:
            await self.queue.make_due(owner, email_id)

    async def is_in(self, owner: SeededTenant, email_id: UUID, state: str | None) -> bool:
        """Whether the queue row is in a state; None where it is gone."""
        return await self.queue.state(owner, email_id) == state

    async def attempts(self, owner: SeededTenant, email_id: UUID) -> list[tuple[str, str, int]]:
        """Phase, outcome and round of each attempt, in the order of time."""
        rows = await self.queue.fetch(
            owner,
            "SELECT phase, outcome, attempt FROM attempts WHERE email_id = $1"
            " ORDER BY fence, created_at",
            email_id,
        )
        return [(row["phase"], row["outcome"], row["attempt"]) for row in rows]

    async def details(self, owner: SeededTenant, email_id: UUID) -> list[str]:
        """What each look-up says of its first recipient."""
        rows = await self.queue.fetch(
            owner,
            "SELECT recipients->0->>'detail' AS detail FROM attempts"
            " WHERE email_id = $1 AND phase = 'lookup' ORDER BY fence",
            email_id,
        )
        return [row["detail"] for row in rows]
