"""Counting what became of emails, hour by hour, and how long they took to leave."""

import datetime as dt
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tallypost_core import clock
from tallypost_domain.audit.types import Actor
from tallypost_domain.db.pools import transaction
from tallypost_domain.emails import outcomes
from tallypost_domain.emails.id_times import time_of
from tallypost_domain.emails.lifecycle import RecipientStatus
from tallypost_domain.emails.outcomes import (
    Bucket,
    HandoverTimes,
    OutcomeBucket,
    count_outcomes,
    measure_handover,
)
from tallypost_domain.emails.service import cancel
from tallypost_domain.queue.unconfirmed_decisions import SettledAs, settle
from tallypost_providers.types import Mode
from tests.integration.emails.every_status import (
    BLOCKED,
    add_every_status,
    add_with_outcome,
    report,
)
from tests.integration.queue.harness import Harness, hours, open_harness
from tests.support.database import Database, SeededTenant

_ONE_OF_EACH = {status.value: 1 for status in RecipientStatus} | {"sent": 2, "delivered": 0}


@pytest.fixture
async def queue(database: Database, tmp_path: Path) -> AsyncIterator[Harness]:
    """A queue of this test alone."""
    async with open_harness(database, tmp_path) as harness:
        yield harness


async def _count(
    queue: Harness,
    tenant: SeededTenant,
    since: dt.datetime | None = None,
    until: dt.datetime | None = None,
    *,
    mode: Mode = "live",
    bucket: Bucket = "hour",
) -> tuple[OutcomeBucket, ...]:
    now = clock.utc_now()
    async with queue.database.session("tp_console", tenant.id) as session:
        return await count_outcomes(
            session,
            tenant.id,
            mode,
            since=since or now - hours(1),
            until=until or now + hours(1),
            bucket=bucket,
        )


async def _total(queue: Harness, tenant: SeededTenant, mode: Mode = "live") -> dict[str, int]:
    counts: Counter[str] = Counter()
    for bucket in await _count(queue, tenant, mode=mode):
        counts.update({status.value: number for status, number in bucket.counts.items()})
    return {status.value: counts[status.value] for status in RecipientStatus}


