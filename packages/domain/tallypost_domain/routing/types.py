"""Accounts and routes as other parts see them."""

import datetime as dt
from collections.abc import Mapping
from typing import Final, Literal
from uuid import UUID

from msgspec import Struct

PLATFORM: Final = "platform"
"""In a route: all of the platform's accounts, in its own order."""

PLATFORM_PREFIX: Final = "platform:"
"""In a route, with the name of one of the platform's accounts behind it: that one."""

RouteLane = Literal["transactional", "bulk"]
StandingStatus = Literal["unknown", "verified", "unverified"]
StepState = Literal["good", "warning", "failed", "not_tried"]


class AccountStep(Struct, frozen=True):
    """What one step of a check found."""

    name: str
    state: StepState
    detail: str
    """The peer's own words where there are some."""


class AccountView(Struct, frozen=True, kw_only=True):
    """A tenant's account as people and programs see it: without what is secret."""

    id: UUID
    name: str
    provider: str
    settings: Mapping[str, object]
    secret_names: tuple[str, ...]
    """Settings that are secret and set."""
    is_on: bool
    created_at: dt.datetime
    changed_at: dt.datetime
    is_being_checked: bool
    checked_at: dt.datetime | None
    check_steps: tuple[AccountStep, ...]


class OpenedAccount(Struct, frozen=True, kw_only=True):
    """A tenant's account with its secrets in the clear. Lives in memory only."""

    id: UUID
    tenant_id: UUID
    provider: str
    settings: Mapping[str, object]
    secrets: Mapping[str, str]
    changed_at: dt.datetime
    is_on: bool

    def __repr__(self) -> str:
        return f"OpenedAccount(id={self.id}, provider={self.provider!r})"


class NewRoute(Struct, frozen=True, kw_only=True):
    """Which mail goes to which accounts; what is None is not looked at."""

    accounts: tuple[str, ...]
    """Best first: ids of the tenant's accounts, `platform`, or `platform:` and a name."""
    domain_id: UUID | None = None
    lane: RouteLane | None = None
    tag_name: str | None = None
    tag_value: str | None = None
    """With tag_name: of that value only."""
    share: float = 1.0
    """Above 0 and up to 1: of the mail that fits, so much; the rest goes on to the next route."""

    def with_id(self, route_id: UUID) -> "RouteView":
        """The same as the route with this id."""
        return RouteView(
            id=route_id,
            accounts=self.accounts,
            domain_id=self.domain_id,
            lane=self.lane,
            tag_name=self.tag_name,
            tag_value=self.tag_value,
            share=self.share,
        )


class RouteView(NewRoute, frozen=True, kw_only=True):
    """A route at its place: the first one that fits an email counts."""

    id: UUID


class DomainRecord(Struct, frozen=True, kw_only=True):
    """A DNS record that a provider wants to see."""

    type: str
    name: str
    value: str
    is_found: bool


class StandingView(Struct, frozen=True, kw_only=True):
    """Where a sending domain stands at an account."""

    domain_id: UUID
    domain: str
    account: str
    """The id of a tenant's account, or the name of one of the platform's."""
    status: StandingStatus
    records: tuple[DomainRecord, ...]
    detail: str
    """What is missing, in the provider's words; or why it did not say, in ours."""
    checked_at: dt.datetime | None
    """None where it has not been asked yet."""
