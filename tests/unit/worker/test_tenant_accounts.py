"""Whose share of look-ups the accounts use that a worker makes for tenants."""

import asyncio
import datetime as dt
import socket
import threading
from uuid import UUID

import pytest

from tallypost_core.ids import new_id
from tallypost_core.settings.tenant_accounts import TenantAccountsSettings
from tallypost_domain.routing.types import OpenedAccount
from tallypost_providers.host_resolver import THREADS_OF_ONE_OWNER
from tallypost_providers.smtp import SMTPProvider
from tallypost_worker.tenant_accounts import TenantAccounts
from tests.support.smtp_peers import wait_until

IN_TIME_S = 10.0


def account_of(tenant_id: UUID, host: str) -> OpenedAccount:
    """An account of a tenant's at a relay."""
    return OpenedAccount(
        id=new_id(),
        tenant_id=tenant_id,
        provider="smtp",
        settings={"host": host},
        secrets={},
        changed_at=dt.datetime.now(dt.UTC),
        is_on=True,
    )


async def test_accounts_of_one_tenant_share_its_look_ups_and_leave_another_tenant_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    may_answer = threading.Event()

    def look_up(host: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        asked.append(host)
        may_answer.wait()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    accounts = TenantAccounts(TenantAccountsSettings())
    first, second = new_id(), new_id()
    made = [
        accounts.create(account_of(tenant_id, f"relay-{place}.example.com"))
        for tenant_id in (first, second)
        for place in range(THREADS_OF_ONE_OWNER + 2)
    ]
    checks = []
    for provider in made:
        assert isinstance(provider, SMTPProvider)
        checks.append(asyncio.create_task(provider.check(IN_TIME_S)))
    await wait_until(lambda: len(asked) >= 2 * THREADS_OF_ONE_OWNER)
    # Each tenant has its share, and the rest of its accounts wait for it.
    assert sorted(asked) == sorted(
        f"relay-{place}.example.com" for place in range(THREADS_OF_ONE_OWNER) for _ in range(2)
    )
    may_answer.set()
    for steps in await asyncio.gather(*checks):
        assert steps[0].detail == "the host has no address on the public internet"
    assert len(asked) == 2 * (THREADS_OF_ONE_OWNER + 2)
    for provider in made:
        await provider.close()
