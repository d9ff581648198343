"""A tenant's own account is asked what it took for as long as there is such an account."""

import base64
import os
from pathlib import Path
from uuid import UUID

import pytest

from tallypost_core.crypto import KeyRing
from tallypost_domain.routing import accounts, routes
from tallypost_domain.routing.accounts import AccountChange
from tallypost_domain.routing.directory import RoutingDirectory
from tallypost_domain.routing.types import NewRoute, OpenedAccount
from tallypost_providers.errors import ProviderMisconfigured
from tallypost_providers.look_ups import FoundMessage
from tallypost_providers.types import Provider
from tallypost_resilience.breaker import Breaker
from tallypost_resilience.limiter import LocalLimiter
from tallypost_worker.fleet import Fleet
from tallypost_worker.tenant_routes import AccountNotUsable, RouteBook
from tests.integration.queue.harness import Harness
from tests.integration.routing.samples import ACTOR, create
from tests.integration.worker.look_up_stage import FOUND, NOT_FOUND, Knowing, Stage, knows
from tests.integration.worker.loops import NEVER_OPENS, FakeProvider
from tests.support.database import KEY_RING, SeededTenant

ADA = "ada@recipient.test"
SILENT, RESENT = ("final", "ambiguous", 1), ("final", "accepted", 2)


class Own:
    """Accounts of tenants as a worker makes them, all of which know Ada's message."""

    def __init__(self) -> None:
        self.made: list[Knowing] = []
        self.closed: list[Provider] = []
        self.refusals = 0
        """How many more accounts cannot be made."""

    def create(self, account: OpenedAccount) -> Provider:
        """An account that bears its id as its name."""
        if self.refusals:
            self.refusals -= 1
            raise ProviderMisconfigured
        made = _Own(self)
        made.account = str(account.id)
        self.made.append(made)
        return made

    @property
    def asked(self) -> int:
        """Look-ups of all accounts that were made."""
        return sum(made.asked for made in self.made)


class _Own(Knowing):
    def __init__(self, owner: Own) -> None:
        super().__init__(knows(ADA))
        self._owner = owner

    async def close(self) -> None:
        self._owner.closed.append(self)

    async def look_up(self, _email_id: UUID) -> tuple[FoundMessage, ...]:
        assert self not in self._owner.closed
        return await super().look_up(_email_id)


@pytest.fixture
def stage(queue: Harness, tmp_path: Path) -> Stage:
    """A queue of this test alone."""
    return Stage(queue, tmp_path)


@pytest.fixture
def own() -> Own:
    return Own()


@pytest.fixture
def platform() -> FakeProvider:
    return FakeProvider()


async def fall_silent(
    stage: Stage, platform: FakeProvider, own: Own, tenant: SeededTenant
) -> tuple[UUID, UUID]:
    """An account of the tenant, and an email about which it was silent."""
    account_id = await create(stage.queue.database, tenant)
    await _route(stage, tenant, NewRoute(accounts=(str(account_id), "platform")))
    (email_id,) = await stage.queue.add(tenant, to=[ADA])
    await stage.fall_silent(platform, tenant, email_id, create_own=own.create)
    return account_id, email_id


async def _route(stage: Stage, tenant: SeededTenant, *new: NewRoute) -> None:
    async with stage.queue.database.session("tp_console", tenant.id) as session:
        await routes.replace_routes(session, tenant.id, new, actor=ACTOR)


async def _switch_off(stage: Stage, tenant: SeededTenant, account_id: UUID) -> None:
    off = AccountChange(is_on=False)
    async with stage.queue.database.session("tp_console", tenant.id) as session:
        await accounts.change_account(
            session, tenant.id, account_id, off, key_ring=KEY_RING, actor=ACTOR
        )


@pytest.mark.parametrize("is_off", [True, False], ids=["off", "in no route"])
async def test_account_that_no_longer_sends_is_asked(
    stage: Stage, platform: FakeProvider, own: Own, tenant: SeededTenant, *, is_off: bool
) -> None:
    account_id, email_id = await fall_silent(stage, platform, own, tenant)
    if is_off:
        await _switch_off(stage, tenant, account_id)
    else:
        await _route(stage, tenant)

    await stage.deliver(
        platform, lambda: stage.is_in(tenant, email_id, None), create_own=own.create
    )
    assert await stage.attempts(tenant, email_id) == [SILENT, FOUND]
    assert set((await stage.queue.statuses(tenant, email_id)).values()) == {"sent"}
    assert own.asked == 1
    assert own.closed == own.made
    assert platform.handovers == []


async def test_account_that_cannot_be_made_at_the_moment_is_waited_for(
    stage: Stage, platform: FakeProvider, own: Own, tenant: SeededTenant
) -> None:
    _, email_id = await fall_silent(stage, platform, own, tenant)
    own.refusals = 4
    await stage.deliver(
        platform, lambda: stage.is_in(tenant, email_id, None), create_own=own.create
    )
    assert await stage.attempts(tenant, email_id) == [SILENT, FOUND]
    assert own.refusals == 0
    assert platform.handovers == []


async def test_account_that_is_deleted_leaves_its_emails_to_their_streams(
    stage: Stage, platform: FakeProvider, own: Own, tenant: SeededTenant
) -> None:
    account_id, email_id = await fall_silent(stage, platform, own, tenant)
    await _route(stage, tenant)
    async with stage.queue.database.session("tp_console", tenant.id) as session:
        await accounts.delete_account(session, tenant.id, account_id, actor=ACTOR)

    await stage.deliver(
        platform, lambda: stage.is_in(tenant, email_id, None), create_own=own.create
    )
    assert await stage.attempts(tenant, email_id) == [SILENT, NOT_FOUND, RESENT]
    assert "cannot be asked any more" in (await stage.details(tenant, email_id))[0]
    assert own.asked == 0


async def test_account_is_opened_for_its_tenant_only(
    queue: Harness,
    platform: FakeProvider,
    own: Own,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
) -> None:
    account_id = str(await create(queue.database, tenant))
    stranger = KeyRing.from_setting("test:" + base64.b64encode(os.urandom(32)).decode())
    fleet = Fleet(
        [platform], concurrency=5, breaker=Breaker("test", NEVER_OPENS), limiter=LocalLimiter()
    )
    async with queue.database.pool("tp_deliver") as pool:
        book = RouteBook(RoutingDirectory(pool, KEY_RING), fleet, own.create)
        async with book.opened(tenant.id, account_id) as provider:
            assert provider is own.made[0]
            assert own.closed == []
        for owner, account in ((other_tenant, account_id), (tenant, "gone")):
            async with book.opened(owner.id, account) as provider:
                assert provider is None
        async with book.opened(other_tenant.id, platform.account) as provider:
            assert provider is platform
        # The platform's are ready, and stay open.
        await book.close()
        assert own.closed == own.made
        assert len(own.made) == 1

        lost = RouteBook(RoutingDirectory(pool, stranger), fleet, own.create)
        with pytest.raises(AccountNotUsable):
            async with lost.opened(tenant.id, account_id):
                pass
        async with lost.opened(other_tenant.id, account_id) as provider:
            assert provider is None
