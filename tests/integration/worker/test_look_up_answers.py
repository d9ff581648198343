"""What a provider knows of an email settles whom it names, also where a worker dies over it."""

from pathlib import Path
from uuid import UUID

import pytest

from tallypost_domain.queue.sweeps import sweep_abandoned
from tallypost_providers.look_ups import FoundMessage
from tallypost_providers.types import Outcome
from tallypost_worker.look_ups import MOST_AT_ONCE
from tallypost_worker.settlements import looked_up
from tests.integration.queue.harness import POLICY, Harness
from tests.integration.worker.look_up_stage import (
    FOUND,
    HASTY,
    NOT_FOUND,
    Knowing,
    Stage,
    knows,
)
from tests.integration.worker.loops import says, until
from tests.support.database import PEPPERS, SeededTenant


@pytest.fixture
def stage(queue: Harness, tmp_path: Path) -> Stage:
    """A queue of this test alone."""
    return Stage(queue, tmp_path)


async def test_whoever_is_found_is_settled_and_the_others_are_looked_up_again(
    stage: Stage, tenant: SeededTenant
) -> None:
    provider = Knowing(knows("a@r.test"), knows("a@r.test"), knows("a@r.test", "b@r.test"))
    (email_id,) = await stage.queue.add(tenant, to=["a@r.test", "b@r.test"])
    await stage.deliver(provider, lambda: stage.is_in(tenant, email_id, None))
    assert await stage.attempts(tenant, email_id) == [("final", "ambiguous", 1), FOUND, FOUND]
    assert set((await stage.queue.statuses(tenant, email_id)).values()) == {"sent"}
    assert await stage.queue.billed(tenant, email_id) == 2
    rows = await stage.queue.fetch(
        tenant, "SELECT provider_message_id FROM recipients ORDER BY address"
    )
    assert [row["provider_message_id"] for row in rows] == ["id of a@r.test", "id of b@r.test"]
    assert len(provider.handovers) == 1


async def test_only_those_who_are_not_found_are_sent_to_again(
    stage: Stage, tenant: SeededTenant
) -> None:
    provider = Knowing(knows("a@r.test"))
    (email_id,) = await stage.queue.add(tenant, to=["a@r.test", "b@r.test"])
    await stage.deliver(provider, lambda: stage.is_in(tenant, email_id, None), waits=HASTY)
    assert await stage.attempts(tenant, email_id) == [
        ("final", "ambiguous", 1),
        NOT_FOUND,
        ("final", "accepted", 2),
    ]
    assert [len(email.recipients) for email in provider.handovers] == [2, 1]
    assert provider.handovers[1].recipients[0].address == "b@r.test"
    assert await stage.queue.billed(tenant, email_id) == 2


async def test_address_is_known_in_the_providers_spelling(
    stage: Stage, tenant: SeededTenant
) -> None:
    provider = Knowing(knows("ada@BÜCHER.example", "eve@r.test"))
    (email_id,) = await stage.queue.add_bulk(
        tenant, to=["Ada@bücher.example", "adam@bücher.example"]
    )
    await stage.deliver(provider, lambda: stage.is_in(tenant, email_id, "ambiguous"), waits=HASTY)
    statuses = await stage.queue.statuses(tenant, email_id)
    assert (statuses["Ada"], statuses["adam"]) == ("sent", "unconfirmed")


