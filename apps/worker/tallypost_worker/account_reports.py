"""Tells people how this worker's provider accounts do, whenever that changes."""

import asyncio
from collections.abc import Mapping
from typing import Final
from uuid import UUID

import structlog

from tallypost_domain.db.errors import DatabaseUnavailable
from tallypost_domain.db.pools import Pool
from tallypost_domain.queue.account_states import AccountState, write_states
from tallypost_worker.fleet import Fleet

LOOK_EVERY_S: Final = 0.5
# So that what a failed write has lost is made good.
_REPEAT_EVERY_S: Final = 10.0

log = structlog.get_logger()


async def report_accounts(pool: Pool, worker_id: UUID, fleet: Fleet) -> None:
    """Write until cancelled; pool logs in as tp_worker."""
    written: dict[str, AccountState] = {}
    written_at_s = 0.0
    while True:
        now_s = asyncio.get_running_loop().time()
        if now_s - written_at_s > _REPEAT_EVERY_S:
            written, written_at_s = {}, now_s
        states = {state.account: state for state in fleet.states()}
        changed = [state for state in states.values() if _has_changed(state, written)]
        try:
            if changed:
                await write_states(pool, worker_id, changed)
            written |= {state.account: state for state in changed}
        except DatabaseUnavailable as error:
            log.warning("accounts.not_reported", error=error.code)
        except Exception:
            # The edge of this task: no page is worth the deliveries beside it.
            log.exception("accounts.report_crashed")
        await asyncio.sleep(LOOK_EVERY_S)


def _has_changed(state: AccountState, written: Mapping[str, AccountState]) -> bool:
    """The time to wait shrinks by itself; only a longer one is news."""
    before = written.get(state.account)
    if before is None or before.condition is not state.condition:
        return True
    return (state.wait_s or 0.0) > (before.wait_s or 0.0)
