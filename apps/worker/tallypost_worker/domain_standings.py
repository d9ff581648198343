"""Has providers know the domains that are sent from, and notes what they say about each.

SES and SendGrid sign by themselves and send only for domains whose DNS they have seen. So each
verified domain is registered at each such account, and asked about until it stands there.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar, cast
from uuid import UUID

import structlog

from tallypost_core.clock import monotonic_s
from tallypost_core.crypto import CryptoError
from tallypost_core.errors import AppError
from tallypost_domain.db.errors import DatabaseUnavailable
from tallypost_domain.db.pools import Pool
from tallypost_domain.domains.signing import SigningKeyDirectory
from tallypost_domain.routing import standings
from tallypost_domain.routing.directory import RoutingDirectory
from tallypost_domain.routing.standings import AccountDomain, ClaimedPair, NewStanding
from tallypost_domain.routing.types import DomainRecord, OpenedAccount
from tallypost_providers.errors import ProviderBusy, ProviderError
from tallypost_providers.provider_domains import KNOWS_DOMAINS, DomainStanding, ProviderDomain
from tallypost_providers.types import Provider
from tallypost_worker.handovers import is_cancellation
from tallypost_worker.tenant_accounts import TenantAccounts

LOOK_EVERY_S: Final = 5.0
NEW_EVERY_S: Final = 15.0
"""To see what is new, all domains are compared with all accounts."""
# Shorter than what a pair is leased for.
_TIMEOUT_S: Final = 60.0
_NEW_AT_ONCE: Final = 500
# Whatever hangs holds up no other: each account of the platform has a turn of its own, and so has
# each tenant for its accounts.
_PLATFORM_ROWS: Final = 40
_QUESTIONS_AT_ONCE: Final = 4
_TENANTS_AT_ONCE: Final = 6
_OWN_ROWS: Final = 10

log = structlog.get_logger()

K = TypeVar("K", str, UUID)
Question = Callable[[ProviderDomain], Awaitable[DomainStanding]]
Turn = str | UUID
"""An account of the platform by its name, or a tenant with accounts of its own."""


class DomainStandings:
    """The question to providers, for one worker process."""

    def __init__(
        self,
        pool: Pool,
        platform: Mapping[str, Provider],
        directory: RoutingDirectory,
        accounts: TenantAccounts,
        keys: SigningKeyDirectory,
    ) -> None:
        """pool logs in as tp_worker; platform are the platform's accounts by their names."""
        self._pool = pool
        self._platform = {
            name: question
            for name, provider in platform.items()
            if (question := _find_question(provider)) is not None
        }
        self._directory = directory
        self._accounts = accounts
        self._keys = keys
        self._running: dict[Turn, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Ask whatever is due until cancelled; an account that takes its time holds up no other."""
        look_for_new_at_s = 0.0
        try:
            while True:
                try:
                    if monotonic_s() >= look_for_new_at_s:
                        look_for_new_at_s = monotonic_s() + NEW_EVERY_S
                        await self.find_new()
                    await self.begin_due()
                except DatabaseUnavailable as error:
                    log.warning("domain_standings.failed", error=error.code)
                except Exception:
                    # The edge of this task: deliveries go on by what is known.
                    log.exception("domain_standings.crashed")
                await asyncio.sleep(LOOK_EVERY_S)
        finally:
            for task in self._running.values():
                task.cancel()

    async def find_new(self) -> None:
        """Note domains that were verified, and accounts that were made, since the last time."""
        await standings.add_new(self._pool, [*self._platform], KNOWS_DOMAINS, max_rows=_NEW_AT_ONCE)

    async def begin_due(self) -> None:
        """Begin to ask about the pairs of account and domain whose time has come.

        Of the platform's accounts only those that this worker has: the others may be another
        worker's, whose settings are newer.
        """
        free = [name for name in self._platform if name not in self._running]
        due = await standings.list_due(self._pool, free, max_rows_of_each=_PLATFORM_ROWS)
        for name, pairs in _grouped(due, lambda pair: pair.account).items():
            self._begin(name, self._ask_platforms(pairs, self._platform[name]))
        busy = [turn for turn in self._running if isinstance(turn, UUID)]
        if len(busy) >= _TENANTS_AT_ONCE:
            return
        own = await standings.list_due_own(
            self._pool,
            without_tenants=busy,
            max_tenants=_TENANTS_AT_ONCE - len(busy),
            max_rows_of_each=_OWN_ROWS,
        )
        for tenant_id, pairs in _grouped(own, lambda pair: pair.tenant_id).items():
            self._begin(tenant_id, self._ask_owns(pairs))

    async def ask_due(self) -> None:
        """Begin to ask, and wait until everything was asked that was begun."""
        await self.begin_due()
        await asyncio.gather(*self._running.values())

    def _begin(self, turn: Turn, asking: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(_guarded(asking))
        self._running[turn] = task
        task.add_done_callback(lambda _: self._running.pop(turn))

    async def _ask_platforms(self, pairs: Iterable[AccountDomain], question: Question) -> None:
        """Pairs of one account of the platform, of all tenants."""
        left = iter(pairs)
        askers = (self._ask_each(left, question) for _ in range(_QUESTIONS_AT_ONCE))
        results = await asyncio.gather(*askers, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _ask_owns(self, pairs: Sequence[AccountDomain]) -> None:
        """Pairs of one account of one tenant: to make it costs more than to ask."""
        tenant_id, account_id = pairs[0].tenant_id, UUID(pairs[0].account)
        stored = await self._directory.find_account(tenant_id, account_id)
        if stored is None and not await self._directory.has_account(tenant_id, account_id):
            await self._settle_each(pairs, standings.forget)
        elif stored is None or not stored.is_on:
            await self._settle_each(pairs, standings.put_off)
        else:
            await self._ask_tenants(pairs, stored)

    async def _ask_tenants(self, pairs: Sequence[AccountDomain], account: OpenedAccount) -> None:
        try:
            async with self._accounts.opened(account) as provider:
                question = _find_question(provider)
                if question is None:
                    await self._settle_each(pairs, standings.forget)
                else:
                    await self._ask_each(pairs, question)
        except AppError as error:
            log.warning("domain_standings.account_not_made", error=error.code)
            await self._settle_each(pairs, standings.put_off)

    async def _settle_each(
        self,
        pairs: Iterable[AccountDomain],
        settle: Callable[[Pool, ClaimedPair], Awaitable[None]],
    ) -> None:
        for pair in pairs:
            claimed = await standings.claim(self._pool, pair)
            if claimed is not None:
                await settle(self._pool, claimed)

    async def _ask_each(self, pairs: Iterable[AccountDomain], question: Question) -> None:
        for pair in pairs:
            claimed = await standings.claim(self._pool, pair)
            if claimed is None:
                continue
            if claimed.is_verified:
                await self._ask(claimed, question)
            else:
                await standings.put_off(self._pool, claimed)

    async def _ask(self, claimed: ClaimedPair, question: Question) -> None:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                tenant_id, domain_id, _ = claimed.pair
                keys = await self._keys.list_keys(tenant_id, domain_id)
                said = await question(ProviderDomain(name=claimed.domain, dkim_keys=keys))
        except (AppError, CryptoError, ProviderBusy, TimeoutError) as error:
            reason = error.message if isinstance(error, ProviderError) else "It did not answer."
            await standings.record_not_said(self._pool, claimed, reason)
            log.info("domain_standings.not_said", error=type(error).__name__)
        except (Exception, SystemExit, asyncio.CancelledError) as error:
            if is_cancellation(error):
                raise
            # The edge to code that may be a plugin's: the others are asked all the same.
            log.exception("domain_standings.provider_crashed", error=type(error).__name__)
            await standings.record_not_said(self._pool, claimed, "It could not be asked.")
        else:
            await standings.record_standing(self._pool, claimed, _as_stored(said))


async def _guarded(asking: Coroutine[None, None, None]) -> None:
    try:
        await asking
    except DatabaseUnavailable as error:
        log.warning("domain_standings.failed", error=error.code)
    except Exception:
        # The edge of this task, which nobody awaits: what it leaves stays due, or its lease ends.
        log.exception("domain_standings.crashed")


def _grouped(
    pairs: Iterable[AccountDomain], key: Callable[[AccountDomain], K]
) -> Mapping[K, list[AccountDomain]]:
    groups: defaultdict[K, list[AccountDomain]] = defaultdict(list)
    for pair in pairs:
        groups[key(pair)].append(pair)
    return groups


def _find_question(provider: Provider) -> Question | None:
    # Any: it is no part of the Protocol, since a relay knows nothing of domains.
    return cast("Question | None", getattr(cast("Any", provider), "ensure_domain", None))


def _as_stored(said: DomainStanding) -> NewStanding:
    return NewStanding(
        status="verified" if said.is_verified else "unverified",
        records=tuple(
            DomainRecord(
                type=record.type, name=record.name, value=record.value, is_found=record.is_found
            )
            for record in said.records
        ),
        detail=said.detail,
    )
