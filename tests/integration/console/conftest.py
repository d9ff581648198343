"""A console on a test's database, and people who may use it."""

from collections.abc import AsyncIterator

import pytest

from tallypost_domain.people.permissions import Role
from tests.integration.console.running import Browser, open_browser, run_console
from tests.integration.people.samples import PASSWORD, add_member, add_person
from tests.support.database import Database, SeededTenant

OWNER = "owner@example.com"
OTHER_OWNER = "owner@example.org"
BILLING = "billing@example.com"
OPERATOR = "operator@example.net"
NOBODY = "nobody@example.net"
"""Somebody who is a member of no tenant."""


@pytest.fixture
async def people(database: Database, tenant: SeededTenant, other_tenant: SeededTenant) -> None:
    """Everybody above, all with one password."""
    async with database.sessions("tp_cli") as cli:
        await add_member(cli, tenant.id, OWNER, Role.OWNER)
        await add_member(cli, tenant.id, BILLING, Role.BILLING)
        await add_member(cli, other_tenant.id, OTHER_OWNER, Role.OWNER)
        await add_person(cli, OPERATOR, name="Sample Operator", is_operator=True)
        await add_person(cli, NOBODY)


@pytest.fixture
async def console_url(database: Database, people: None) -> AsyncIterator[str]:
    """The address of a running console."""
    async with run_console(database.url("tp_console")) as url:
        yield url


@pytest.fixture
async def browser(console_url: str) -> AsyncIterator[Browser]:
    """A browser in which nobody is signed in."""
    async with open_browser(console_url) as opened:
        yield opened


@pytest.fixture
async def owner(browser: Browser) -> Browser:
    """The browser of the first tenant's owner."""
    await browser.sign_in(OWNER, PASSWORD)
    return browser


@pytest.fixture
async def other_owner(console_url: str) -> AsyncIterator[Browser]:
    """The browser of the second tenant's owner."""
    async with open_browser(console_url) as opened:
        await opened.sign_in(OTHER_OWNER, PASSWORD)
        yield opened


@pytest.fixture
async def operator(console_url: str) -> AsyncIterator[Browser]:
    """The browser of an operator, with no tenant open."""
    async with open_browser(console_url) as opened:
        await opened.sign_in(OPERATOR, PASSWORD)
        yield opened
