"""No word of an email leaves by a trace, a log line or an error: each is marked, and looked for."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tallypost_cli.ports import find_free_port
from tallypost_simulators.smtp_faults import Fault
from tests.integration.api.test_process import environment as api_environment
from tests.integration.tracing.processes import processes
from tests.support.database import Database, SeededTenant
from tests.support.otlp_sink import OTLPSink
from tests.support.worker import eventually

MARK = "xq7canary"
"""In every word that belongs to somebody; nothing else has it."""


def marked(tenant: SeededTenant, number: int) -> dict[str, object]:
    """An email whose every word is marked."""
    return {
        "from": f"{MARK}-sender <{MARK}.from@{tenant.domain}>",
        "to": [f"{MARK}-to <{MARK}.to{number}@{MARK}.example.net>"],
        "cc": [f"{MARK}.cc@example.net"],
        "bcc": [f"{MARK}.bcc@example.net"],
        "reply_to": f"{MARK}.reply@example.net",
        "subject": f"{MARK} subject",
        "html": f"<p>{MARK} html</p>",
        "text": f"{MARK} text",
        "headers": {"X-Sample": f"{MARK}-header"},
        "tags": [{"name": f"{MARK}_tag", "value": f"{MARK}_value"}],
        "attachments": [{"filename": f"{MARK}.bin", "content": "QUFB" * 100_000}],
    }


def refused(tenant: SeededTenant) -> Iterator[tuple[str, object]]:
    """Marked requests that are not taken, each for another reason, by path."""
    good = marked(tenant, 0)
    for broken in (
        {"from": f"{MARK}.from@elsewhere.test"},
        {"to": [f"{MARK}.to@@"]},
        {"to": 7},
        {"subject": f"{MARK}\r\nBcc: {MARK}@example.net"},
        {"headers": {f"Bcc-{MARK}:": MARK}},
        {"scheduled_at": f"{MARK} o'clock"},
        {"attachments": [{"filename": f"{MARK}.bin", "content": f"{MARK}: no base64!"}]},
        {"html": None, "text": None, "template": {"id": MARK}},
    ):
        yield "/emails", good | broken
        yield "/emails/batch", [good | broken]
    yield f"/{MARK}", good
    yield f"/emails/{MARK}/cancel", good


async def test_no_marked_word_is_in_a_span_a_log_line_or_an_error(
    database: Database,
    tenant: SeededTenant,
    redis_url: str,
    tmp_path: Path,
    collector: OTLPSink,
) -> None:
    replies = [
        Fault(phase="final", reply=f"451 4.3.0 {MARK} later", times=1),
        Fault(phase="rcpt", reply=f"550 5.1.1 <{MARK}.to2> {MARK} unknown", times=3, pattern="to2"),
    ]
    headers = {"authorization": f"Bearer {tenant.live_key.token}", "user-agent": MARK}
    async with processes(database, tmp_path, redis_url, collector.url) as running:
        running.faults.active = replies
        async with httpx.AsyncClient(base_url=running.api_url, headers=headers) as client:
            errors = [await client.post(path, json=body) for path, body in refused(tenant)]
            headers["authorization"] = f"Bearer {tenant.live_key.token[:-1]}{MARK}"
            errors.append(await client.get(f"/emails?limit={MARK}", headers=headers))
            errors.append(await client.get(f"/emails?limit={MARK}"))
            for number in (1, 2):
                answer = await client.post(
                    "/emails",
                    json=marked(tenant, number),
                    headers={"idempotency-key": MARK * number},
                )
                assert answer.status_code == 200, answer.text
        await eventually(lambda: len(running.received) >= 2, within_s=60)
        await eventually(lambda: len(collector.spans("hand over smtp")) >= 3, within_s=60)
    assert MARK in str(running.received), "the mark did not even reach the mail server"
    assert [answer.request.url.path + answer.text for answer in errors if answer.is_success] == []
    assert [answer.text for answer in errors if MARK in answer.text] == []
    logs = running.logs()
    assert "server.listening" in logs
    for secret in (MARK, tenant.live_key.token, "@example"):
        assert [line for line in logs.splitlines() if secret in line] == []
        assert not any(secret.encode() in body for body in collector.bodies)
    # In a message of Protocol Buffers text stands as it is, so this would have found it.
    assert any(str(tenant.id).encode() in body for body in collector.bodies)


@pytest.mark.parametrize("endpoint", ["nonsense", "ftp://collector.test", "http://a:b@c.test"])
async def test_an_address_that_cannot_be_used_stops_the_start(
    database: Database, tmp_path: Path, endpoint: str
) -> None:
    variables = api_environment(database, tmp_path / "objects", find_free_port())
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tallypost_api",
        env=variables | {"TALLYPOST_TRACING_ENDPOINT": endpoint},
        stderr=asyncio.subprocess.PIPE,
    )
    _, err = await process.communicate()
    assert process.returncode == 1
    assert b"TALLYPOST_TRACING_ENDPOINT" in err
