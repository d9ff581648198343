"""The metrics of running programs before a judge that nobody here wrote: Prometheus's promtool."""

import asyncio
import shutil
from pathlib import Path

import httpx
import pytest

from tests.integration.tracing.conftest import email_of
from tests.integration.tracing.processes import processes
from tests.support.database import Database, SeededTenant
from tests.support.otlp_sink import OTLPSink
from tests.support.worker import eventually

PROMTOOL = shutil.which("promtool")


@pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not installed: apt-get install prometheus"
)
async def test_promtool_finds_nothing_to_say_about_the_metrics_of_api_and_worker(
    database: Database,
    tenant: SeededTenant,
    redis_url: str,
    tmp_path: Path,
    collector: OTLPSink,
) -> None:
    headers = {"authorization": f"Bearer {tenant.live_key.token}"}
    async with (
        processes(database, tmp_path, redis_url, collector.url) as running,
        httpx.AsyncClient(headers=headers) as client,
    ):
        # A metric with labels shows nothing before its first use.
        answer = await client.post(f"{running.api_url}/emails", json=email_of(tenant))
        assert answer.status_code == 200
        await eventually(lambda: running.received)
        await eventually(lambda: collector.spans("hand over smtp"))
        texts = [
            (await client.get(f"{url}/metrics")).text
            for url in (running.api_url, running.worker_url)
        ]
    assert "tallypost_emails_accepted_total" in texts[0]
    assert "tallypost_handovers_total" in texts[1]
    assert "tallypost_spans_exported_total" in texts[1]
    for text in texts:
        assert await lint(text) == (0, "")


async def lint(text: str) -> tuple[int, str]:
    """Status and words of promtool about metrics."""
    process = await asyncio.create_subprocess_exec(
        str(PROMTOOL),
        "check",
        "metrics",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    words, _ = await process.communicate(text.encode())
    assert process.returncode is not None
    return process.returncode, words.decode()
