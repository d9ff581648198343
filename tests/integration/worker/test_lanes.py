"""Bulk mail and other mail share a worker, and neither shuts the other out."""

from pathlib import Path

import pytest

from tallypost_core.object_store import FolderStore
from tests.integration.queue.harness import Harness
from tests.integration.worker.loops import FakeProvider, running_loop
from tests.support.database import SeededTenant
from tests.support.worker import eventually


@pytest.mark.parametrize("concurrency", [2, 5])
async def test_single_email_is_claimed_at_once_while_bulk_mail_blocks_the_worker(
    queue: Harness,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
    tmp_path: Path,
    concurrency: int,
) -> None:
    await queue.add_bulk(tenant, 30)
    provider = FakeProvider()
    # Nothing that was handed over ends, so no place becomes free.
    provider.gate.clear()
    url = queue.database.url("tp_deliver")
    async with running_loop(url, provider, FolderStore(tmp_path), concurrency=concurrency):
        most_bulk = max(1, int(concurrency * 0.8))
        await eventually(lambda: len(provider.handovers) == most_bulk)
        (email_id,) = await queue.add(other_tenant)
        await eventually(lambda: email_id in {email.email_id for email in provider.handovers})
        assert len(provider.handovers) == most_bulk + 1
        provider.gate.set()
