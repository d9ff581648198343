"""An email without an answer is looked up at SendGrid before its stream's policy counts."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from sqlalchemy import text

from tallypost_core.settings.loader import Secret
from tallypost_core.settings.providers import SendGridSettings
from tallypost_domain.queue.loading import LoadedEmail
from tallypost_domain.queue.releases import release_held
from tallypost_simulators.http_faults import HTTPFault
from tallypost_simulators.sendgrid_account import API_KEY, RateLimit
from tallypost_simulators.sendgrid_server import SendGridSimulator
from tallypost_telemetry import metrics
from tallypost_worker.look_ups import MOST_AT_ONCE, LookUps
from tests.integration.queue.harness import Harness
from tests.integration.queue.people import Person
from tests.integration.worker.look_up_stage import (
    EVER_S,
    FOUND,
    HASTY,
    NOT_FOUND,
    PATIENT,
    RESENT,
    SILENT,
    Asked,
    Stage,
)
from tests.integration.worker.loops import FakeProvider
from tests.support.database import SeededTenant

_WAITS_LONG = """
    SELECT 1 FROM send_queue WHERE state = 'waiting' AND due_at > now() + interval '20 seconds'
"""
TAKEN_IN_SILENCE = HTTPFault(action="drop")
LOST_IN_SILENCE = HTTPFault(action="reset_after")


@pytest.fixture
async def simulator(
    tenant: SeededTenant, other_tenant: SeededTenant
) -> AsyncIterator[SendGridSimulator]:
    """A SendGrid account with the feed, which knows the domains of both tenants."""
    async with SendGridSimulator() as sendgrid:
        sendgrid.account.activity_rate_limit = RateLimit(requests=10_000, period_s=1.0)
        for owner in (tenant, other_tenant):
            sendgrid.domains.add_verified(owner.domain)
        yield sendgrid


@pytest.fixture
async def provider(simulator: SendGridSimulator) -> AsyncIterator[Asked]:
    """The account as the worker has it."""
    settings = SendGridSettings(
        api_key=Secret(API_KEY), endpoint=simulator.url, connections=4, activity_lookup=True
    )
    account = Asked(settings, "sendgrid")
    yield account
    await account.close()


@pytest.fixture
def stage(queue: Harness, tmp_path: Path) -> Stage:
    """A queue of this test alone."""
    return Stage(queue, tmp_path)


@pytest.mark.parametrize("is_bulk", [False, True])
async def test_question_that_breaks_off_is_put_again_and_no_policy_counts(
    stage: Stage,
    simulator: SendGridSimulator,
    provider: Asked,
    tenant: SeededTenant,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_bulk: bool,
) -> None:
    queue = stage.queue
    simulator.faults.replace(replace(TAKEN_IN_SILENCE, times=1))
    (email_id,) = await (queue.add_bulk if is_bulk else queue.add)(tenant)
    broken = 0

    async def break_off(_: LookUps, __: LoadedEmail) -> bool:
        nonlocal broken
        broken += 1
        raise OSError("too many open files")

    settle = LookUps.settle

    async def settle_or_break(self: LookUps, email: LoadedEmail) -> bool:
        # Of a first handover there is nothing to ask.
        return await (settle if email.silence is None else break_off)(self, email)

    async def is_put_off() -> bool:
        return broken > 0 and bool(await queue.fetch(tenant, _WAITS_LONG))

    with monkeypatch.context() as patched:
        patched.setattr(LookUps, "settle", settle_or_break)
        await stage.deliver(provider, is_put_off)
    assert set((await queue.statuses(tenant, email_id)).values()) == {"unconfirmed"}
    await queue.make_due(tenant, email_id)
    await stage.deliver(provider, lambda: stage.is_in(tenant, email_id, None))
    assert await stage.attempts(tenant, email_id) == [SILENT, FOUND]
    assert len(simulator.messages) == 1


@pytest.mark.parametrize("is_bulk", [False, True])
async def test_email_that_was_taken_in_silence_is_found_and_not_sent_again(
    stage: Stage,
    simulator: SendGridSimulator,
    provider: Asked,
    tenant: SeededTenant,
    *,
    is_bulk: bool,
) -> None:
    queue = stage.queue
    simulator.faults.replace(replace(TAKEN_IN_SILENCE, times=1))
    (email_id,) = await (queue.add_bulk if is_bulk else queue.add)(tenant)
    before = _look_ups("found")
    await stage.deliver(provider, lambda: stage.is_in(tenant, email_id, None))
    assert await stage.attempts(tenant, email_id) == [SILENT, FOUND]
    assert set((await queue.statuses(tenant, email_id)).values()) == {"sent"}
    assert await queue.events(tenant, email_id) == ["email.unconfirmed", "email.sent"]
    assert await queue.billed(tenant, email_id) == 1
    (taken,) = simulator.messages
    (row,) = await queue.fetch(tenant, "SELECT detail, provider_message_id FROM recipients")
    assert row["provider_message_id"] == taken.message_id_of(taken.recipients[0])
    assert row["detail"] == "found when the provider was asked: processed"
    assert _look_ups("found") == before + 1


async def test_email_that_was_not_taken_is_sent_again_once_it_would_be_known(
    stage: Stage, simulator: SendGridSimulator, provider: Asked, tenant: SeededTenant
) -> None:
    simulator.faults.replace(replace(LOST_IN_SILENCE, times=1))
    (email_id,) = await stage.queue.add(tenant)
    await stage.deliver(provider, lambda: stage.is_in(tenant, email_id, None), waits=HASTY)
    assert await stage.attempts(tenant, email_id) == [SILENT, NOT_FOUND, RESENT]
    assert await stage.details(tenant, email_id) == ["not found when the provider was asked"]
    assert len(simulator.messages) == 1
    assert await stage.queue.billed(tenant, email_id) == 1
    assert provider.asked == 1


async def test_email_that_was_not_taken_waits_for_a_person_where_its_stream_says_so(
    stage: Stage, simulator: SendGridSimulator, provider: Asked, tenant: SeededTenant
) -> None:
    simulator.faults.replace(replace(LOST_IN_SILENCE, times=1))
    (email_id,) = await stage.queue.add_bulk(tenant)
    await stage.deliver(provider, lambda: stage.is_in(tenant, email_id, "ambiguous"), waits=HASTY)
    assert await stage.attempts(tenant, email_id) == [SILENT, NOT_FOUND]
    assert set((await stage.queue.statuses(tenant, email_id)).values()) == {"unconfirmed"}
    assert simulator.messages == []


async def test_email_that_a_person_sends_again_is_not_looked_up_before(
    stage: Stage, simulator: SendGridSimulator, provider: Asked, tenant: SeededTenant
) -> None:
    simulator.faults.replace(replace(LOST_IN_SILENCE, times=1))
    (email_id,) = await stage.queue.add_bulk(tenant)
    await stage.deliver(provider, lambda: stage.is_in(tenant, email_id, "ambiguous"), waits=HASTY)
    assert (await Person(stage.queue, tenant).resend(email_id)).recipients == 1
    await stage.deliver(provider, lambda: stage.is_in(tenant, email_id, None))
    assert provider.asked == 1
    assert (await stage.attempts(tenant, email_id))[2:] == [("http", "accepted", 1)]


async def test_email_is_looked_up_again_while_the_feed_may_be_late(
    stage: Stage, simulator: SendGridSimulator, provider: Asked, tenant: SeededTenant
) -> None:
    simulator.faults.replace(replace(TAKEN_IN_SILENCE, times=1))
    simulator.account.activity_delay_s = EVER_S
    (email_id,) = await stage.queue.add(tenant)

    async def is_found_once_the_feed_shows_it() -> bool:
        if provider.asked >= 3:
            simulator.account.activity_delay_s = 0.0
        return await stage.is_in(tenant, email_id, None)

    await stage.deliver(provider, is_found_once_the_feed_shows_it)
    # Looking it up in vain is no attempt while it may be too early.
    assert await stage.attempts(tenant, email_id) == [SILENT, FOUND]
    assert len(simulator.messages) == 1


async def test_feed_that_wants_to_be_left_alone_is_left_alone_by_all_emails(
    stage: Stage, simulator: SendGridSimulator, provider: Asked, tenant: SeededTenant
) -> None:
    queue = stage.queue
    simulator.faults.replace(TAKEN_IN_SILENCE)
    simulator.account.activity_rate_limit = RateLimit(requests=0, period_s=1e9)
    added = await queue.add_bulk(tenant, 20)

    async def are_all_put_off() -> bool:
        rows = await queue.fetch(
            tenant,
            "SELECT 1 FROM send_queue"
            " WHERE state = 'waiting' AND due_at > now() + interval '1 minute'",
        )
        return len(rows) == len(added)

    await stage.deliver(provider, are_all_put_off)
    assert 1 <= provider.asked <= MOST_AT_ONCE
    rows = await queue.fetch(tenant, "SELECT DISTINCT phase, outcome FROM attempts")
    assert [tuple(row) for row in rows] == [("http", "ambiguous")]
    rows = await queue.fetch(tenant, "SELECT DISTINCT attempt FROM send_queue")
    assert [row["attempt"] for row in rows] == [1]

    # Another process knows nothing of the pause.
    simulator.account.activity_rate_limit = RateLimit(requests=10_000, period_s=1.0)
    for email_id in added:
        await queue.make_due(tenant, email_id)

    async def are_all_settled() -> bool:
        return not await queue.fetch(tenant, "SELECT 1 FROM send_queue")

    await stage.deliver(provider, are_all_settled)
    assert len(simulator.messages) == len(added)
    rows = await queue.fetch(tenant, "SELECT DISTINCT status FROM recipients")
    assert [row["status"] for row in rows] == ["sent"]


async def test_feed_that_is_down_is_waited_for(
    stage: Stage, simulator: SendGridSimulator, provider: Asked, tenant: SeededTenant
) -> None:
    simulator.faults.replace(replace(TAKEN_IN_SILENCE, times=1))
    simulator.account.is_activity_down = True
    (email_id,) = await stage.queue.add(tenant)

    async def is_found_once_the_feed_is_back() -> bool:
        simulator.account.is_activity_down = provider.asked < 3
        return await stage.is_in(tenant, email_id, None)

    # Also where it would be too late for somebody whom the feed does not know.
    await stage.deliver(provider, is_found_once_the_feed_is_back, waits=HASTY)
    assert await stage.attempts(tenant, email_id) == [SILENT, FOUND]
    assert len(simulator.messages) == 1


async def test_feed_that_stays_down_is_not_waited_for_without_end(
    stage: Stage, simulator: SendGridSimulator, provider: Asked, tenant: SeededTenant
) -> None:
    simulator.faults.replace(replace(LOST_IN_SILENCE, times=1))
    simulator.account.is_activity_down = True
    (email_id,) = await stage.queue.add(tenant)
    waits = replace(PATIENT, patience_s=0.0)
    await stage.deliver(provider, lambda: stage.is_in(tenant, email_id, None), waits=waits)
    assert await stage.attempts(tenant, email_id) == [SILENT, NOT_FOUND, RESENT]
    assert await stage.details(tenant, email_id) == [
        "the provider was asked and did not tell in time"
    ]
    # It stays listed as one that may come twice.
    assert "email.unconfirmed" in await stage.queue.events(tenant, email_id)


async def test_account_without_the_feed_leaves_its_emails_to_their_streams(
    stage: Stage, simulator: SendGridSimulator, provider: Asked, tenant: SeededTenant
) -> None:
    simulator.faults.replace(replace(LOST_IN_SILENCE, times=2))
    simulator.account.has_activity = False
    (held,) = await stage.queue.add_bulk(tenant)
    (resent,) = await stage.queue.add(tenant)

    async def is_done() -> bool:
        is_parked = await stage.is_in(tenant, held, "ambiguous")
        return is_parked and await stage.is_in(tenant, resent, None)

    await stage.deliver(provider, is_done)
    assert await stage.attempts(tenant, held) == [SILENT, NOT_FOUND]
    assert await stage.attempts(tenant, resent) == [SILENT, NOT_FOUND, RESENT]
    for email_id in (held, resent):
        (detail,) = await stage.details(tenant, email_id)
        assert "status 403" in detail


@pytest.mark.parametrize("is_there", [True, False])
async def test_account_that_cannot_be_asked_any_more_leaves_its_emails_to_their_streams(
    stage: Stage,
    simulator: SendGridSimulator,
    provider: Asked,
    tenant: SeededTenant,
    *,
    is_there: bool,
) -> None:
    queue = stage.queue
    simulator.faults.replace(LOST_IN_SILENCE)
    (held,) = await queue.add_bulk(tenant)
    (resent,) = await queue.add(tenant)
    await stage.fall_silent(provider, tenant, held, resent)
    another = FakeProvider()
    if is_there:
        another.account = provider.account

    async def is_done() -> bool:
        is_parked = await stage.is_in(tenant, held, "ambiguous")
        return is_parked and await stage.is_in(tenant, resent, None)

    await stage.deliver(another, is_done)
    assert await stage.attempts(tenant, held) == [SILENT, NOT_FOUND]
    assert await stage.attempts(tenant, resent) == [SILENT, NOT_FOUND, ("final", "accepted", 2)]
    assert "cannot be asked any more" in (await stage.details(tenant, held))[0]


async def test_one_tenants_email_is_no_proof_for_anothers_to_the_same_address(
    stage: Stage,
    simulator: SendGridSimulator,
    provider: Asked,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
) -> None:
    (theirs,) = await stage.queue.add_bulk(other_tenant, to=["ada@r.test"])
    await stage.deliver(provider, lambda: stage.is_in(other_tenant, theirs, None))
    simulator.faults.replace(replace(LOST_IN_SILENCE, times=1))
    (ours,) = await stage.queue.add_bulk(tenant, to=["ada@r.test"])
    await stage.deliver(provider, lambda: stage.is_in(tenant, ours, "ambiguous"), waits=HASTY)
    assert (await stage.queue.statuses(tenant, ours))["ada"] == "unconfirmed"
    assert await stage.queue.billed(tenant, ours) == 0
    assert await stage.attempts(other_tenant, theirs) == [("http", "accepted", 1)]
    assert (
        await stage.queue.fetch(other_tenant, "SELECT 1 FROM attempts WHERE phase='lookup'") == []
    )


async def test_after_the_last_attempt_a_look_up_in_vain_leaves_the_email_to_a_person(
    stage: Stage, simulator: SendGridSimulator, provider: Asked, tenant: SeededTenant
) -> None:
    simulator.faults.replace(LOST_IN_SILENCE)
    (email_id,) = await stage.queue.add(tenant)
    await stage.deliver(provider, lambda: stage.is_in(tenant, email_id, "ambiguous"), waits=HASTY)
    # Three retries are the policy of these tests.
    assert await stage.attempts(tenant, email_id) == [
        (phase, "ambiguous", number) for number in (1, 2, 3, 4) for phase in ("http", "lookup")
    ]


async def test_after_the_last_attempt_an_email_is_still_found(
    stage: Stage, simulator: SendGridSimulator, provider: Asked, tenant: SeededTenant
) -> None:
    simulator.faults.replace(replace(LOST_IN_SILENCE, times=3), TAKEN_IN_SILENCE)
    (email_id,) = await stage.queue.add(tenant)
    await stage.deliver(provider, lambda: stage.is_in(tenant, email_id, None), waits=HASTY)
    assert (await stage.attempts(tenant, email_id))[-2:] == [
        ("http", "ambiguous", 4),
        ("lookup", "accepted", 4),
    ]
    assert len(simulator.messages) == 1


async def test_held_email_is_looked_up_once_it_is_held_no_longer(
    stage: Stage, simulator: SendGridSimulator, provider: Asked, tenant: SeededTenant
) -> None:
    queue = stage.queue
    simulator.faults.replace(replace(TAKEN_IN_SILENCE, times=1))
    (email_id,) = await queue.add(tenant)

    async def is_silent() -> bool:
        return bool(await queue.fetch(tenant, "SELECT 1 FROM send_queue WHERE due_at > now()"))

    await stage.deliver(provider, is_silent, waits=replace(PATIENT, first_s=EVER_S))
    await _set_tenant_status(queue, tenant, "suspended")
    await queue.make_due(tenant, email_id)
    await stage.deliver(provider, lambda: stage.is_in(tenant, email_id, "held"))
    assert provider.asked == 0
    await _set_tenant_status(queue, tenant, "active")
    await release_held(queue.pool)
    await stage.deliver(provider, lambda: stage.is_in(tenant, email_id, None))
    assert await stage.attempts(tenant, email_id) == [SILENT, FOUND]
    assert len(simulator.messages) == 1


async def _set_tenant_status(queue: Harness, owner: SeededTenant, status: str) -> None:
    async with queue.database.session("tp_cli", owner.id) as session:
        await session.execute(text("UPDATE tenants SET status = :status"), {"status": status})


def _look_ups(result: str) -> float:
    labels = {"provider": "sendgrid", "result": result}
    return metrics.REGISTRY.get_sample_value("tallypost_look_ups_total", labels) or 0.0
