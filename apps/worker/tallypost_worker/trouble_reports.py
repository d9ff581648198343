"""Tells tenants which of their own accounts this worker asks nothing at the moment."""

import asyncio
from collections.abc import Mapping
from typing import Final
from uuid import UUID

import structlog

from tallypost_core.clock import monotonic_s
from tallypost_domain.db.errors import DatabaseUnavailable
from tallypost_domain.db.pools import Pool
from tallypost_domain.queue.account_states import AccountCondition
from tallypost_domain.routing.troubles import OwnAccount, TroubleState, write_troubles
from tallypost_worker.fleet import Fleet
from tallypost_worker.tenant_routes import RouteBook

LOOK_EVERY_S: Final = 1.0
# So that what was written before the worker had signed on, or was lost, is made good.
_REPEAT_EVERY_S: Final = 10.0

Troubles = dict[OwnAccount, tuple[TroubleState, float | None]]

_STATES: Final[Mapping[AccountCondition, TroubleState]] = {
    AccountCondition.PAUSED: "paused",
    AccountCondition.OPEN: "open",
    AccountCondition.HALF_OPEN: "half_open",
}

log = structlog.get_logger()


async def report_troubles(pool: Pool, worker_id: UUID, fleet: Fleet, routes: RouteBook) -> None:
    """Write until cancelled; pool logs in as tp_worker."""
    written: Troubles = {}
    repeat_at_s = 0.0
    while True:
        troubles = _find_troubles(fleet, routes)
        is_repeated = monotonic_s() >= repeat_at_s
        if is_repeated:
            repeat_at_s = monotonic_s() + _REPEAT_EVERY_S
        new = {
            account: trouble
            for account, trouble in troubles.items()
            if is_repeated or account not in written or _is_news(trouble, written[account])
        }
        cured = written.keys() - troubles.keys()
        try:
            if new or cured:
                await write_troubles(pool, worker_id, new, cured)
            written = {
                name: new.get(name, written.get(name, now)) for name, now in troubles.items()
            }
        except DatabaseUnavailable as error:
            log.warning("troubles.not_reported", error=error.code)
        except Exception:
            # The edge of this task: no page is worth the deliveries beside it.
            log.exception("troubles.report_crashed")
        await asyncio.sleep(LOOK_EVERY_S)


def _find_troubles(fleet: Fleet, routes: RouteBook) -> Troubles:
    troubles: Troubles = {}
    for tenant_id, provider in routes.own_accounts():
        state = fleet.state_of(provider)
        named = _STATES.get(state.condition)
        if named is not None:
            troubles[OwnAccount(tenant_id, UUID(provider.account))] = (named, state.wait_s)
    return troubles


def _is_news(
    now: tuple[TroubleState, float | None], before: tuple[TroubleState, float | None]
) -> bool:
    """The time to wait shrinks by itself; only a longer one is news."""
    return now[0] != before[0] or (now[1] or 0.0) > (before[1] or 0.0)
