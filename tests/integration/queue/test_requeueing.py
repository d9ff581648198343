"""What a person sends again leaves once more, whoever else decides at the same time."""

import asyncio
from uuid import UUID

import pytest

from tallypost_core.ids import new_id
from tallypost_domain.emails.statements import QUEUE_CHANNEL
from tallypost_domain.queue.dead_letters import DeadLetterFilter
from tallypost_domain.queue.releases import release_held
from tallypost_domain.queue.requeueing import MAX_STEP, SkipReason
from tallypost_domain.suppressions.service import suppress
from tallypost_worker.settlements import unsent
from tests.integration.queue.harness import Harness
from tests.integration.queue.people import SOMEBODY, Person, let_fail
from tests.support.database import PEPPERS, SeededTenant


async def _as_operator(queue: Harness, tenant: SeededTenant, statement: str) -> None:
    async with queue.database.connect("tp_cli") as connection, connection.transaction():
        await connection.execute("SELECT set_config('app.tenant_id', $1, true)", str(tenant.id))
        await connection.execute(statement)


async def _audited(queue: Harness, tenant: SeededTenant) -> list[tuple[str, object]]:
    rows = await queue.fetch(tenant, "SELECT * FROM audit_log ORDER BY sequence")
    return [(row["action"], row["actor_id"]) for row in rows]


async def _send(queue: Harness, tenant: SeededTenant, *, lane: str = "transactional") -> int:
    """Hand over everything due with success; returns how many emails that were."""
    worker = await queue.start_worker()
    claims = await queue.hand_over(worker, tenant, lane=lane)
    for claim in claims:
        await queue.record(worker, await queue.settle(worker, claim, "accepted"))
    return len(claims)


