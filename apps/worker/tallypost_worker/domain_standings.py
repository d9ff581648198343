"""Has providers know the domains that are sent from, and notes what they say about each.

SES and SendGrid sign by themselves and send only for domains whose DNS they have seen. So each
verified domain is registered at each such account, and asked about until it stands there.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, cast
from uuid import UUID

import structlog

from tallypost_core.clock import monotonic_s
from tallypost_core.crypto import CryptoError
from tallypost_core.errors import AppError
from tallypost_core.ids import parse_id
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
from tallypost_worker.tenant_accounts import TenantAccounts

LOOK_EVERY_S: Final = 5.0
NEW_EVERY_S: Final = 15.0
"""To see what is new, all domains are compared with all accounts."""
# Shorter than what a pair is leased for.
_TIMEOUT_S: Final = 60.0
_AT_ONCE: Final = 4
_MAX_ROWS: Final = 500

log = structlog.get_logger()

Question = Callable[[ProviderDomain], Awaitable[DomainStanding]]


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

    async def run(self) -> None:
        """Ask whatever is due until cancelled."""
        look_for_new_at_s = 0.0
        while True:
            try:
                if monotonic_s() >= look_for_new_at_s:
                    look_for_new_at_s = monotonic_s() + NEW_EVERY_S
                    await self.find_new()
                await self.ask_due()
            except DatabaseUnavailable as error:
                log.warning("domain_standings.failed", error=error.code)
            except Exception:
                # The edge of this task: deliveries go on by what is known.
                log.exception("domain_standings.crashed")
            await asyncio.sleep(LOOK_EVERY_S)

    async def find_new(self) -> None:
        """Note domains that were verified, and accounts that were made, since the last time."""
        await standings.add_new(self._pool, [*self._platform], KNOWS_DOMAINS, max_rows=_MAX_ROWS)

    async def ask_due(self) -> None:
        """Ask about the pairs of account and domain whose time has come."""
        groups: defaultdict[tuple[UUID, str], list[AccountDomain]] = defaultdict(list)
        for pair in await standings.list_due(self._pool, max_rows=_MAX_ROWS):
            groups[pair.tenant_id, pair.account].append(pair)
        turns = asyncio.Semaphore(_AT_ONCE)

        async def ask(pairs: list[AccountDomain]) -> None:
            async with turns:
                await self._ask_about_all(pairs)

        results = await asyncio.gather(*map(ask, groups.values()), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _ask_about_all(self, pairs: Sequence[AccountDomain]) -> None:
        """Pairs of one account of one tenant: to make it costs more than to ask."""
        tenant_id, _, account = pairs[0]
        question = self._platform.get(account)
        if question is not None:
            await self._ask_each(pairs, question)
            return
        account_id = parse_id(account)
        if account_id is None:
            # The platform's, of another worker's settings or of none any more.
            await self._settle_each(pairs, standings.put_off)
            return
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
        except Exception as error:
            # The edge to code that may be a plugin's: the others are asked all the same.
            log.exception("domain_standings.provider_crashed", error=type(error).__name__)
            await standings.record_not_said(self._pool, claimed, "It could not be asked.")
        else:
            await standings.record_standing(self._pool, claimed, _as_stored(said))


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
