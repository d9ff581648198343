"""What provider accounts are called, where only their ids stand."""

from collections.abc import Iterable, Mapping
from typing import Final
from uuid import UUID

from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_core.ids import parse_id
from tallypost_domain.routing.accounts import list_accounts
from tallypost_domain.routing.types import PLATFORM, PLATFORM_PREFIX, AccountView

DELETED: Final = "a deleted account"
THE_PLATFORM: Final = "the platform"


class AccountNames(Struct, frozen=True):
    """The names of a tenant's own accounts, by their ids as text."""

    own: Mapping[str, str]

    def name_of(self, account: str) -> str:
        """Of an account as an attempt has it: of the tenant's own its name, of others itself."""
        found = self.own.get(account)
        if found is not None:
            return found
        return account if parse_id(account) is None else DELETED

    def name_in_route(self, account: str) -> str:
        """Of an account as a route has it."""
        if account == PLATFORM:
            return THE_PLATFORM
        if account.startswith(PLATFORM_PREFIX):
            return f"{THE_PLATFORM}'s {account.removeprefix(PLATFORM_PREFIX)}"
        return self.name_of(account)


def name_accounts(accounts: Iterable[AccountView]) -> AccountNames:
    """The names of these accounts."""
    return AccountNames({str(account.id): account.name for account in accounts})


async def load_names(
    session: AsyncSession, tenant_id: UUID, mentioned: Iterable[str]
) -> AccountNames:
    """The names of the tenant's accounts; nothing is asked where none may be among mentioned."""
    if all(parse_id(account) is None for account in mentioned):
        return AccountNames({})
    return name_accounts(await list_accounts(session, tenant_id))
