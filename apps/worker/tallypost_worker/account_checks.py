"""Checks tenants' provider accounts when somebody asks for it, step by step, without sending."""

import asyncio
from typing import Any, Final, cast
from uuid import UUID

import structlog

from tallypost_core.errors import AppError
from tallypost_domain.db.errors import DatabaseUnavailable
from tallypost_domain.db.pools import Pool
from tallypost_domain.routing import checks
from tallypost_domain.routing.checks import AccountCheck
from tallypost_domain.routing.directory import RoutingDirectory
from tallypost_domain.routing.types import AccountStep, OpenedAccount
from tallypost_worker.tenant_accounts import TenantAccounts

LOOK_EVERY_S: Final = 1.0
# Much shorter than what a check is leased for.
TIMEOUT_S: Final = 30.0
_AT_ONCE: Final = 10
_NOT_OPENED: Final = (
    "its secrets cannot be opened; give them again, and if that fails too, an operator has to "
    "bring back the key that they were stored with"
)

log = structlog.get_logger()


class AccountChecks:
    """The checks of one worker process."""

    def __init__(self, pool: Pool, directory: RoutingDirectory, accounts: TenantAccounts) -> None:
        """pool logs in as tp_worker."""
        self._pool = pool
        self._directory = directory
        self._accounts = accounts
        # By tenant.
        self._running: dict[UUID, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Check what is due until cancelled; a check that takes its time holds up no other."""
        try:
            while True:
                try:
                    await self.begin_due()
                except DatabaseUnavailable as error:
                    log.warning("account_checks.failed", error=error.code)
                except Exception:
                    # The edge of this task: no check is worth the deliveries beside it.
                    log.exception("account_checks.crashed")
                await asyncio.sleep(LOOK_EVERY_S)
        finally:
            for task in self._running.values():
                task.cancel()

    async def begin_due(self) -> None:
        """Begin checks that somebody wants, as many as there is room for.

        One of each tenant is under way at a time: accounts that hang hold up no other tenant's.
        """
        room = _AT_ONCE - len(self._running)
        if room <= 0:
            return
        due = await checks.list_due(self._pool, max_rows=room, without_tenants=self._running)
        for check in due:
            self._begin(check)

    async def check_due(self) -> None:
        """Begin them, and wait until they are made."""
        await self.begin_due()
        await asyncio.gather(*self._running.values())

    def _begin(self, check: AccountCheck) -> None:
        task = asyncio.create_task(self._check(check))
        self._running[check.tenant_id] = task
        task.add_done_callback(lambda _: self._running.pop(check.tenant_id))

    async def _check(self, check: AccountCheck) -> None:
        try:
            changed_at = await checks.claim(self._pool, check)
            if changed_at is None:
                return
            account = await self._directory.find_account(check.tenant_id, check.account_id)
            if account is None:
                steps = [_unusable(_NOT_OPENED)]
            else:
                steps = await self._ask(account)
            await checks.record_check(self._pool, check, steps, changed_at)
        except DatabaseUnavailable as error:
            log.warning("account_checks.failed", error=error.code)
        except Exception:
            # The edge of this task, which nobody awaits: its lease ends, and it is taken up again.
            log.exception("account_checks.crashed", account=str(check.account_id))

    async def _ask(self, account: OpenedAccount) -> list[AccountStep]:
        try:
            async with self._accounts.opened(account) as provider:
                # Any: it is no part of the Protocol; all that tenants may use have it.
                steps = await cast("Any", provider).check(TIMEOUT_S)
        except AppError as error:
            return [_unusable(error.message)]
        except Exception:
            log.exception("account_checks.provider_crashed", provider=account.provider)
            return [_unusable("the check broke off by a fault of ours")]
        return [AccountStep(step.name, step.state, step.detail) for step in steps]


def _unusable(reason: str) -> AccountStep:
    return AccountStep("settings", "failed", reason)
