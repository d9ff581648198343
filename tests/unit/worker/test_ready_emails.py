"""Whose turn is next: transactional first, bulk never stopped and never everywhere."""

import asyncio
import datetime as dt

from tallypost_core.ids import new_id
from tallypost_domain.emails.lifecycle import RecipientStatus
from tallypost_domain.emails.types import Lane
from tallypost_domain.queue.loading import LoadedEmail
from tallypost_domain.queue.types import Claim
from tallypost_worker.ready_emails import ReadyEmails


def email(lane: str) -> LoadedEmail:
    return LoadedEmail(
        claim=Claim(new_id(), new_id(), lane, fence=1, attempt=0),
        mode="live",
        domain_id=new_id(),
        from_header="hello@example.com",
        from_address="hello@example.com",
        to=("a@recipient.test",),
        cc=(),
        reply_to=(),
        subject="Sample",
        headers={},
        tags=(),
        size_bytes=0,
        content=None,
        created_at=dt.datetime.now(dt.UTC),
        recipients=(),
        on_unconfirmed="resend",
        status=RecipientStatus.QUEUED,
        statuses={},
        hold_reason=None,
    )


async def take_lanes(ready: ReadyEmails, count: int) -> list[str]:
    lanes = []
    for _ in range(count):
        taken = await ready.take()
        lanes.append(taken.claim.lane)
        ready.done(taken)
    return lanes


async def test_transactional_mail_goes_first_and_one_of_five_is_bulk() -> None:
    ready = ReadyEmails(concurrency=10)
    for _ in range(20):
        ready.put(email("bulk"))
    for _ in range(20):
        ready.put(email("transactional"))
    # Until the time is used up that bulk mail stands aside.
    assert await take_lanes(ready, 5) == ["transactional"] * 5
    await ready.right_of_way.wait_until_open(Lane.BULK)
    # The turn that came meanwhile was kept for it.
    lanes = await take_lanes(ready, 20)
    assert lanes == (["bulk"] + ["transactional"] * 4) * 3 + [
        "bulk",
        *["transactional"] * 3,
        "bulk",
    ]


async def test_bulk_mail_never_has_every_delivery() -> None:
    ready = ReadyEmails(concurrency=5)
    for _ in range(6):
        ready.put(email("bulk"))
    taken = [await ready.take() for _ in range(4)]
    waiting = asyncio.create_task(ready.take())
    await asyncio.sleep(0)
    assert not waiting.done()
    urgent = email("transactional")
    ready.put(urgent)
    assert await waiting is urgent
    waiting = asyncio.create_task(ready.take())
    await asyncio.sleep(0)
    assert not waiting.done()
    ready.done(taken[0])
    assert (await waiting).claim.lane == "bulk"


async def test_single_delivery_takes_bulk_too() -> None:
    ready = ReadyEmails(concurrency=1)
    ready.put(email("bulk"))
    assert (await ready.take()).claim.lane == "bulk"


async def test_every_email_is_taken_once_by_many_takers() -> None:
    ready = ReadyEmails(concurrency=7)
    seen: list[LoadedEmail] = []

    async def work() -> None:
        while True:
            taken = await ready.take()
            await asyncio.sleep(0)
            seen.append(taken)
            ready.done(taken)

    workers = [asyncio.create_task(work()) for _ in range(7)]
    sent = [email("bulk" if number % 3 else "transactional") for number in range(200)]
    for number, item in enumerate(sent):
        ready.put(item)
        if number % 10 == 0:
            await asyncio.sleep(0)
    async with asyncio.timeout(10):
        while len(seen) < len(sent):  # noqa: ASYNC110 - the takers tell nobody
            await asyncio.sleep(0)
        await ready.wait_until_done()
    assert {item.claim.email_id for item in seen} == {item.claim.email_id for item in sent}
    for worker in workers:
        worker.cancel()


async def test_what_nobody_took_can_be_taken_off_while_the_rest_is_finished() -> None:
    ready = ReadyEmails(concurrency=2)
    first, second = email("transactional"), email("bulk")
    ready.put(first)
    ready.put(second)
    assert await ready.take() is first
    assert ready.remove_waiting() == [second]
    waiting = asyncio.create_task(ready.wait_until_done())
    await asyncio.sleep(0)
    assert not waiting.done()
    ready.done(first)
    await waiting