async def test_look_ups_that_hang_hold_up_few_deliveries(
    stage: Stage, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    provider = Knowing(knows("first@recipient.test"))
    provider.memory.clear()
    await stage.queue.add_bulk(tenant, 12, to=["first@recipient.test"])
    provider._answers = [says(Outcome.AMBIGUOUS)] * 12 + [says(Outcome.ACCEPTED)]

    async def are_waiting() -> bool:
        return provider.at_once == MOST_AT_ONCE

    async def is_done() -> bool:
        if not fresh:
            await until(are_waiting)
            fresh.extend(await stage.queue.add(other_tenant, 5))
        left = await stage.queue.fetch(other_tenant, "SELECT 1 FROM send_queue")
        if not left:
            provider.memory.set()
        return not left and not await stage.queue.fetch(tenant, "SELECT 1 FROM send_queue")

    fresh: list[UUID] = []
    await stage.deliver(provider, is_done, concurrency=4)
    assert provider.most_at_once == MOST_AT_ONCE
    for owner, count in ((tenant, 12), (other_tenant, 5)):
        rows = await stage.queue.fetch(owner, "SELECT status FROM recipients")
        assert [row["status"] for row in rows] == ["sent"] * count
    assert len(provider.handovers) == 17


async def test_provider_that_breaks_over_a_look_up_proves_nothing(
    stage: Stage, tenant: SeededTenant, capsys: pytest.CaptureFixture[str]
) -> None:
    def break_() -> tuple[FoundMessage, ...]:
        raise KeyError("no such email")

    # Any: what a plugin may give in the place of messages.
    nonsense: object = ({"address": 7},)
    provider = Knowing(break_, lambda: nonsense, knows("a@r.test"))  # type: ignore[return-value,arg-type]
    (email_id,) = await stage.queue.add(tenant, to=["a@r.test"])
    await stage.deliver(provider, lambda: stage.is_in(tenant, email_id, None))
    assert await stage.attempts(tenant, email_id) == [("final", "ambiguous", 1), FOUND]
    assert provider.asked == 3
    assert capsys.readouterr().out.count("look_up.crashed") == 2


async def test_look_up_that_a_worker_dies_over_is_made_by_the_next_one(
    stage: Stage, tenant: SeededTenant
) -> None:
    queue, provider = stage.queue, Knowing(knows("first@recipient.test"))
    (email_id,) = await queue.add_bulk(tenant, to=["first@recipient.test"])

    await stage.fall_silent(provider, tenant, email_id)
    slow = await queue.start_worker()
    (claim,) = await queue.claim(slow, tenant, lane="bulk")
    (email,) = await queue.load(claim)
    silence = email.silence
    assert silence is not None
    assert (silence.account, [*silence.recipients.values()]) == ("fake", ["first@recipient.test"])
    await queue.age_beat(slow, 3600)
    await sweep_abandoned(queue.pool, POLICY, PEPPERS)
    await stage.deliver(provider, lambda: stage.is_in(tenant, email_id, None))
    settled = [("final", "ambiguous", 1), FOUND]
    assert await stage.attempts(tenant, email_id) == settled

    # It was not dead: what it learned comes late. In vain it says nothing to anybody; a proof is
    # put down, and is no second copy.
    (recipient_id,) = silence.recipients
    found = {recipient_id: FoundMessage("first@recipient.test", "id", "processed")}
    for late in ({}, found):
        settlement = looked_up(
            email,
            slow,
            silence,
            late,
            missing="not found",
            evidence={},
            duration_s=0.1,
            look_up_in_s=None,
        )
        for _ in range(2):
            await queue.record(slow, settlement)
    assert sorted(await stage.attempts(tenant, email_id)) == sorted([*settled, FOUND])
    assert await queue.events(tenant, email_id) == ["email.unconfirmed", "email.sent"]
    assert await queue.billed(tenant, email_id) == 1
    assert len(provider.handovers) == 1


async def test_worker_that_dies_after_a_look_up_in_vain_leaves_no_second_one(
    stage: Stage, tenant: SeededTenant
) -> None:
    queue, provider = stage.queue, Knowing(knows())
    (email_id,) = await queue.add(tenant)

    await stage.fall_silent(provider, tenant, email_id)
    dying = await queue.start_worker()
    (claim,) = await queue.claim(dying, tenant)
    (email,) = await queue.load(claim)
    assert email.silence is not None
    settlement = looked_up(
        email,
        dying,
        email.silence,
        {},
        missing="not found",
        evidence={},
        duration_s=0.1,
        look_up_in_s=None,
    )
    await queue.record(dying, settlement)
    assert await queue.state(tenant, email_id) == "waiting"
    await stage.deliver(provider, lambda: stage.is_in(tenant, email_id, None))
    assert provider.asked == 0
    assert await stage.attempts(tenant, email_id) == [
        ("final", "ambiguous", 1),
        NOT_FOUND,
        ("final", "accepted", 2),
    ]
