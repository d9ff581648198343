"""The SendGrid simulator judged by SendGrid's own Node library."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tallypost_simulators.sendgrid_account import API_KEY
from tallypost_simulators.sendgrid_server import SendGridSimulator
from tests.support.node import require_node_package

PACKAGE = "@sendgrid/mail@8.1.6"
SCRIPT = Path(__file__).with_name("call_sendgrid.cjs")
MAIL: dict[str, Any] = {
    "to": "Ada <ada@example.net>",
    "from": "Sample Sender <hello@news.example.com>",
    "subject": "Sample",
    "text": "plain",
    "html": "<p>html",
    "customArgs": {"our": "1"},
}


@pytest.fixture
async def simulator() -> AsyncIterator[SendGridSimulator]:
    """A simulator that sends from the sample's domain."""
    async with SendGridSimulator() as running:
        running.domains.add_verified("news.example.com")
        yield running


async def send(
    simulator: SendGridSimulator, *mails: dict[str, Any], key: str = API_KEY
) -> list[dict[str, Any]]:
    """What came of each mail."""
    folder = await asyncio.to_thread(require_node_package, PACKAGE)
    process = await asyncio.create_subprocess_exec(
        "node",
        str(SCRIPT),
        str(folder),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    told = json.dumps({"url": simulator.url, "key": key, "mails": mails}).encode()
    output, _ = await process.communicate(told)
    assert process.returncode == 0
    results: list[dict[str, Any]] = json.loads(output)
    return results


async def test_mail_of_the_library_is_queued_with_all_that_it_has(
    simulator: SendGridSimulator,
) -> None:
    attachment = {"content": "YWJj", "filename": "a.txt", "type": "text/plain"}
    (result,) = await send(simulator, {**MAIL, "attachments": [attachment]})
    (taken,) = simulator.messages
    assert result == {"status": 202, "id": taken.message_id}
    assert (taken.recipients, taken.custom_args) == (("ada@example.net",), {"our": "1"})
    assert b'filename="a.txt"' in taken.message


async def test_refusals_are_the_librarys_own_errors(simulator: SendGridSimulator) -> None:
    wrong, unverified = await send(
        simulator, {**MAIL, "to": "nobody"}, {**MAIL, "from": "a@example.org"}
    )
    assert (wrong["status"], wrong["errors"][0]["field"]) == (400, "personalizations.0.to.0.email")
    assert (unverified["status"], unverified["errors"][0]["field"]) == (403, "from")
    (revoked,) = await send(simulator, MAIL, key="SG.another.key")
    assert revoked["status"] == 401
    assert simulator.messages == []
