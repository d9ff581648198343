"""Dead letters are listed for as long as they are dead, to their own tenant, in bounds."""

import datetime as dt
from uuid import UUID

import pytest

from tallypost_domain.emails.lifecycle import RecipientEvent
from tallypost_domain.queue import dead_letters
from tallypost_domain.queue.dead_letters import DeadLetterFilter
from tallypost_domain.queue.types import RecipientChange, Settlement
from tests.integration.queue.harness import Harness
from tests.integration.queue.people import Person, interrupt, let_fail
from tests.support.database import SeededTenant


async def give_up(queue: Harness, tenant: SeededTenant, reason: str) -> None:
    """End everything that is due as an email that cannot be built."""
    worker = await queue.start_worker()
    for email in await queue.load(*await queue.claim(worker, tenant)):
        changes = tuple(
            RecipientChange(
                recipient_id=to.id,
                event=RecipientEvent.GAVE_UP,
                detail=reason,
                data={"reason": reason},
            )
            for to in email.recipients
        )
        await queue.record(
            worker,
            Settlement(claim=email.claim, worker_id=worker, attempt=None, changes=changes),
        )


async def test_used_up_attempts_make_a_dead_letter_that_says_why(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add(tenant, to=["a@r.test", "b@else.test"], subject="Hello")
    await let_fail(queue, tenant, b="accepted")
    (letter,) = (await Person(queue, tenant).dead()).items
    assert (letter.email_id, letter.address, letter.subject) == (email_id, "a@r.test", "Hello")
    assert (letter.cause, letter.detail) == ("attempts_exhausted", "words of the peer")
    assert (letter.attempts, letter.may_have_arrived) == (3, False)
    assert letter.stream == "transactional"
    assert letter.accepted_at < letter.failed_at
    assert (await Person(queue, other_tenant).dead()).items == ()
    assert (await Person(queue, tenant, "test").dead()).items == ()


async def test_email_that_cannot_be_built_is_a_dead_letter_that_no_provider_saw(
    queue: Harness, tenant: SeededTenant
) -> None:
    await queue.add(tenant)
    await give_up(queue, tenant, "email_not_buildable")
    (letter,) = (await Person(queue, tenant).dead()).items
    assert (letter.cause, letter.detail) == ("email_not_buildable", "email_not_buildable")
    assert (letter.attempts, letter.may_have_arrived) == (0, False)


async def test_pages_show_each_dead_letter_once_the_newest_first(
    queue: Harness, tenant: SeededTenant
) -> None:
    person = Person(queue, tenant)
    for _ in range(3):
        await queue.add(tenant, to=["a@r.test", "b@r.test"])
        await let_fail(queue, tenant)
    seen: list[UUID] = []
    after = None
    while True:
        page = await person.dead(limit=4, after=after)
        seen += [letter.id for letter in page.items]
        if not page.has_more:
            break
        after = page.items[-1].id
    assert len(set(seen)) == 6
    assert seen == sorted(seen, reverse=True)


async def test_filter_narrows_list_and_count_alike(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    await queue.add(tenant, to=["a@r.test", "b@else.test"])
    await queue.add_bulk(tenant, to=["c@r.test"])
    (theirs,) = await queue.add(other_tenant, to=["d@r.test"])
    await let_fail(queue, tenant, other_tenant)
    await let_fail(queue, tenant, lane="bulk")
    await queue.add(tenant, to=["e@r.test"])
    await give_up(queue, tenant, "signing_key_invalid")
    person = Person(queue, tenant)
    letters = {letter.address[0]: letter for letter in (await person.dead()).items}
    assert sorted(letters) == ["a", "b", "c", "e"]
    moment = letters["e"].failed_at - dt.timedelta(milliseconds=1)
    for wanted, expected in (
        (DeadLetterFilter(), "abce"),
        (DeadLetterFilter(cause="attempts_exhausted"), "abc"),
        (DeadLetterFilter(stream="bulk"), "c"),
        (DeadLetterFilter(recipient_domain="r.test"), "ace"),
        (DeadLetterFilter(recipient_domain="r.test", stream="transactional"), "ae"),
        (DeadLetterFilter(failed_from=moment - dt.timedelta(days=1)), "abce"),
        (DeadLetterFilter(failed_before=moment - dt.timedelta(days=1)), ""),
        (DeadLetterFilter(cause="nothing"), ""),
        (DeadLetterFilter(email_id=letters["a"].email_id), "ab"),
        (DeadLetterFilter(email_id=theirs), ""),
    ):
        found = [letter.address[0] for letter in (await person.dead(wanted)).items]
        assert sorted(found) == list(expected), wanted
        counted = await person.count(wanted)
        assert (counted.count, counted.is_complete) == (len(expected), True)
    assert await person.causes() == ("attempts_exhausted", "signing_key_invalid")
    assert await Person(queue, other_tenant).causes() == ("attempts_exhausted",)


async def test_count_stops_at_its_limit_and_says_so(
    queue: Harness, tenant: SeededTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "COUNT_LIMIT", 2)
    await queue.add(tenant, 3)
    await let_fail(queue, tenant)
    counted = await Person(queue, tenant).count()
    assert (counted.count, counted.is_complete) == (2, False)
    assert counted.newest == (await Person(queue, tenant).dead()).items[0].id


async def test_every_failed_recipient_has_a_row_and_no_other_has(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    for owner in (tenant, other_tenant):
        await queue.add(owner, 3, to=["a@r.test", "b@r.test", "c@r.test", "d@r.test"])
    await let_fail(queue, tenant, other_tenant, a="accepted", b="rejected", c="ambiguous")
    for owner in (tenant, other_tenant):
        failed = await queue.fetch(owner, "SELECT id FROM recipients WHERE status = 'failed'")
        dead = await queue.fetch(owner, "SELECT recipient_id AS id FROM dead_letters")
        assert sorted(row["id"] for row in dead) == sorted(row["id"] for row in failed)
        assert len(dead) == 3


async def test_what_fails_while_it_is_counted_is_not_taken_for_counted(
    queue: Harness, tenant: SeededTenant
) -> None:
    await queue.add(tenant)
    await let_fail(queue, tenant)
    await queue.add(tenant)

    async def let_another_fail() -> None:
        await let_fail(queue, tenant)

    async with queue.database.session("tp_console", tenant.id) as session:
        interrupt(session, let_another_fail)
        counted = await dead_letters.count_dead_letters(session, tenant.id, "live")
    assert counted.newest is not None
    done = await Person(queue, tenant).requeue_matching(counted.newest)
    assert (counted.count, done.recipients) == (1, 1)
