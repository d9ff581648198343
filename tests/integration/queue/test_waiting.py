"""What waits is shown by state, to its own tenant, page by page."""

from uuid import UUID

import pytest

from tallypost_domain.queue import waiting
from tallypost_domain.queue.waiting import QueueCounts
from tests.integration.queue.harness import Harness
from tests.integration.queue.people import Person, interrupt
from tests.support.database import SeededTenant


async def test_each_state_is_listed_and_counted(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    for owner in (tenant, other_tenant):
        await queue.add(owner, 3, to=["a@r.test", "b@r.test"], subject="Hello")
    worker = await queue.start_worker()
    claims = await queue.claim(worker, tenant, quota=2)
    (marked,) = await queue.mark(worker, claims[0])
    (parked,) = await queue.add_bulk(tenant)
    (bulk,) = await queue.hand_over(worker, tenant, lane="bulk")
    await queue.record(worker, await queue.settle(worker, bulk, "ambiguous"))
    person = Person(queue, tenant)
    assert await person.count_waiting() == QueueCounts(
        waiting=1, claimed=1, handing_over=1, held=0, ambiguous=1
    )
    for state, expected in (
        ("handing_over", [marked.email_id]),
        ("claimed", [claims[1].email_id]),
        ("ambiguous", [parked]),
        ("held", []),
    ):
        page = await person.see(state)  # type: ignore[arg-type]  # A word of the type.
        assert [item.email_id for item in page.items] == expected, state
        assert page.after is None
    everything = (await person.see()).items
    assert len(everything) == 4
    first = next(item for item in everything if item.email_id == marked.email_id)
    assert (first.subject, first.first_recipient, first.recipient_count) == (
        "Hello",
        "a@r.test",
        2,
    )
    assert (first.attempt, first.status, first.stream) == (1, "queued", "transactional")
    assert (await Person(queue, other_tenant).count_waiting()).waiting == 3


@pytest.mark.parametrize("look", [2_000, 4, 2])
async def test_pages_show_each_email_of_the_mode_once_however_far_they_look(
    queue: Harness, tenant: SeededTenant, monkeypatch: pytest.MonkeyPatch, look: int
) -> None:
    monkeypatch.setattr(waiting, "_LOOK", look)
    added: list[UUID] = []
    for mode, count in (("live", 3), ("test", 5), ("live", 2)):
        ids = await queue.add(tenant, count, mode=mode)
        added += ids if mode == "live" else ()
    person = Person(queue, tenant)
    seen: list[UUID] = []
    page = await person.see("waiting", limit=2)
    while True:
        seen += [item.email_id for item in page.items]
        if page.after is None:
            break
        page = await person.see("waiting", limit=2, after=page.after)
    assert seen == added
    assert (await person.count_waiting()).waiting == 5


async def test_page_leads_to_every_email_though_others_leave_while_it_is_made(
    queue: Harness, tenant: SeededTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "_LOOK", 2)
    await queue.add(tenant, 2, mode="test")
    added = await queue.add(tenant, 3)
    worker = await queue.start_worker()

    async def send_two() -> None:
        for claim in await queue.mark(worker, *await queue.claim(worker, tenant, quota=2)):
            await queue.record(worker, await queue.settle(worker, claim, "accepted"))

    async with queue.database.session("tp_console", tenant.id) as session:
        interrupt(session, send_two)
        page = await waiting.list_queue(session, tenant.id, "live", limit=2)
    assert page.items == ()
    following = await Person(queue, tenant).see(limit=2, after=page.after)
    assert [item.email_id for item in following.items] == [*added[:2]]
