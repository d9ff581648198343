"""Recording on the email as it was loaded comes to the same as recording under locks."""

import pytest
from msgspec.structs import replace

from tallypost_domain.db.pools import transaction
from tallypost_domain.queue.records import record_and_mark
from tallypost_domain.queue.types import Claim, Settlement
from tests.integration.queue.harness import POLICY, Harness
from tests.support.database import SeededTenant

OUTCOMES = ("accepted", "rejected", "deferred", "throttled", "unavailable", "ambiguous")


async def _handed_over(
    queue: Harness, tenant: SeededTenant, outcome: str
) -> tuple[Claim, Settlement]:
    await queue.add(tenant, to=["a@r.test", "b@r.test"])
    worker = await queue.start_worker()
    (claim,) = await queue.hand_over(worker, tenant)
    return claim, await queue.settle(worker, claim, outcome)


async def _facts(queue: Harness, tenant: SeededTenant, claim: Claim) -> tuple[object, ...]:
    row = await queue.find_row(tenant, claim.email_id)
    return (
        await queue.statuses(tenant, claim.email_id),
        await queue.attempts(tenant, claim.email_id),
        sorted(await queue.events(tenant, claim.email_id)),
        await queue.billed(tenant, claim.email_id),
        row and (row["state"], row["attempt"], row["worker_id"]),
    )


@pytest.mark.parametrize("outcome", OUTCOMES)
async def test_both_ways_write_the_same(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant, outcome: str
) -> None:
    claim, answer = await _handed_over(queue, tenant, outcome)
    other_claim, other_answer = await _handed_over(queue, other_tenant, outcome)
    assert answer.as_loaded is not None
    await queue.record(answer.worker_id, answer)
    await queue.record(other_answer.worker_id, replace(other_answer, as_loaded=None))
    facts = await _facts(queue, tenant, claim)
    assert facts == await _facts(queue, other_tenant, other_claim)


async def test_status_that_changed_since_the_claim_is_not_overwritten(
    queue: Harness, tenant: SeededTenant
) -> None:
    claim, answer = await _handed_over(queue, tenant, "ambiguous")
    async with transaction(queue.pool, [tenant.id]) as connection:
        await connection.execute(
            "UPDATE recipients SET status = 'delivered' WHERE address = 'a@r.test'"
        )
    await queue.record(answer.worker_id, answer)
    assert await queue.statuses(tenant, claim.email_id) == {
        "a": "delivered",
        "b": "unconfirmed",
        "email": "unconfirmed",
    }
    assert await queue.events(tenant, claim.email_id) == ["email.unconfirmed"]


async def test_one_changed_email_in_a_chunk_costs_the_others_nothing(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    claim, answer = await _handed_over(queue, tenant, "accepted")
    other_claim, other_answer = await _handed_over(queue, other_tenant, "accepted")
    await queue.record(answer.worker_id, answer)
    before = await queue.snapshot(tenant)
    await queue.record(other_answer.worker_id, answer, other_answer)
    assert await queue.snapshot(tenant) == before
    assert await queue.billed(other_tenant, other_claim.email_id) == 2
    assert await queue.state(other_tenant, other_claim.email_id) is None
    assert await queue.attempts(tenant, claim.email_id) == [(1, "accepted", False)]


async def test_claim_is_marked_once_though_the_chunk_is_decided_twice(
    queue: Harness, tenant: SeededTenant
) -> None:
    _, answer = await _handed_over(queue, tenant, "accepted")
    await queue.record(answer.worker_id, answer)
    (email_id,) = await queue.add(tenant)
    (claim,) = await queue.claim(answer.worker_id, tenant)
    recorded = await record_and_mark(queue.pool, answer.worker_id, [answer], [claim], POLICY)
    assert [marked.attempt for marked in recorded.marked] == [1]
    row = await queue.find_row(tenant, email_id)
    assert row is not None
    assert (row["state"], row["attempt"]) == ("handing_over", 1)
