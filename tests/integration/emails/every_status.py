"""Brings emails into each status that there is, as the product does where it can."""

from typing import Any
from uuid import UUID

from tallypost_core import clock
from tallypost_domain.db.pools import transaction
from tallypost_domain.emails.lifecycle import RecipientEvent
from tallypost_domain.emails.service import cancel
from tallypost_domain.queue.claims import release_claims
from tallypost_domain.queue.types import Claim, RecipientChange, Settlement
from tallypost_domain.suppressions.service import suppress
from tallypost_providers.types import Mode
from tests.integration.queue.harness import Harness, hours
from tests.support.database import PEPPERS, SeededTenant

BLOCKED = "blocked@r.test"
"""Suppressed by `add_every_status`."""

_OUTCOMES = {
    "sent": "accepted",
    "bounced": "rejected",
    "deferred": "deferred",
    "unconfirmed": "ambiguous",
}
_WITHOUT_HANDOVER = {"held": RecipientEvent.HELD, "failed": RecipientEvent.GAVE_UP}
# Reports of providers are not taken in yet.
_REPORTED = ("delivered", "complained")

_REPORT = """
    WITH changed AS (
        UPDATE emails SET status = $2 WHERE id = $1 RETURNING tenant_id, mode
    ), changed_recipients AS (
        UPDATE recipients SET status = $2 WHERE email_id = $1 RETURNING id
    )
    INSERT INTO events (tenant_id, subject_id, id, mode, type, recipient_id, data)
    SELECT c.tenant_id, $1, gen_random_uuid(), c.mode, 'email.' || $2, r.id, '{}'
    FROM changed c CROSS JOIN changed_recipients r
"""


async def add_every_status(
    queue: Harness, tenant: SeededTenant, mode: Mode = "live"
) -> dict[str, UUID]:
    """An email of each status, by the status."""
    async with queue.database.session("tp_cli", tenant.id) as session:
        await suppress(session, tenant.id, mode, BLOCKED, origin="manual", peppers=PEPPERS)
    found = {
        status: await add_with_outcome(queue, tenant, outcome, mode=mode)
        for status, outcome in _OUTCOMES.items()
    }
    for status in _REPORTED:
        found[status] = await add_with_outcome(queue, tenant, "accepted", mode=mode)
        await report(queue, tenant, found[status], status)
    for status, event in _WITHOUT_HANDOVER.items():
        found[status] = await _add_without_handover(queue, tenant, event, mode)
    (found["suppressed"],) = await queue.add(tenant, mode=mode, to=BLOCKED)
    for status in ("scheduled", "canceled"):
        later = (clock.utc_now() + hours(1)).isoformat()
        (found[status],) = await queue.add(tenant, mode=mode, scheduled_at=later)
    async with queue.database.session("tp_api", tenant.id) as session:
        await cancel(session, tenant.id, mode, found["canceled"])
    (found["queued"],) = await queue.add(tenant, mode=mode)
    return found


# Any: the fields of a request.
async def add_with_outcome(
    queue: Harness, tenant: SeededTenant, outcome: str, /, *, mode: Mode = "live", **fields: Any
) -> UUID:
    """An email that was handed over once; the outcome may depend on the recipient.

    by, a field, has outcomes by local part.
    """
    by = fields.pop("by", {})
    (email_id,) = await queue.add(tenant, mode=mode, **fields)
    worker = await queue.start_worker()
    (claim,) = await queue.mark(worker, await _claim(queue, tenant, worker, email_id))
    await queue.record(worker, await queue.settle(worker, claim, outcome, **by))
    return email_id


async def report(queue: Harness, tenant: SeededTenant, email_id: UUID, status: str) -> None:
    """Let a provider report that all recipients of a sent email have this status."""
    async with transaction(queue.pool, [tenant.id]) as connection:
        await connection.execute(_REPORT, email_id, status)


async def _add_without_handover(
    queue: Harness, tenant: SeededTenant, event: RecipientEvent, mode: Mode
) -> UUID:
    (email_id,) = await queue.add(tenant, mode=mode)
    worker = await queue.start_worker()
    claim = await _claim(queue, tenant, worker, email_id)
    (email,) = await queue.load(claim)
    changes = tuple(RecipientChange(recipient_id=to.id, event=event) for to in email.recipients)
    is_held = event is RecipientEvent.HELD
    settled = Settlement(claim=claim, worker_id=worker, attempt=None, changes=changes, hold=is_held)
    await queue.record(worker, settled)
    return email_id


async def _claim(queue: Harness, tenant: SeededTenant, worker: UUID, email_id: UUID) -> Claim:
    """Claim this email alone, whatever else is due."""
    claims = await queue.claim(worker, tenant)
    (wanted,) = [claim for claim in claims if claim.email_id == email_id]
    await release_claims(queue.pool, worker, [claim for claim in claims if claim is not wanted])
    return wanted
