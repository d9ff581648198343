"""The database goes away at the worst moment: nothing is lost, nothing is sent twice unlisted."""

import asyncio
from pathlib import Path

import pytest

from tallypost_core.object_store import FolderStore
from tests.integration.queue.harness import Harness
from tests.integration.worker.link import Link
from tests.integration.worker.loops import FakeProvider, running_loop, until
from tests.support.database import SeededTenant
from tests.support.worker import eventually


# One email goes through some seven commits: claim, load, suppressions, routes, keys, mark, record.
# Whichever is lost, what follows must be the same. A claim that finds nothing may come between,
# so the numbers go beyond the seventh, where there need not be a commit to lose; that there is none
# at the end proves that the last one of the email was among them.
@pytest.mark.parametrize("number", range(1, 13))
async def test_email_is_sent_once_whichever_commit_gets_no_answer(
    queue: Harness, tenant: SeededTenant, tmp_path: Path, number: int
) -> None:
    direct = queue.database.url("tp_deliver")
    provider = FakeProvider()

    async def is_done() -> bool:
        return not await queue.fetch(tenant, "SELECT 1 FROM send_queue")

    async with (
        Link(direct).running() as link,
        running_loop(link.url, provider, FolderStore(tmp_path), beat_url=direct),
    ):
        link.lose_commit(number)
        (email_id,) = await queue.add(tenant)
        await until(is_done)
        assert link.lost_commits == 1 or number > 7
        assert link.lost_commits == 0 or number < 12
    assert await queue.statuses(tenant, email_id) == {"first": "sent", "email": "sent"}
    assert len(provider.handovers) == 1
    assert await queue.attempts(tenant, email_id) == [(1, "accepted", False)]
    assert await queue.events(tenant, email_id) == ["email.sent"]
    assert await queue.billed(tenant, email_id) == 1


async def test_outage_during_handovers_loses_no_result_and_doubles_nothing(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant, tmp_path: Path
) -> None:
    direct = queue.database.url("tp_deliver")
    provider = FakeProvider()
    provider.gate.clear()

    async def is_done() -> bool:
        query = "SELECT 1 FROM send_queue"
        return not [
            row for owner in (tenant, other_tenant) for row in await queue.fetch(owner, query)
        ]

    added = {*await queue.add(tenant, 30), *await queue.add_bulk(other_tenant, 30)}
    async with (
        Link(direct).running() as link,
        running_loop(link.url, provider, FolderStore(tmp_path)),
    ):
        # Some are on the wire, some are assembled, some are claimed.
        await eventually(lambda: len(provider.handovers) >= 5)
        link.cut()
        provider.gate.set()
        await eventually(lambda: link.refused >= 5)
        link.mend()
        await until(is_done)
    assert sorted(email.email_id for email in provider.handovers) == sorted(added)
    for owner in (tenant, other_tenant):
        rows = await queue.fetch(owner, "SELECT outcome, attempt, is_late FROM attempts")
        assert [tuple(row) for row in rows] == [("accepted", 1, False)] * 30
        assert len(await queue.fetch(owner, "SELECT 1 FROM usage_ledger")) == 30


async def test_end_during_an_outage_gives_up_no_mark_half_way(
    queue: Harness, tenant: SeededTenant, tmp_path: Path
) -> None:
    await queue.add(tenant, 3)
    # Before the loop could have all of them.
    (claim,) = await queue.claim(await queue.start_worker(), tenant, quota=1)
    direct = queue.database.url("tp_deliver")
    provider = FakeProvider()
    async with (
        Link(direct).running() as link,
        running_loop(link.url, provider, FolderStore(tmp_path), beat_url=direct) as running,
    ):
        link.cut()
        marking = asyncio.create_task(running.recorder.mark(claim))
        await asyncio.sleep(0)
        running.recorder.stop_marking()
        # Whoever waits for a mark is told at once that nothing leaves any more.
        assert await asyncio.wait_for(marking, 10) is None
        assert await running.recorder.mark(claim) is None
        link.mend()
