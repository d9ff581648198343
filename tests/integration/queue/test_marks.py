"""Marks: a handover is counted before it starts, by the worker that holds the claim."""

from msgspec.structs import replace

from tallypost_domain.queue.claims import release_claims
from tests.integration.queue.harness import Harness, ids
from tests.support.database import SeededTenant


async def test_mark_counts_the_handover_and_the_same_mark_again_gets_the_same_answer(
    queue: Harness, tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add(tenant)
    worker = await queue.start_worker()
    (claim,) = await queue.claim(worker, tenant)
    first = await queue.mark(worker, claim)
    # As after a commit whose fate the worker does not know: nothing has left yet.
    again = await queue.mark(worker, claim)
    assert first == again == (replace(claim, attempt=1),)
    row = await queue.find_row(tenant, email_id)
    assert row is not None
    assert (row["state"], row["attempt"], row["fence"]) == ("handing_over", 1, claim.fence)


async def test_claim_that_is_lost_is_not_marked(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    await queue.add(tenant, 5)
    await queue.add(other_tenant)
    worker, stranger = await queue.start_worker(), await queue.start_worker()
    kept, released, reclaimed, ended, _ = claims = await queue.claim(worker, tenant)
    await release_claims(queue.pool, worker, [released, reclaimed, ended])
    now_held = {claim.email_id: claim for claim in await queue.claim(stranger, tenant)}
    await release_claims(queue.pool, stranger, [now_held[released.email_id]])
    (done,) = await queue.mark(stranger, now_held[ended.email_id])
    await queue.record(stranger, await queue.settle(stranger, done, "accepted"))
    assert sorted(ids(await queue.mark(worker, *claims))) == sorted(ids([kept, claims[4]]))
    # Nor by another worker, with an older fence, or with the fence of another row.
    assert await queue.mark(stranger, kept) == ()
    assert await queue.mark(worker, now_held[reclaimed.email_id]) == ()
    assert await queue.mark(stranger, reclaimed) == ()
    (foreign,) = await queue.claim(worker, other_tenant)
    mixed = replace(foreign, tenant_id=tenant.id)
    assert await queue.mark(worker, mixed) == ()


async def test_of_two_claims_of_an_email_only_the_one_that_holds_it_is_marked(
    queue: Harness, tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add(tenant)
    worker = await queue.start_worker()
    (old,) = await queue.claim(worker, tenant)
    await release_claims(queue.pool, worker, [old])
    (new,) = await queue.claim(worker, tenant)
    assert (old.email_id, old.fence + 1) == (new.email_id, new.fence)
    assert await queue.mark(worker, old, new) == (replace(new, attempt=1),)
    row = await queue.find_row(tenant, email_id)
    assert row is not None
    assert (row["state"], row["attempt"], row["fence"]) == ("handing_over", 1, new.fence)