async def test_each_email_is_counted_once_by_its_status(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    await add_every_status(queue, tenant)
    await add_with_outcome(queue, tenant, "rejected", mode="test")
    await add_with_outcome(queue, other_tenant, "rejected")
    # What was delivered is counted as sent.
    assert await _total(queue, tenant) == _ONE_OF_EACH
    nothing = dict.fromkeys(_ONE_OF_EACH, 0)
    assert await _total(queue, tenant, "test") == {**nothing, "bounced": 1}
    assert await _total(queue, other_tenant) == {**nothing, "bounced": 1}
    async with queue.database.session("tp_console", other_tenant.id) as session:
        now = clock.utc_now()
        (bucket,) = await count_outcomes(
            session, tenant.id, "live", since=now - hours(1), until=now, bucket="hour"
        )
    assert bucket.counts == {}


async def test_email_whose_recipients_differ_counts_as_it_shows(
    queue: Harness, tenant: SeededTenant
) -> None:
    await add_every_status(queue, tenant)
    before = await _total(queue, tenant)
    both = ["a@r.test", "b@r.test"]
    await add_with_outcome(queue, tenant, "accepted", to=["a@r.test", BLOCKED])
    await add_with_outcome(queue, tenant, "accepted", to=both, by={"a": "rejected"})
    await add_with_outcome(queue, tenant, "deferred", to=both, by={"a": "rejected"})
    bounced = await add_with_outcome(queue, tenant, "rejected", to=both)
    await report(queue, tenant, bounced, "complained")
    more = Counter(before) + Counter(sent=1, bounced=1, deferred=1, complained=1)
    assert await _total(queue, tenant) == {status.value: more[status] for status in RecipientStatus}


async def test_failed_email_that_was_sent_after_all_counts_as_sent(
    queue: Harness, tenant: SeededTenant
) -> None:
    by_status = await add_every_status(queue, tenant)
    await report(queue, tenant, by_status["failed"], "sent")
    assert await _total(queue, tenant) == {**_ONE_OF_EACH, "failed": 0, "sent": 3}


async def test_email_that_one_recipient_has_and_another_was_canceled_for_counts_as_sent(
    queue: Harness, tenant: SeededTenant
) -> None:
    await add_every_status(queue, tenant)
    both = ["a@r.test", "b@r.test"]
    email_id = await add_with_outcome(queue, tenant, "accepted", to=both, by={"a": "ambiguous"})
    async with queue.database.session("tp_api", tenant.id) as session:
        actor = Actor(kind="api_key", id=tenant.live_key.id)
        await settle(session, tenant.id, "live", email_id, SettledAs.CANCELED, actor=actor)
    assert await queue.statuses(tenant, email_id) == {"a": "canceled", "b": "sent", "email": "sent"}
    assert await _total(queue, tenant) == {**_ONE_OF_EACH, "sent": 3}


async def test_what_others_canceled_does_not_keep_failed_emails_from_being_looked_up(
    queue: Harness, tenant: SeededTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcomes, "MOST_CHECKED", 2)
    by_status = await add_every_status(queue, tenant)
    await report(queue, tenant, by_status["failed"], "sent")
    later = (clock.utc_now() + hours(1)).isoformat()
    canceled = await queue.add(tenant, 5, scheduled_at=later)
    async with queue.database.session("tp_api", tenant.id) as session:
        for email_id in canceled:
            await cancel(session, tenant.id, "live", email_id)
    counts = await _total(queue, tenant)
    assert (counts["failed"], counts["canceled"]) == (0, 6)


async def test_all_buckets_are_there_and_bounds_are_kept(
    queue: Harness, tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add(tenant)
    moment = time_of(email_id)
    start = moment - hours(2)
    buckets = await _count(queue, tenant, start, moment + dt.timedelta(milliseconds=1))
    assert [bucket.at for bucket in buckets] == [start, start + hours(1), start + hours(2)]
    assert [bucket.total for bucket in buckets] == [0, 0, 1]
    assert buckets[2].counts == {RecipientStatus.QUEUED: 1}
    assert [bucket.total for bucket in await _count(queue, tenant, start, moment)] == [0, 0]
    (day,) = await _count(queue, tenant, moment, moment + hours(24), bucket="day")
    assert (day.at, day.total) == (moment, 1)


@pytest.mark.parametrize("length", [hours(0), hours(-1), hours(outcomes.MOST_BUCKETS + 0.5)])
async def test_no_or_too_many_buckets_are_refused(
    queue: Harness, tenant: SeededTenant, length: dt.timedelta
) -> None:
    now = clock.utc_now()
    with pytest.raises(ValueError, match="1 to 800 buckets"):
        await _count(queue, tenant, now, now + length)


async def test_backlog_beyond_what_is_looked_up_is_counted_as_queued(
    queue: Harness,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outcomes, "MOST_CHECKED", 2)
    await queue.add(other_tenant, 3)
    await add_every_status(queue, tenant)
    await queue.add(tenant, 10)
    nothing = dict.fromkeys(_ONE_OF_EACH, 0)
    counts = await _total(queue, tenant)
    # Held, scheduled, deferred, unconfirmed and queued ones were there before.
    pending = {**nothing, "queued": 15}
    ended = {"sent": 2, "bounced": 1, "complained": 1, "failed": 1, "suppressed": 1, "canceled": 1}
    assert counts == {**pending, **ended}
    # Whichever mode has more of them.
    await queue.add(tenant, 7, mode="test")
    assert await _total(queue, tenant) == {**pending, **ended}
    assert await _total(queue, tenant, "test") == {**nothing, "queued": 7}
    await queue.add(tenant, 23, mode="test")
    assert await _total(queue, tenant) == {**pending, **ended}
    assert await _total(queue, tenant, "test") == {**nothing, "queued": 30}


_HAND_OVER = """
    INSERT INTO events (tenant_id, subject_id, id, mode, type, data, created_at)
    SELECT tenant_id, id, gen_random_uuid(), mode, 'email.sent', '{}',
           coalesce(scheduled_at, created_at) + make_interval(secs => $2)
    FROM emails WHERE id = $1
"""


async def test_handovers_are_timed_from_acceptance_or_the_time_asked_for(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    start = clock.utc_now() - hours(1)

    async def measure(owner: SeededTenant, mode: Mode = "live") -> HandoverTimes:
        async with queue.database.session("tp_console", owner.id) as session:
            return await measure_handover(session, owner.id, mode, start)

    assert await measure(tenant) == HandoverTimes(None, None, 0)
    await add_with_outcome(queue, tenant, "rejected")
    await add_with_outcome(queue, tenant, "deferred")
    (at_once,) = await queue.add(tenant)
    (later,) = await queue.add(tenant, scheduled_at=(clock.utc_now() + hours(1)).isoformat())
    async with transaction(queue.pool, [tenant.id]) as connection:
        for email_id, took_s in ((at_once, 2.0), (at_once, 90.0), (later, 4.0)):
            await connection.execute(_HAND_OVER, email_id, took_s)
    measured = await measure(tenant)
    assert measured.count == 2
    assert measured.p50_s == pytest.approx(3.0)
    assert measured.p95_s == pytest.approx(3.9)
    assert (await measure(tenant, "test")).count == 0
    assert (await measure(other_tenant)).count == 0


async def test_email_that_left_for_a_part_of_its_recipients_is_timed(
    queue: Harness, tenant: SeededTenant
) -> None:
    both = ["a@r.test", "b@r.test"]
    await add_with_outcome(queue, tenant, "deferred", to=both, by={"a": "accepted"})
    async with queue.database.session("tp_console", tenant.id) as session:
        measured = await measure_handover(session, tenant.id, "live", clock.utc_now() - hours(1))
    assert measured.count == 1
