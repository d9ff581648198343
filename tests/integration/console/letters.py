"""Puts dead letters into a tenant, and lets a person requeue all that match."""

import html
import re
from uuid import UUID

import httpx

from tests.integration.console.reading import hidden_fields
from tests.integration.console.running import Browser
from tests.integration.queue.harness import Harness
from tests.integration.queue.people import let_fail
from tests.support.database import SeededTenant

LIST = "/queue/dead-letters"
REQUEUE = f"{LIST}/requeue"
MATCHING = f"{LIST}/requeue-matching"


async def bury(
    queue: Harness, tenant: SeededTenant, count: int = 1, *, lane: str = "transactional", to: str
) -> list[UUID]:
    """Let emails to one address each be given up; returns their ids."""
    add = queue.add_bulk if lane == "bulk" else queue.add
    ids = await add(tenant, count, to=[to], subject=f"To {to}")
    await let_fail(queue, tenant, lane=lane)
    return [*ids]


def matching(page: httpx.Response) -> httpx.URL:
    """Where the form leads that requeues all that match, or goes on with it."""
    return httpx.URL(html.unescape(_action(page)))


async def press(browser: Browser, page: httpx.Response, **changed: str) -> httpx.Response:
    """Press the button of that form; changed stands otherwise in its address."""
    address = matching(page).copy_merge_params(changed)
    return await browser.submit(str(address), **hidden_fields(page, _action(page)))


def _action(page: httpx.Response) -> str:
    (action,) = re.findall(f' action="({MATCHING}[^"]*)"', page.text)
    return str(action)
