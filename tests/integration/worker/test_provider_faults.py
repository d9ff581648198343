"""Whatever a provider, a plugin or a store of ours does, each email ends in a truth."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tallypost_core.object_store import FolderStore
from tallypost_providers.base import same_for_all
from tallypost_providers.errors import EmailNotBuildable
from tallypost_providers.look_ups import FoundMessage
from tallypost_providers.types import Outcome, OutgoingEmail, SendResult
from tallypost_worker.delivery import LEAST_TIMEOUT_S
from tallypost_worker.look_ups import LookUpWaits
from tests.integration.queue.harness import Harness
from tests.integration.worker.look_up_stage import Knowing
from tests.integration.worker.loops import Answer, FakeProvider, running_loop, says, until
from tests.support.database import SeededTenant


class Plugin(FakeProvider):
    """A provider whose answers may take their time, whatever they were given."""

    def __init__(self, judge: Callable[[OutgoingEmail], SendResult | Awaitable[SendResult]]):
        super().__init__()
        self._judge = judge

    async def send(self, email: OutgoingEmail, timeout_s: float) -> SendResult:
        """As the judge says."""
        await super().send(email, timeout_s)
        answer = self._judge(email)
        return await answer if isawaitable(answer) else answer


def breaks(error: BaseException) -> Answer:
    """A provider that raises."""

    def answer(_: OutgoingEmail) -> SendResult:
        raise error

    return answer


# Any: a plugin may put anything into its answer.
def garbles(**fields: Any) -> Answer:
    """A provider that takes the email, and puts something odd into its answer."""
    return lambda email: replace(same_for_all(email, Outcome.ACCEPTED, phase="final"), **fields)


async def never_returns(_: OutgoingEmail) -> SendResult:
    """Takes no notice of its time, nor of the first wish that it may end."""
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
    await asyncio.Event().wait()
    raise AssertionError("nobody sets them")


async def cancels_its_own_task(email: OutgoingEmail) -> SendResult:
    """Waits for a task that it has ended."""
    task = asyncio.create_task(asyncio.sleep(60))
    task.cancel()
    await task
    return same_for_all(email, Outcome.ACCEPTED, phase="final")


async def cancels_the_task_that_it_runs_in(email: OutgoingEmail) -> SendResult:
    """Takes it for one of its own."""
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)
    return same_for_all(email, Outcome.ACCEPTED, phase="final")


async def _deliver_all(
    queue: Harness,
    provider: FakeProvider,
    folder: Path,
    *tenants: SeededTenant,
    timeout_s: float = 25.0,
) -> None:
    """Run a loop until nothing of these tenants is waiting or under way."""

    async def is_done() -> bool:
        query = "SELECT 1 FROM send_queue WHERE state <> 'ambiguous'"
        return not [row for tenant in tenants for row in await queue.fetch(tenant, query)]

    url = queue.database.url("tp_deliver")
    async with running_loop(url, provider, FolderStore(folder), timeout_s=timeout_s):
        await until(is_done)


CRASHES: list[Callable[[OutgoingEmail], SendResult | Awaitable[SendResult]]] = [
    breaks(RuntimeError("a plugin's mistake")),
    breaks(StopIteration()),
    breaks(TimeoutError()),
    lambda _: SendResult(recipients=()),
    garbles(recipients=()),
    garbles(evidence={"reply": object()}),
    garbles(phase=None),
    breaks(SystemExit(0)),
    never_returns,
    cancels_its_own_task,
    cancels_the_task_that_it_runs_in,
]


async def test_provider_that_breaks_is_silence_and_follows_the_stream(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant, tmp_path: Path
) -> None:
    urgent = await queue.add(tenant, len(CRASHES), to=["a@r.test", "b@r.test"])
    bulk = await queue.add_bulk(other_tenant, len(CRASHES))
    crashes = dict(zip([*urgent, *bulk], CRASHES * 2, strict=True))

    def judge(email: OutgoingEmail) -> SendResult | Awaitable[SendResult]:
        crash = crashes.pop(email.email_id, says(Outcome.ACCEPTED))
        return crash(email)

    provider = Plugin(judge)
    await _deliver_all(queue, provider, tmp_path, tenant, other_tenant, timeout_s=LEAST_TIMEOUT_S)
    for email_id in urgent:
        assert set((await queue.statuses(tenant, email_id)).values()) == {"sent"}
        assert await queue.attempts(tenant, email_id) == [
            (1, "ambiguous", False),
            (2, "accepted", False),
        ]
        events = await queue.events(tenant, email_id)
        assert events == ["email.unconfirmed"] * 2 + ["email.sent"] * 2
        assert await queue.billed(tenant, email_id) == 2
        # The email that is sent again is the same in every part.
        repeats = [email for email in provider.handovers if email.email_id == email_id]
        assert repeats == [repeats[0]] * 2
    for email_id in bulk:
        assert set((await queue.statuses(other_tenant, email_id)).values()) == {"unconfirmed"}
        assert await queue.attempts(other_tenant, email_id) == [(1, "ambiguous", False)]
        assert await queue.state(other_tenant, email_id) == "ambiguous"
    assert len(provider.handovers) == 3 * len(CRASHES)


async def test_provider_that_does_not_come_back_is_told_of_in_the_evidence(
    queue: Harness, tenant: SeededTenant, tmp_path: Path
) -> None:
    (email_id,) = await queue.add_bulk(tenant, 1)
    await _deliver_all(queue, Plugin(never_returns), tmp_path, tenant, timeout_s=LEAST_TIMEOUT_S)
    assert await queue.attempts(tenant, email_id) == [(1, "ambiguous", False)]
    (attempt,) = await queue.fetch(tenant, "SELECT phase, evidence FROM attempts")
    assert attempt["phase"] == "overrun"
    assert "waited_s" in attempt["evidence"]
    (told,) = await queue.fetch(tenant, "SELECT detail FROM recipients")
    assert "did not come back in time" in told["detail"]


@pytest.mark.parametrize("error", [SystemExit(0), asyncio.CancelledError(), ValueError()])
async def test_provider_that_breaks_over_an_obstacle_is_asked_to_send_and_ends_no_delivery(
    queue: Harness,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
    tmp_path: Path,
    error: BaseException,
) -> None:
    class Breaking(FakeProvider):
        def find_obstacle(self, _email: OutgoingEmail) -> str | None:
            raise error

    # More than the loop has deliveries: one that has ended would take none of them.
    mine, theirs = await queue.add(tenant, 4), await queue.add(other_tenant, 4)
    await _deliver_all(queue, Breaking(), tmp_path, tenant, other_tenant)
    for owner, email_ids in ((tenant, mine), (other_tenant, theirs)):
        for email_id in email_ids:
            assert await queue.attempts(owner, email_id) == [(1, "accepted", False)]


@pytest.mark.parametrize("error", [SystemExit(0), asyncio.CancelledError()])
async def test_provider_that_breaks_when_it_is_asked_ends_no_delivery(
    queue: Harness,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
    tmp_path: Path,
    error: BaseException,
) -> None:
    def breaks_off() -> tuple[FoundMessage, ...]:
        raise error

    async def is_asked() -> bool:
        return provider.asked > 0

    async def is_sent() -> bool:
        return not await queue.fetch(other_tenant, "SELECT 1 FROM send_queue")

    (silent,) = await queue.add(tenant)
    provider = Knowing(breaks_off)
    url = queue.database.url("tp_deliver")
    waits = LookUpWaits(first_s=0.0)
    store = FolderStore(tmp_path)
    # One delivery: where it has ended nothing is sent any more.
    async with running_loop(url, provider, store, concurrency=1, look_up_waits=waits):
        await until(is_asked)
        (next_,) = await queue.add(other_tenant)
        await until(is_sent)
    assert await queue.attempts(tenant, silent) == [(1, "ambiguous", False)]
    assert await queue.attempts(other_tenant, next_) == [(1, "accepted", False)]


async def test_words_of_a_plugin_that_no_database_takes_do_not_lose_its_result(
    queue: Harness, tenant: SeededTenant, tmp_path: Path
) -> None:
    (email_id,) = await queue.add(tenant)
    odd = "a\x00b\ud800\u2028" + "c" * 10_000
    provider = FakeProvider(garbles(evidence={odd: odd}, phase=odd, provider_message_id=odd))
    await _deliver_all(queue, provider, tmp_path, tenant)
    assert await queue.attempts(tenant, email_id) == [(1, "accepted", False)]
    assert len(provider.handovers) == 1


async def test_email_that_cannot_be_written_is_a_dead_letter_and_others_go_on(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant, tmp_path: Path
) -> None:
    (bad,) = await queue.add(tenant)
    (good,) = await queue.add(other_tenant)
    provider = FakeProvider()

    def judge(email: OutgoingEmail) -> SendResult:
        if email.email_id == bad:
            raise EmailNotBuildable
        return same_for_all(email, Outcome.ACCEPTED, phase="final")

    provider = FakeProvider(judge)
    await _deliver_all(queue, provider, tmp_path, tenant, other_tenant)
    assert await queue.statuses(tenant, bad) == {"first": "failed", "email": "failed"}
    (event,) = await queue.fetch(tenant, "SELECT data FROM events WHERE type = 'email.failed'")
    assert "email_not_buildable" in event["data"]
    assert await queue.attempts(tenant, bad) == []
    assert await queue.billed(tenant, bad) == 0
    assert await queue.statuses(other_tenant, good) == {"first": "sent", "email": "sent"}


async def test_missing_attachment_is_a_dead_letter_that_says_so(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant, tmp_path: Path
) -> None:
    large = [{"filename": "a.bin", "content": [7] * 300_000}]
    (bad,) = await queue.add(tenant, attachments=large)
    (good,) = await queue.add(other_tenant, attachments=large)
    await FolderStore(tmp_path).delete(f"{tenant.id}/{bad}/0")
    provider = FakeProvider()
    await _deliver_all(queue, provider, tmp_path, tenant, other_tenant)
    assert await queue.statuses(tenant, bad) == {"first": "failed", "email": "failed"}
    (row,) = await queue.fetch(tenant, "SELECT detail FROM recipients")
    assert row["detail"] == "attachment_missing"
    assert await queue.events(tenant, bad) == ["email.failed"]
    (email,) = provider.handovers
    assert email.email_id == good
    assert email.attachments[0].body == bytes([7]) * 300_000


class BrokenStore(FolderStore):
    """A store that fails in a way that nobody foresaw."""

    async def get(self, key: str) -> bytes:
        """Never gives anything."""
        raise ZeroDivisionError(key)


async def test_unforeseen_error_before_the_handover_puts_the_email_off_and_counts_nothing(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant, tmp_path: Path
) -> None:
    (bad,) = await queue.add(tenant, attachments=[{"filename": "a", "content": [7] * 300_000}])
    (good,) = await queue.add(other_tenant)
    provider = FakeProvider()

    async def is_put_off() -> bool:
        query = "SELECT 1 FROM send_queue WHERE state = 'waiting' AND due_at > now()"
        return bool(await queue.fetch(tenant, query)) and not await queue.fetch(
            other_tenant, "SELECT 1 FROM send_queue"
        )

    url = queue.database.url("tp_deliver")
    async with running_loop(url, provider, BrokenStore(tmp_path)):
        await until(is_put_off)
    assert await queue.statuses(tenant, bad) == {"first": "queued", "email": "queued"}
    row = await queue.find_row(tenant, bad)
    assert row is not None
    assert (row["attempt"], row["worker_id"]) == (0, None)
    assert [email.email_id for email in provider.handovers] == [good]


@pytest.mark.slow
async def test_each_kind_of_refusal_is_tried_again_and_ends_as_a_dead_letter(
    queue: Harness, tenant: SeededTenant, tmp_path: Path
) -> None:
    outcomes = (Outcome.DEFERRED, Outcome.THROTTLED, Outcome.SUSPENDED, Outcome.UNAVAILABLE)
    (email_id,) = await queue.add(tenant)
    provider = FakeProvider(*(says(outcome) for outcome in outcomes))
    await _deliver_all(queue, provider, tmp_path, tenant)
    assert await queue.attempts(tenant, email_id) == [
        (number, outcome.value, False) for number, outcome in enumerate(outcomes, start=1)
    ]
    assert await queue.events(tenant, email_id) == ["email.deferred"] * 4 + ["email.failed"]
    assert await queue.statuses(tenant, email_id) == {"first": "failed", "email": "failed"}
