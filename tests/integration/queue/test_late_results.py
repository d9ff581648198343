"""A worker that was frozen through the end of its lease, and comes back with a result."""

from uuid import UUID

from tallypost_domain.queue.claims import LEASE_S
from tallypost_domain.queue.sweeps import sweep_abandoned
from tallypost_domain.queue.types import Claim, Settlement
from tallypost_providers.types import Outcome
from tests.integration.queue.harness import POLICY, Harness, settlement
from tests.support.database import PEPPERS, SeededTenant


class Frozen:
    """A handover whose worker stopped beating, so that its row was swept."""

    def __init__(self, worker: UUID, claim: Claim) -> None:
        self.worker = worker
        self.claim = claim


async def _freeze(queue: Harness, tenant: SeededTenant, *, lane: str = "transactional") -> Frozen:
    worker = await queue.start_worker()
    (claim,) = await queue.hand_over(worker, tenant, lane=lane)
    await queue.age_beat(worker, LEASE_S + 1)
    swept = await sweep_abandoned(queue.pool, POLICY, PEPPERS)
    assert (swept.released, swept.unconfirmed) == (0, 1)
    return Frozen(worker, claim)


async def _late(queue: Harness, frozen: Frozen, outcome: str, **by_address: str) -> Settlement:
    return await queue.settle(frozen.worker, frozen.claim, outcome, **by_address)


async def test_late_acceptance_settles_who_is_pending_and_ends_the_waiting_row(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add(tenant, to=["a@r.test", "b@r.test"])
    await queue.add(other_tenant)
    frozen = await _freeze(queue, tenant)
    late = await _late(queue, frozen, "accepted")
    others = await queue.snapshot(other_tenant)
    for _ in range(2):
        await queue.record(frozen.worker, late)
        assert await queue.find_row(tenant, email_id) is None
        assert await queue.statuses(tenant, email_id) == {"a": "sent", "b": "sent", "email": "sent"}
        assert await queue.attempts(tenant, email_id) == [
            (1, "ambiguous", False),
            (1, "accepted", True),
        ]
        assert await queue.billed(tenant, email_id) == 2
        events = await queue.events(tenant, email_id)
        assert events == ["email.unconfirmed"] * 2 + ["email.sent"] * 2
    assert await queue.snapshot(other_tenant) == others


async def test_late_acceptance_of_some_leaves_the_others_pending(
    queue: Harness, tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add(tenant, to=["a@r.test", "b@r.test"])
    frozen = await _freeze(queue, tenant)
    await queue.record(frozen.worker, await _late(queue, frozen, "accepted", b="rejected"))
    statuses = await queue.statuses(tenant, email_id)
    assert statuses == {"a": "sent", "b": "unconfirmed", "email": "unconfirmed"}
    assert await queue.billed(tenant, email_id) == 1


async def test_late_bad_news_goes_on_record_and_changes_nothing_else(
    queue: Harness, tenant: SeededTenant
) -> None:
    for outcome in ("rejected", "deferred", "throttled", "suspended", "unavailable", "ambiguous"):
        (email_id,) = await queue.add(tenant)
        frozen = await _freeze(queue, tenant)
        before = await queue.snapshot(tenant)
        await queue.record(frozen.worker, await _late(queue, frozen, outcome))
        after = await queue.snapshot(tenant)
        assert await queue.attempts(tenant, email_id) == [
            (1, "ambiguous", False),
            (1, outcome, True),
        ]
        del before["attempts"], after["attempts"]
        assert after == before


async def test_second_acceptance_after_the_first_raises_the_suspicion_and_bills_once(
    queue: Harness, tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add(tenant)
    frozen = await _freeze(queue, tenant)
    late = await _late(queue, frozen, "accepted")
    await queue.make_due(tenant, email_id)
    second = await queue.start_worker()
    (claim,) = await queue.hand_over(second, tenant)
    await queue.record(second, await queue.settle(second, claim, "accepted"))
    assert await queue.state(tenant, email_id) is None
    await queue.record(frozen.worker, late)
    assert await queue.statuses(tenant, email_id) == {"first": "sent", "email": "sent"}
    assert await queue.billed(tenant, email_id) == 1
    assert await queue.events(tenant, email_id) == [
        "email.unconfirmed",
        "email.sent",
        "email.duplicate_suspected",
    ]
    assert await queue.attempts(tenant, email_id) == [
        (1, "ambiguous", False),
        (2, "accepted", False),
        (1, "accepted", True),
    ]


async def test_late_acceptance_first_makes_the_other_one_the_suspected_copy(
    queue: Harness, tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add(tenant)
    frozen = await _freeze(queue, tenant)
    late = await _late(queue, frozen, "accepted")
    await queue.make_due(tenant, email_id)
    second = await queue.start_worker()
    (claim,) = await queue.hand_over(second, tenant)
    current = await queue.settle(second, claim, "accepted")
    row = await queue.find_row(tenant, email_id)
    await queue.record(frozen.worker, late)
    # The other worker's handover goes on undisturbed.
    assert await queue.find_row(tenant, email_id) == row
    await queue.record(second, current)
    assert await queue.state(tenant, email_id) is None
    assert await queue.billed(tenant, email_id) == 1
    assert await queue.events(tenant, email_id) == [
        "email.unconfirmed",
        "email.sent",
        "email.duplicate_suspected",
    ]


async def test_bad_news_of_a_copy_too_many_is_no_event_of_the_recipient(
    queue: Harness, tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add(tenant)
    frozen = await _freeze(queue, tenant)
    late = await _late(queue, frozen, "accepted")
    await queue.make_due(tenant, email_id)
    second = await queue.start_worker()
    (claim,) = await queue.hand_over(second, tenant)
    current = await queue.settle(second, claim, "rejected")
    await queue.record(frozen.worker, late)
    await queue.record(second, current)
    assert await queue.statuses(tenant, email_id) == {"first": "sent", "email": "sent"}
    assert await queue.events(tenant, email_id) == ["email.unconfirmed", "email.sent"]
    assert await queue.state(tenant, email_id) is None


async def test_late_acceptance_on_the_bulk_lane_settles_what_was_put_aside(
    queue: Harness, tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add_bulk(tenant)
    frozen = await _freeze(queue, tenant, lane="bulk")
    # Put aside, a recipient is nobody's to load; the frozen worker knows it from before.
    recipients = await queue.fetch(tenant, "SELECT id FROM recipients")
    assert await queue.state(tenant, email_id) == "ambiguous"
    late = settlement(
        frozen.worker, frozen.claim, {row["id"]: Outcome.ACCEPTED for row in recipients}
    )
    await queue.record(frozen.worker, late)
    assert await queue.statuses(tenant, email_id) == {"first": "sent", "email": "sent"}
    assert await queue.billed(tenant, email_id) == 1
    # Nobody is left to send to, so nothing stays parked.
    assert await queue.state(tenant, email_id) is None
