"""A console on a test's database, and people who may use it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from tallypost_domain.people import passwords
from tallypost_domain.people.permissions import Role
from tests.integration.console.running import Browser, open_browser, run_console
from tests.integration.people.samples import PASSWORD, add_member, add_person
from tests.integration.queue import reuse
from tests.integration.queue.harness import Harness, open_harness
from tests.support.database import Database, SeededTenant

OWNER = "owner@example.com"
OTHER_OWNER = "owner@example.org"
BILLING = "billing@example.com"
VIEWER = "viewer@example.com"
OPERATOR = "operator@example.net"
NOBODY = "nobody@example.net"
"""Somebody who is a member of no tenant."""

# Nearly every test here signs in, and a real hash takes 40 ms; the tests of people have those.
_CHEAP_HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)

reused_database = reuse.reused_database
database = reuse.database


@pytest.fixture
async def people(
    database: Database,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Everybody above but the viewer, all with one password."""
    monkeypatch.setattr(passwords, "_HASHER", _CHEAP_HASHER)
    async with database.sessions("tp_cli") as cli:
        await add_member(cli, tenant.id, OWNER, Role.OWNER)
        await add_member(cli, tenant.id, BILLING, Role.BILLING)
        await add_member(cli, other_tenant.id, OTHER_OWNER, Role.OWNER)
        await add_person(cli, OPERATOR, name="Sample Operator", is_operator=True)
        await add_person(cli, NOBODY)


@pytest.fixture
async def console_url(database: Database, people: None, tmp_path: Path) -> AsyncIterator[str]:
    """The address of a running console, whose large attachments are in tmp_path."""
    async with run_console(database.url("tp_console"), objects=tmp_path) as url:
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


@pytest.fixture
async def viewer(
    database: Database, console_url: str, tenant: SeededTenant
) -> AsyncIterator[Browser]:
    """The browser of a member of the first tenant who may look and not touch."""
    async with database.sessions("tp_cli") as cli:
        await add_member(cli, tenant.id, VIEWER, Role.VIEWER)
    async with open_browser(console_url) as opened:
        await opened.sign_in(VIEWER, PASSWORD)
        yield opened


@pytest.fixture
async def queue(database: Database, tmp_path: Path) -> AsyncIterator[Harness]:
    """The queue behind the console, and workers that the test moves."""
    async with open_harness(database, tmp_path) as harness:
        yield harness
