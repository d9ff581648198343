"""An email that used up its attempts, and that a person sends again."""

from pathlib import Path

from tallypost_core.object_store import FolderStore
from tallypost_providers.types import Outcome
from tests.integration.queue.harness import Harness
from tests.integration.queue.people import Person
from tests.integration.worker.loops import QUICK, FakeProvider, running_loop, says, until
from tests.support.database import SeededTenant


async def test_requeued_dead_letters_are_delivered_once_and_nobody_elses(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant, tmp_path: Path
) -> None:
    attempts = len(QUICK.schedule_s) + 1
    added = await queue.add(tenant, 3, to=["a@r.test", "b@r.test"])
    (others,) = await queue.add(other_tenant)
    emails = len(added) + 1
    provider = FakeProvider(
        *[says(Outcome.UNAVAILABLE)] * (emails * attempts), says(Outcome.ACCEPTED)
    )
    person = Person(queue, tenant)

    async def is_idle() -> bool:
        query = "SELECT 1 FROM send_queue"
        return not [row for who in (tenant, other_tenant) for row in await queue.fetch(who, query)]

    url = queue.database.url("tp_deliver")
    async with running_loop(url, provider, FolderStore(tmp_path)):
        await until(is_idle)
        assert len(provider.handovers) == emails * attempts
        assert (await person.requeue_all()).emails == len(added)
        await until(is_idle)
    again = provider.handovers[emails * attempts :]
    assert sorted(email.email_id for email in again) == sorted(added)
    for email_id in added:
        assert (await queue.statuses(tenant, email_id))["email"] == "sent"
        assert await queue.billed(tenant, email_id) == 2
    assert (await queue.statuses(other_tenant, others))["email"] == "failed"
    assert (await person.dead()).items == ()
