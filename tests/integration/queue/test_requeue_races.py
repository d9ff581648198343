"""Results of handovers before, and workers at work, meet an email that a person sends again."""

import asyncio
from uuid import UUID

from tallypost_domain.emails.lifecycle import RecipientEvent
from tallypost_domain.queue.claims import LEASE_S
from tallypost_domain.queue.requeueing import SkipReason
from tallypost_domain.queue.sweeps import sweep_abandoned
from tallypost_domain.queue.types import RecipientChange, Settlement
from tests.integration.queue.harness import POLICY, Harness
from tests.integration.queue.people import Person, let_fail
from tests.support.database import PEPPERS, SeededTenant


async def _freeze(queue: Harness, tenant: SeededTenant, email_id: UUID) -> tuple[UUID, Settlement]:
    """A worker that had the email taken, and whose lease ended before it could say so; after
    that the email used up its attempts, and is parked."""
    frozen = await queue.start_worker()
    (claim,) = await queue.hand_over(frozen, tenant)
    late = await queue.settle(frozen, claim, "accepted")
    await queue.age_beat(frozen, LEASE_S + 1)
    await sweep_abandoned(queue.pool, POLICY, PEPPERS)
    await queue.make_due(tenant, email_id)
    await let_fail(queue, tenant)
    assert await queue.state(tenant, email_id) == "ambiguous"
    return frozen, late


async def test_result_of_the_row_before_does_not_settle_the_new_one_of_the_same_worker(
    queue: Harness, tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add(tenant)
    worker = await queue.start_worker()
    (email,) = await queue.load(*await queue.claim(worker, tenant))
    # Without an attempt, by whose id a repeated result would be known.
    gave_up = Settlement(
        claim=email.claim,
        worker_id=worker,
        attempt=None,
        changes=tuple(
            RecipientChange(recipient_id=to.id, event=RecipientEvent.GAVE_UP)
            for to in email.recipients
        ),
    )
    await queue.record(worker, gave_up)
    assert (await Person(queue, tenant).requeue_all()).emails == 1
    (claim,) = await queue.hand_over(worker, tenant)
    before = await queue.snapshot(tenant)
    # The commit's answer was lost, so the worker records it once more.
    await queue.record(worker, gave_up)
    assert await queue.snapshot(tenant) == before
    await queue.record(worker, await queue.settle(worker, claim, "accepted"))
    assert (await queue.statuses(tenant, email_id))["email"] == "sent"
    assert await queue.state(tenant, email_id) is None


async def test_late_acceptance_settles_what_was_sent_again_and_ends_its_row(
    queue: Harness, tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add(tenant)
    frozen, late = await _freeze(queue, tenant, email_id)
    assert (await Person(queue, tenant).resend(email_id)).emails == 1
    await queue.record(frozen, late)
    assert await queue.statuses(tenant, email_id) == {"first": "sent", "email": "sent"}
    assert await queue.state(tenant, email_id) is None
    assert await queue.billed(tenant, email_id) == 1


async def test_late_acceptance_during_the_second_handover_makes_it_a_suspected_copy(
    queue: Harness, tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add(tenant)
    frozen, late = await _freeze(queue, tenant, email_id)
    await Person(queue, tenant).resend(email_id)
    worker = await queue.start_worker()
    (claim,) = await queue.hand_over(worker, tenant)
    current = await queue.settle(worker, claim, "accepted")
    await queue.record(frozen, late)
    await queue.record(worker, current)
    assert (await queue.events(tenant, email_id))[-2:] == [
        "email.sent",
        "email.duplicate_suspected",
    ]
    assert await queue.state(tenant, email_id) is None
    assert await queue.billed(tenant, email_id) == 1


async def test_decision_and_late_acceptance_at_once_end_in_one_sent_email(
    queue: Harness, tenant: SeededTenant
) -> None:
    for _ in range(10):
        (email_id,) = await queue.add(tenant)
        frozen, late = await _freeze(queue, tenant, email_id)
        await asyncio.gather(Person(queue, tenant).resend(email_id), queue.record(frozen, late))
        assert await queue.statuses(tenant, email_id) == {"first": "sent", "email": "sent"}
        assert await queue.state(tenant, email_id) is None
        assert await queue.billed(tenant, email_id) == 1


async def test_dead_letter_of_an_email_that_a_worker_has_stays_until_the_worker_is_done(
    queue: Harness, tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add(tenant, to=["a@r.test", "b@r.test"])
    await let_fail(queue, tenant)
    person = Person(queue, tenant)
    first, second = (await person.dead()).items
    await person.requeue([first.id])
    worker = await queue.start_worker()
    (claim,) = await queue.claim(worker, tenant)
    assert (await person.requeue([second.id])).skipped == {SkipReason.CHANGED_SINCE: 1}
    (marked,) = await queue.mark(worker, claim)
    assert (await person.requeue([second.id])).skipped == {SkipReason.CHANGED_SINCE: 1}
    await queue.record(worker, await queue.settle(worker, marked, "accepted"))
    assert await queue.state(tenant, email_id) is None
    assert (await person.requeue([second.id])).recipients == 1
    (claim,) = await queue.hand_over(worker, tenant)
    await queue.record(worker, await queue.settle(worker, claim, "accepted"))
    assert await queue.state(tenant, email_id) is None
    assert await queue.billed(tenant, email_id) == 2


async def test_lost_worker_leaves_a_dead_letter_beside_its_handover_as_it_was(
    queue: Harness, tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add(tenant, to=["a@r.test", "b@r.test"])
    await let_fail(queue, tenant)
    person = Person(queue, tenant)
    first, second = (await person.dead()).items
    await person.requeue([first.id])
    worker = await queue.start_worker()
    await queue.hand_over(worker, tenant)
    await person.requeue([second.id])
    await queue.age_beat(worker, LEASE_S + 1)
    await sweep_abandoned(queue.pool, POLICY, PEPPERS)
    statuses = await queue.statuses(tenant, email_id)
    assert sorted(statuses.values()) == ["failed", "unconfirmed", "unconfirmed"]
