"""Recording: each result once, in one transaction with all that follows from it."""

import datetime as dt
from typing import Any

import asyncpg
import pytest
from msgspec.structs import replace

from tallypost_domain.emails.lifecycle import RecipientEvent
from tallypost_domain.queue.types import RecipientChange, Settlement
from tallypost_providers.types import Outcome
from tests.integration.queue.harness import POLICY, Harness, ids, settlement
from tests.support.database import SeededTenant


async def _due_in(queue: Harness, tenant: SeededTenant) -> list[dt.timedelta]:
    # The event was written by the transaction that dated the retry, so they share its now().
    query = (
        "SELECT q.due_at - max(e.created_at) AS delay FROM send_queue q "
        "JOIN events e ON e.subject_id = q.email_id WHERE q.state = 'waiting' "
        "GROUP BY q.email_id, q.due_at ORDER BY q.email_id"
    )
    return [row["delay"] for row in await queue.fetch(tenant, query)]


async def test_acceptance_is_recorded_with_all_that_follows(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add(tenant, to=["a@r.test", "b@r.test"], bcc="c@r.test")
    (other_id,) = await queue.add(other_tenant)
    before = await queue.snapshot(other_tenant)
    worker = await queue.start_worker()
    (claim,) = await queue.hand_over(worker, tenant)
    recorded = await queue.record(worker, await queue.settle(worker, claim, "accepted"))
    assert (recorded.marked, recorded.dead_letters) == ((), 0)
    assert await queue.statuses(tenant, email_id) == dict.fromkeys("abc", "sent") | {
        "email": "sent"
    }
    assert await queue.attempts(tenant, email_id) == [(1, "accepted", False)]
    assert await queue.events(tenant, email_id) == ["email.sent"] * 3
    assert await queue.billed(tenant, email_id) == 3
    assert await queue.state(tenant, email_id) is None
    assert await queue.snapshot(other_tenant) == before
    assert await queue.state(other_tenant, other_id) == "waiting"


async def test_ledger_has_one_unit_for_each_accepted_live_recipient_and_none_of_test_mode(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    await queue.add(tenant, to=["a@r.test", "refused@r.test"])
    await queue.add(other_tenant, to=["a@r.test", "b@r.test"])
    await queue.add(tenant, mode="test", to=["a@r.test", "b@r.test"])
    worker = await queue.start_worker()
    for claim in await queue.hand_over(worker, tenant, other_tenant):
        await queue.record(
            worker, await queue.settle(worker, claim, "accepted", refused="rejected")
        )
    for owner, count in ((tenant, 1), (other_tenant, 2)):
        ledger = await queue.fetch(owner, "SELECT * FROM usage_ledger")
        assert [(row["units"], row["provider"]) for row in ledger] == [(1, "smtp")] * count
        sent = await queue.fetch(
            owner, "SELECT id FROM recipients WHERE status = 'sent' AND mode = 'live'"
        )
        assert {row["recipient_id"] for row in ledger} == {row["id"] for row in sent}


async def test_mixed_answer_settles_some_and_retries_the_others(
    queue: Harness, tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add(tenant, to=["a@r.test", "gone@r.test", "busy@r.test"])
    worker = await queue.start_worker()
    (claim,) = await queue.hand_over(worker, tenant)
    answer = await queue.settle(worker, claim, "accepted", gone="rejected", busy="deferred")
    await queue.record(worker, answer)
    assert await queue.statuses(tenant, email_id) == {
        "a": "sent",
        "gone": "bounced",
        "busy": "deferred",
        "email": "deferred",
    }
    assert await queue.billed(tenant, email_id) == 1
    assert await queue.attempts(tenant, email_id) == [(1, "deferred", False)]
    assert sorted(await queue.events(tenant, email_id)) == [
        "email.bounced",
        "email.deferred",
        "email.sent",
    ]
    await queue.make_due(tenant, email_id)
    (claim,) = await queue.hand_over(worker, tenant)
    (email,) = await queue.load(claim)
    assert [to.address for to in email.recipients] == ["busy@r.test"]
    words = await queue.fetch(tenant, "SELECT DISTINCT detail FROM recipients")
    assert [row["detail"] for row in words] == ["words of the peer"]


async def test_retries_are_dated_by_the_policy_until_it_is_used_up(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add(tenant, to=["a@r.test", "b@r.test"])
    worker = await queue.start_worker()
    for number, delay_s in enumerate(POLICY.schedule_s, start=1):
        (claim,) = await queue.hand_over(worker, tenant)
        assert claim.attempt == number
        recorded = await queue.record(worker, await queue.settle(worker, claim, "unavailable"))
        assert recorded.dead_letters == 0
        assert await _due_in(queue, tenant) == [dt.timedelta(seconds=delay_s)]
        assert await queue.claim(worker, tenant) == []
        await queue.make_due(tenant, email_id)
    (claim,) = await queue.hand_over(worker, tenant)
    recorded = await queue.record(
        worker, await queue.settle(worker, claim, "unavailable", b="accepted")
    )
    assert recorded.dead_letters == 1
    assert await queue.statuses(tenant, email_id) == {"a": "failed", "b": "sent", "email": "failed"}
    assert await queue.state(tenant, email_id) is None
    reasons = await queue.fetch(tenant, "SELECT data FROM events WHERE type = 'email.failed'")
    assert ['"attempts_exhausted"' in row["data"] for row in reasons] == [True]
    assert await queue.fetch(other_tenant, "SELECT 1 FROM events") == []


async def test_peers_wish_dates_the_retry_within_the_policys_bounds(
    queue: Harness, tenant: SeededTenant
) -> None:
    await queue.add(tenant, 3)
    worker = await queue.start_worker()
    claims = sorted(await queue.hand_over(worker, tenant), key=lambda claim: claim.email_id)
    for claim, wish_s in zip(claims, (1.0, 15.0, 86_400.0), strict=True):
        answer = await queue.settle(worker, claim, "throttled")
        changes = tuple(replace(change, retry_after_s=wish_s) for change in answer.changes)
        await queue.record(worker, replace(answer, changes=changes))
    assert await _due_in(queue, tenant) == [dt.timedelta(seconds=s) for s in (10, 15, 20)]


async def test_recording_and_marking_are_one_transaction(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    (first,) = await queue.add(tenant)
    (second,) = await queue.add(other_tenant)
    worker = await queue.start_worker()
    (claim,) = await queue.hand_over(worker, tenant)
    (other_claim,) = await queue.claim(worker, other_tenant)
    answer = await queue.settle(worker, claim, "accepted")
    recorded = await queue.record(worker, answer, claims=[other_claim])
    assert ids(recorded.marked) == [second]
    assert await queue.state(tenant, first) is None
    assert await queue.state(other_tenant, second) == "handing_over"


async def test_recording_twice_after_a_lost_commit_changes_nothing(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    worker = await queue.start_worker()
    answers = []
    for owner, lane in ((tenant, "transactional"), (tenant, "bulk"), (other_tenant, "bulk")):
        headers = {"X-Tallypost-Stream": lane}
        await queue.add(owner, len(Outcome), to=["a@r.test", "b@r.test"], headers=headers)
        claims = await queue.hand_over(worker, owner, lane=lane)
        answers += [
            await queue.settle(worker, claim, outcome, b="accepted")
            for claim, outcome in zip(claims, Outcome, strict=True)
        ]
    await queue.record(worker, *answers)
    before = [await queue.snapshot(owner) for owner in (tenant, other_tenant)]
    recorded = await queue.record(worker, *answers)
    assert (recorded.marked, recorded.dead_letters) == ((), 0)
    for answer in answers:
        await queue.record(worker, answer)
    assert [await queue.snapshot(owner) for owner in (tenant, other_tenant)] == before


@pytest.mark.parametrize(
    ("event", "rest", "state", "status"),
    [
        (RecipientEvent.SUPPRESSED, {}, None, "suppressed"),
        (RecipientEvent.GAVE_UP, {}, None, "failed"),
        (RecipientEvent.HELD, {"hold": True}, "held", "held"),
        (None, {"retry_in_s": 30.0}, "waiting", "queued"),
    ],
)
async def test_what_was_not_handed_over_is_recorded_once_too(
    queue: Harness,
    tenant: SeededTenant,
    event: RecipientEvent | None,
    rest: dict[str, Any],  # Fields of a settlement, each with a type of its own.
    state: str | None,
    status: str,
) -> None:
    (email_id,) = await queue.add(tenant)
    worker = await queue.start_worker()
    (claim,) = await queue.claim(worker, tenant)
    (email,) = await queue.load(claim)
    to = email.recipients[0].id
    changes = (RecipientChange(recipient_id=to, event=event),) if event else ()
    turn = Settlement(claim=claim, worker_id=worker, attempt=None, changes=changes, **rest)
    await queue.record(worker, turn)
    before = await queue.snapshot(tenant)
    await queue.record(worker, turn)
    assert await queue.snapshot(tenant) == before
    assert await queue.state(tenant, email_id) == state
    assert await queue.statuses(tenant, email_id) == {"first": status, "email": status}
    assert await queue.events(tenant, email_id) == ([f"email.{status}"] if event else [])
    assert await queue.attempts(tenant, email_id) == []
    assert await queue.billed(tenant, email_id) == 0


async def test_silence_is_listed_and_follows_the_stream(
    queue: Harness, tenant: SeededTenant
) -> None:
    (urgent,) = await queue.add(tenant)
    (bulk,) = await queue.add_bulk(tenant)
    worker = await queue.start_worker()
    for lane in ("transactional", "bulk"):
        (claim,) = await queue.hand_over(worker, tenant, lane=lane)
        await queue.record(worker, await queue.settle(worker, claim, "ambiguous"))
    unconfirmed = {"first": "unconfirmed", "email": "unconfirmed"}
    for email_id, state in ((urgent, "waiting"), (bulk, "ambiguous")):
        assert await queue.statuses(tenant, email_id) == unconfirmed
        assert await queue.events(tenant, email_id) == ["email.unconfirmed"]
        assert await queue.state(tenant, email_id) == state
        assert await queue.billed(tenant, email_id) == 0
    assert await _due_in(queue, tenant) == [dt.timedelta(seconds=10)]


async def test_two_results_of_one_email_in_a_chunk_leave_the_last_word_to_the_last(
    queue: Harness, tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add(tenant)
    worker = await queue.start_worker()
    (old,) = await queue.hand_over(worker, tenant)
    late = await queue.settle(worker, old, "accepted")
    # The row was freed meanwhile, and the same worker claimed it anew.
    await queue.record(worker, await queue.settle(worker, old, "ambiguous"))
    await queue.make_due(tenant, email_id)
    (new,) = await queue.hand_over(worker, tenant)
    current = await queue.settle(worker, new, "deferred")
    await queue.record(worker, current, late)
    assert await queue.statuses(tenant, email_id) == {"first": "sent", "email": "sent"}
    assert await queue.billed(tenant, email_id) == 1
    assert await queue.state(tenant, email_id) is None


async def test_large_chunk_of_two_tenants_is_recorded_whole(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    outcomes = ("accepted", "deferred", "rejected", "ambiguous")
    added = [*await queue.add(tenant, 100), *await queue.add(other_tenant, 100)]
    worker = await queue.start_worker()
    claims = await queue.hand_over(worker, tenant, other_tenant)
    assert sorted(ids(claims)) == sorted(added)
    emails = await queue.load(*claims)
    answers = [
        settlement(
            worker,
            email.claim,
            {to.id: Outcome(outcomes[number % 4]) for to in email.recipients},
        )
        for number, email in enumerate(emails)
    ]
    await queue.record(worker, *answers)
    for owner in (tenant, other_tenant):
        counts = await queue.fetch(
            owner, "SELECT status, count(*) AS n FROM recipients GROUP BY status"
        )
        expected = {"sent": 0, "deferred": 0, "bounced": 0, "unconfirmed": 0}
        words = dict(zip(outcomes, expected, strict=True))
        for email, number in ((email, n) for n, email in enumerate(emails)):
            if email.claim.tenant_id == owner.id:
                expected[words[outcomes[number % 4]]] += 1
        assert {row["status"]: row["n"] for row in counts} == expected
        ledger = await queue.fetch(owner, "SELECT 1 FROM usage_ledger")
        assert len(ledger) == expected["sent"]
        waiting = await queue.fetch(owner, "SELECT 1 FROM send_queue WHERE state = 'waiting'")
        assert len(waiting) == expected["deferred"] + expected["unconfirmed"]


async def test_nothing_to_do_asks_nothing(queue: Harness) -> None:
    recorded = await queue.record(await queue.start_worker())
    assert (recorded.marked, recorded.dead_letters) == ((), 0)


async def test_failed_write_leaves_nothing_behind(queue: Harness, tenant: SeededTenant) -> None:
    await queue.add(tenant, 2)
    worker = await queue.start_worker()
    first, second = await queue.hand_over(worker, tenant)
    good = await queue.settle(worker, first, "accepted")
    bad = await queue.settle(worker, second, "accepted")
    assert bad.attempt is not None
    bad = replace(bad, attempt=replace(bad.attempt, provider="a\x00b"))
    before = await queue.snapshot(tenant)
    with pytest.raises(Exception, match="0x00"):
        await queue.record(worker, good, bad)
    assert await queue.snapshot(tenant) == before


@pytest.mark.parametrize("odd", [{"account": "\ud800"}, {"number": 2**80}, {"duration_s": "x"}])
async def test_value_that_no_column_takes_is_no_outage(
    queue: Harness, tenant: SeededTenant, odd: dict[str, object]
) -> None:
    await queue.add(tenant)
    worker = await queue.start_worker()
    (claim,) = await queue.hand_over(worker, tenant)
    answer = await queue.settle(worker, claim, "accepted")
    assert answer.attempt is not None
    bad = replace(answer, attempt=replace(answer.attempt, **odd))
    # What is taken for an outage is tried for ever.
    with pytest.raises(asyncpg.DataError):
        await queue.record(worker, bad)