async def test_requeued_email_is_sent_once_to_those_who_failed(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add(tenant, to=["a@r.test", "b@r.test", "c@r.test"])
    await queue.add(other_tenant)
    await let_fail(queue, tenant, other_tenant, b="accepted")
    others = await queue.snapshot(other_tenant)
    done = await Person(queue, tenant).requeue_all()
    assert (done.emails, done.recipients, done.skipped, done.next) == (1, 2, {}, None)
    assert await queue.statuses(tenant, email_id) == {
        "a": "queued",
        "b": "sent",
        "c": "queued",
        "email": "queued",
    }
    row = await queue.find_row(tenant, email_id)
    assert row is not None
    assert (row["state"], row["attempt"], row["worker_id"]) == ("waiting", 0, None)
    assert (await queue.events(tenant, email_id))[-2:] == ["email.requeued"] * 2
    assert await _audited(queue, tenant) == [("dead_letters.requeued", SOMEBODY.id)]
    assert (await Person(queue, tenant).dead()).items == ()
    assert await _send(queue, tenant) == 1
    assert await queue.billed(tenant, email_id) == 3
    assert (await queue.attempts(tenant, email_id))[-1] == (1, "accepted", False)
    assert await queue.state(tenant, email_id) is None
    assert await queue.snapshot(other_tenant) == others


async def test_requeueing_twice_changes_nothing_the_second_time(
    queue: Harness, tenant: SeededTenant
) -> None:
    await queue.add(tenant, 2)
    await let_fail(queue, tenant)
    person = Person(queue, tenant)
    ids = [letter.id for letter in (await person.dead()).items]
    await person.requeue(ids)
    before = (await queue.snapshot(tenant), await _audited(queue, tenant))
    again = await person.requeue(ids)
    assert (again.emails, again.skipped) == (0, {SkipReason.CHANGED_SINCE: 2})
    assert (await queue.snapshot(tenant), await _audited(queue, tenant)) == before


async def test_two_people_at_once_requeue_each_dead_letter_once(
    queue: Harness, tenant: SeededTenant
) -> None:
    added = await queue.add(tenant, 20, to=["a@r.test", "b@r.test"])
    await let_fail(queue, tenant)
    person = Person(queue, tenant)
    counted = await person.count()
    ids = [letter.id for letter in (await person.dead()).items]
    assert counted.newest is not None
    done = await asyncio.gather(
        person.requeue(ids), person.requeue_matching(counted.newest), person.requeue(ids[10:])
    )
    assert sum(step.recipients for step in done) == 40
    for email_id in added:
        assert (await queue.events(tenant, email_id)).count("email.requeued") == 2
    assert await _send(queue, tenant) == 20


async def test_one_that_fails_again_is_a_dead_letter_again(
    queue: Harness, tenant: SeededTenant
) -> None:
    await queue.add(tenant)
    await let_fail(queue, tenant)
    person = Person(queue, tenant)
    (first,) = (await person.dead()).items
    await person.requeue_all()
    await let_fail(queue, tenant)
    (second,) = (await person.dead()).items
    assert (second.email_id, second.attempts) == (first.email_id, 6)
    assert second.id > first.id
    assert (await person.requeue_all()).recipients == 1


async def test_anothers_dead_letter_and_one_of_the_other_mode_are_unknown(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    for owner in (tenant, other_tenant):
        await queue.add(owner)
    await let_fail(queue, tenant, other_tenant)
    ids = [letter.id for letter in (await Person(queue, tenant).dead()).items]
    before = await queue.snapshot(tenant)
    for stranger in (Person(queue, other_tenant), Person(queue, tenant, "test")):
        done = await stranger.requeue([*ids, new_id()])
        assert (done.recipients, done.skipped) == (0, {SkipReason.CHANGED_SINCE: 2})
    assert await queue.snapshot(tenant) == before


@pytest.mark.parametrize(
    ("obstacle", "reason"),
    [
        ("UPDATE tenants SET status = 'suspended'", SkipReason.TENANT_NOT_ACTIVE),
        ("UPDATE domains SET status = 'failed'", SkipReason.DOMAIN_NOT_VERIFIED),
    ],
)
async def test_what_could_not_leave_stays_a_dead_letter_and_says_why(
    queue: Harness, tenant: SeededTenant, obstacle: str, reason: SkipReason
) -> None:
    await queue.add(tenant, 2)
    await let_fail(queue, tenant)
    await _as_operator(queue, tenant, obstacle)
    before = await queue.snapshot(tenant)
    done = await Person(queue, tenant).requeue_all()
    assert (done.emails, done.skipped) == (0, {reason: 2})
    assert await queue.snapshot(tenant) == before
    assert len((await Person(queue, tenant).dead()).items) == 2


async def test_recipient_that_is_suppressed_since_is_left_and_the_other_goes(
    queue: Harness, tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add(tenant, to=["a@r.test", "b@r.test"])
    await let_fail(queue, tenant)
    async with queue.database.session("tp_cli", tenant.id) as session:
        await suppress(session, tenant.id, "live", "A@r.test", origin="complaint", peppers=PEPPERS)
    done = await Person(queue, tenant).requeue_all()
    assert (done.recipients, done.skipped) == (1, {SkipReason.SUPPRESSED: 1})
    statuses = await queue.statuses(tenant, email_id)
    assert statuses == {"a": "failed", "b": "queued", "email": "queued"}
    assert [letter.address for letter in (await Person(queue, tenant).dead()).items] == ["a@r.test"]


async def test_steps_of_a_filter_end_and_leave_what_failed_after_the_count(
    queue: Harness, tenant: SeededTenant
) -> None:
    person = Person(queue, tenant)
    wanted = DeadLetterFilter(recipient_domain="r.test")
    early = await queue.add(tenant, 5, to=["a@r.test", "b@r.test", "c@else.test"])
    await let_fail(queue, tenant)
    counted = await person.count(wanted)
    (late,) = await queue.add(tenant, to=["a@r.test"])
    await let_fail(queue, tenant)
    start, steps, recipients = counted.newest, 0, 0
    while start is not None:
        step = await person.requeue_matching(start, wanted, limit=3)
        start, steps, recipients = step.next, steps + 1, recipients + step.recipients
    # An email is not divided: of three dead letters two are one email's.
    assert (recipients, steps) == (counted.count, 5)
    for email_id in early:
        statuses = await queue.statuses(tenant, email_id)
        assert statuses == {"a": "queued", "b": "queued", "c": "failed", "email": "queued"}
    assert (await queue.statuses(tenant, late))["email"] == "failed"
    (entry, *_) = await queue.fetch(tenant, "SELECT changes FROM audit_log")
    assert '"only_recipient_domain": "r.test"' in entry["changes"]


async def test_steps_of_a_filter_end_where_nothing_may_leave(
    queue: Harness, tenant: SeededTenant
) -> None:
    await queue.add(tenant, 5)
    await let_fail(queue, tenant)
    await _as_operator(queue, tenant, "UPDATE tenants SET status = 'suspended'")
    person = Person(queue, tenant)
    start, skipped = (await person.count()).newest, 0
    while start is not None:
        step = await person.requeue_matching(start, limit=2)
        start, skipped = step.next, skipped + step.skipped[SkipReason.TENANT_NOT_ACTIVE]
    assert skipped == 5


async def test_workers_are_woken_for_the_lane_at_commit(
    queue: Harness, tenant: SeededTenant
) -> None:
    await queue.add_bulk(tenant)
    await let_fail(queue, tenant, lane="bulk")
    heard: asyncio.Queue[object] = asyncio.Queue()
    async with queue.database.connect("tp_deliver") as connection:
        await connection.add_listener(QUEUE_CHANNEL, lambda *message: heard.put_nowait(message[3]))
        await Person(queue, tenant).requeue_all()
        async with asyncio.timeout(30):
            assert await heard.get() == f"bulk {tenant.id}"


async def test_more_than_a_step_is_refused(queue: Harness, tenant: SeededTenant) -> None:
    ids = [new_id() for _ in range(MAX_STEP + 1)]
    with pytest.raises(ValueError, match="more than"):
        await Person(queue, tenant).requeue(ids)
    with pytest.raises(ValueError, match="more than"):
        await Person(queue, tenant).resend(*ids)


async def _park(queue: Harness, tenant: SeededTenant, *to: str) -> UUID:
    """An email on the bulk lane about which a provider kept silent, unless the address says so."""
    (email_id,) = await queue.add_bulk(tenant, to=list(to))
    worker = await queue.start_worker()
    (claim,) = await queue.hand_over(worker, tenant, lane="bulk")
    await queue.record(worker, await queue.settle(worker, claim, "ambiguous", sent="accepted"))
    assert await queue.state(tenant, email_id) == "ambiguous"
    return email_id


async def test_parked_email_is_sent_again_to_whom_it_may_have_reached(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    email_id = await _park(queue, tenant, "a@r.test", "sent@r.test")
    other_id = await _park(queue, other_tenant, "a@r.test")
    person = Person(queue, tenant)
    assert [item.email_id for item in (await person.see("ambiguous")).items] == [email_id]
    done = await person.resend(email_id, other_id)
    assert (done.emails, done.recipients) == (1, 1)
    assert done.skipped == {SkipReason.CHANGED_SINCE: 1}
    statuses = await queue.statuses(tenant, email_id)
    assert statuses == {"a": "queued", "sent": "sent", "email": "queued"}
    assert await _audited(queue, tenant) == [("unconfirmed.requeued", SOMEBODY.id)]
    again = await person.resend(email_id)
    assert (again.emails, again.skipped) == (0, {SkipReason.CHANGED_SINCE: 1})
    assert await _send(queue, tenant, lane="bulk") == 1
    assert await queue.billed(tenant, email_id) == 2
    assert await queue.state(tenant, email_id) is None
    assert await queue.state(other_tenant, other_id) == "ambiguous"


async def test_email_that_will_be_sent_again_by_itself_needs_no_decision(
    queue: Harness, tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add(tenant)
    worker = await queue.start_worker()
    (claim,) = await queue.hand_over(worker, tenant)
    await queue.record(worker, await queue.settle(worker, claim, "ambiguous"))
    before = await queue.snapshot(tenant)
    done = await Person(queue, tenant).resend(email_id)
    assert (done.emails, done.skipped) == (0, {SkipReason.CHANGED_SINCE: 1})
    assert await queue.snapshot(tenant) == before


async def test_sent_again_in_doubt_and_failed_then_it_says_that_it_may_have_arrived(
    queue: Harness, tenant: SeededTenant
) -> None:
    email_id = await _park(queue, tenant, "a@r.test")
    await Person(queue, tenant).resend(email_id)
    await let_fail(queue, tenant, lane="bulk")
    (letter,) = (await Person(queue, tenant).dead()).items
    assert (letter.cause, letter.may_have_arrived) == ("attempts_exhausted", True)
    assert "email.unconfirmed" in await queue.events(tenant, email_id)


async def test_dead_letter_beside_a_parked_recipient_goes_alone(
    queue: Harness, tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add_bulk(tenant, to=["a@r.test", "quiet@r.test"])
    await let_fail(queue, tenant, lane="bulk", quiet="ambiguous")
    statuses = await queue.statuses(tenant, email_id)
    assert (statuses["a"], statuses["quiet"]) == ("failed", "unconfirmed")
    assert await queue.state(tenant, email_id) == "ambiguous"
    assert (await Person(queue, tenant).requeue_all()).recipients == 1
    worker = await queue.start_worker()
    (claim,) = await queue.hand_over(worker, tenant, lane="bulk")
    (loaded,) = await queue.load(claim)
    assert [to.address for to in loaded.recipients] == ["a@r.test"]
    await queue.record(worker, await queue.settle(worker, claim, "accepted"))
    assert await queue.statuses(tenant, email_id) == {
        "a": "sent",
        "quiet": "unconfirmed",
        "email": "unconfirmed",
    }
    assert await queue.state(tenant, email_id) == "ambiguous"


async def test_dead_letter_beside_one_that_would_get_it_twice_waits_for_a_decision_about_that_one(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add(tenant, to=["a@r.test", "quiet@r.test"])
    await queue.add(other_tenant)
    await let_fail(queue, tenant, other_tenant, quiet="ambiguous")
    before = await queue.snapshot(tenant)
    person = Person(queue, tenant)
    done = await person.requeue_all()
    assert (done.emails, done.skipped) == (0, {SkipReason.BESIDE_UNCONFIRMED: 1})
    assert await queue.snapshot(tenant) == before
    assert len((await person.dead()).items) == 1
    # Nobody of another tenant stands beside it.
    assert (await Person(queue, other_tenant).requeue_all()).recipients == 1
    assert (await person.resend(email_id)).recipients == 1
    assert (await person.requeue_all()).recipients == 1
    assert await _send(queue, tenant) == 1
    assert await queue.billed(tenant, email_id) == 2


async def test_dead_letter_beside_an_unconfirmed_one_that_is_suppressed_goes_alone(
    queue: Harness, tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add(tenant, to=["a@r.test", "quiet@r.test"])
    await let_fail(queue, tenant, quiet="ambiguous")
    async with queue.database.session("tp_cli", tenant.id) as session:
        await suppress(
            session, tenant.id, "live", "quiet@r.test", origin="complaint", peppers=PEPPERS
        )
    done = await Person(queue, tenant).requeue_all()
    assert (done.recipients, done.skipped) == (1, {})
    worker = await queue.start_worker()
    (claim,) = await queue.hand_over(worker, tenant)
    (loaded,) = await queue.load(claim)
    asked = [to.address for to in loaded.recipients if not to.is_suppressed]
    assert asked == ["a@r.test"]
    assert (await queue.statuses(tenant, email_id))["quiet"] == "unconfirmed"


async def test_dead_letter_of_an_email_that_waits_for_hours_is_due_now_with_all_its_attempts(
    queue: Harness, tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add(tenant, to=["a@r.test", "b@r.test"])
    await let_fail(queue, tenant)
    person = Person(queue, tenant)
    first, second = (await person.dead()).items
    await person.requeue([first.id])
    worker = await queue.start_worker()
    for _ in range(2):
        await queue.make_due(tenant, email_id)
        (claim,) = await queue.hand_over(worker, tenant)
        await queue.record(worker, await queue.settle(worker, claim, "deferred"))
    assert await queue.claim(worker, tenant) == []
    assert (await person.requeue([second.id])).recipients == 1
    (again,) = await queue.hand_over(worker, tenant)
    assert again.attempt == 1
    assert again.fence >> 32 > claim.fence >> 32
    await queue.record(worker, await queue.settle(worker, again, "deferred"))
    assert (await queue.statuses(tenant, email_id))["email"] == "deferred"
    assert (await person.dead()).items == ()


async def test_dead_letter_of_a_held_email_leaves_when_that_is_released(
    queue: Harness, tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add(tenant, to=["a@r.test", "b@r.test"])
    await let_fail(queue, tenant)
    person = Person(queue, tenant)
    first, second = (await person.dead()).items
    await person.requeue([first.id])
    worker = await queue.start_worker()
    (claim,) = await queue.hand_over(worker, tenant)
    await queue.record(worker, await queue.settle(worker, claim, "deferred"))
    await queue.make_due(tenant, email_id)
    await _as_operator(queue, tenant, "UPDATE tenants SET status = 'suspended'")
    (email,) = await queue.load(*await queue.claim(worker, tenant))
    await queue.record(worker, unsent(email, worker))
    await _as_operator(queue, tenant, "UPDATE tenants SET status = 'active'")
    assert (await person.requeue([second.id])).recipients == 1
    assert sorted((await queue.statuses(tenant, email_id)).values()) == ["held", "held", "queued"]
    assert await release_held(queue.pool) == 1
    (again,) = await queue.hand_over(worker, tenant)
    assert (again.attempt, again.fence > email.claim.fence + 1) == (1, True)
    await queue.record(worker, await queue.settle(worker, again, "accepted"))
    assert await queue.billed(tenant, email_id) == 2
