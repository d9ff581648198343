"""Emails of which nobody knows whether they arrived."""

from uuid import UUID

from tests.integration.queue.harness import Harness
from tests.support.database import SeededTenant


async def park(
    queue: Harness, tenant: SeededTenant, *to: str, mode: str = "live", **by_address: str
) -> UUID:
    """An email on the bulk lane, parked after a silence; by_address answers by local part."""
    headers = {"X-Tallypost-Stream": "bulk"}
    (email_id,) = await queue.add(
        tenant, to=list(to or ("a@r.test",)), mode=mode, headers=headers, subject="Parked"
    )
    worker = await queue.start_worker()
    (claim,) = await queue.hand_over(worker, tenant, lane="bulk")
    await queue.record(worker, await queue.settle(worker, claim, "ambiguous", **by_address))
    assert await queue.state(tenant, email_id) == "ambiguous"
    return email_id


async def leave_in_doubt(queue: Harness, tenant: SeededTenant, *to: str) -> UUID:
    """An email whose stream lets it be sent again after a silence; it waits for that."""
    (email_id,) = await queue.add(tenant, to=list(to or ("a@r.test",)), subject="In doubt")
    worker = await queue.start_worker()
    (claim,) = await queue.hand_over(worker, tenant)
    await queue.record(worker, await queue.settle(worker, claim, "ambiguous"))
    assert await queue.state(tenant, email_id) == "waiting"
    return email_id
