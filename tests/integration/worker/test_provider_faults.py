"""Whatever a provider, a plugin or a store of ours does, each email ends in a truth."""

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tallypost_core.object_store import FolderStore
from tallypost_providers.base import same_for_all
from tallypost_providers.errors import EmailNotBuildable
from tallypost_providers.types import Outcome, OutgoingEmail, SendResult
from tests.integration.queue.harness import Harness
from tests.integration.worker.loops import Answer, FakeProvider, running_loop, says, until
from tests.support.database import SeededTenant


def breaks(error: Exception) -> Answer:
    """A provider that raises."""

    def answer(_: OutgoingEmail) -> SendResult:
        raise error

    return answer


# Any: a plugin may put anything into its answer.
def garbles(**fields: Any) -> Answer:
    """A provider that takes the email, and puts something odd into its answer."""
    return lambda email: replace(same_for_all(email, Outcome.ACCEPTED, phase="final"), **fields)


async def _deliver_all(
    queue: Harness, provider: FakeProvider, folder: Path, *tenants: SeededTenant
) -> None:
    """Run a loop until nothing of these tenants is waiting or under way."""

    async def is_done() -> bool:
        query = "SELECT 1 FROM send_queue WHERE state <> 'ambiguous'"
        return not [row for tenant in tenants for row in await queue.fetch(tenant, query)]

    url = queue.database.url("tp_deliver")
    async with running_loop(url, provider, FolderStore(folder)):
        await until(is_done)


CRASHES = [
    breaks(RuntimeError("a plugin's mistake")),
    breaks(StopIteration()),
    breaks(TimeoutError()),
    lambda _: SendResult(recipients=()),
    garbles(recipients=()),
    garbles(evidence={"reply": object()}),
    garbles(phase=None),
]


async def test_provider_that_breaks_is_silence_and_follows_the_stream(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant, tmp_path: Path
) -> None:
    urgent = await queue.add(tenant, len(CRASHES), to=["a@r.test", "b@r.test"])
    bulk = await queue.add_bulk(other_tenant, len(CRASHES))
    crashes = dict(zip([*urgent, *bulk], CRASHES * 2, strict=True))

    def judge(email: OutgoingEmail) -> SendResult:
        crash = crashes.pop(email.email_id, says(Outcome.ACCEPTED))
        return crash(email)

    provider = FakeProvider(judge)
    await _deliver_all(queue, provider, tmp_path, tenant, other_tenant)
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
