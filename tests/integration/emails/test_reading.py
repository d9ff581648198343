"""Reading back: one's own emails of one mode, page by page, and nothing of anybody else."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from tallypost_core.ids import new_id
from tallypost_domain.emails.errors import EmailNotFound
from tallypost_domain.emails.service import (
    MAX_PAGE,
    get_email,
    list_attempts,
    list_emails,
    list_events,
)
from tallypost_domain.emails.types import Tag
from tallypost_domain.queue.loading import load_content
from tallypost_providers.types import Mode
from tests.integration.queue.harness import Harness, open_harness
from tests.support.database import Database, SeededTenant


@pytest.fixture
async def queue(database: Database, tmp_path: Path) -> AsyncIterator[Harness]:
    """A queue of this test alone."""
    async with open_harness(database, tmp_path) as harness:
        yield harness


async def _page(
    queue: Harness, tenant: SeededTenant, limit: int, mode: Mode = "live", **bounds: UUID
) -> tuple[list[UUID], bool]:
    async with queue.database.session("tp_api", tenant.id) as session:
        page = await list_emails(session, tenant.id, mode, limit=limit, **bounds)
    assert all(view.html is None and view.recipients == () for view in page.items)
    return [view.id for view in page.items], page.has_more


async def test_email_is_read_back_as_it_was_written(queue: Harness, tenant: SeededTenant) -> None:
    (email_id,) = await queue.add(
        tenant,
        from_="Zoë <hello@example.com>",
        to=["Ada <a@r.test>", "b@r.test"],
        cc="c@r.test",
        bcc="D <d@r.test>",
        reply_to=["e@r.test"],
        subject="Grüße",
        html="<p>😀</p>",
        text="Hallo",
        tags=[{"name": "a", "value": "b"}],
    )
    async with queue.database.session("tp_api", tenant.id) as session:
        view = await get_email(session, tenant.id, "live", email_id)
    assert view.message_id == f"<{email_id}@example.com>"
    assert (view.from_header, view.to, view.cc, view.bcc, view.reply_to) == (
        "Zoë <hello@example.com>",
        ("Ada <a@r.test>", "b@r.test"),
        ("c@r.test",),
        ("D <d@r.test>",),
        ("e@r.test",),
    )
    assert (view.subject, view.html, view.text) == ("Grüße", "<p>😀</p>", "Hallo")
    assert (view.status, view.last_event, view.stream) == ("queued", "queued", "transactional")
    assert (view.tags, view.scheduled_at) == ((Tag("a", "b"),), None)
    assert [(to.kind, to.address, to.status) for to in view.recipients] == [
        ("to", "a@r.test", "queued"),
        ("to", "b@r.test", "queued"),
        ("cc", "c@r.test", "queued"),
        ("bcc", "d@r.test", "queued"),
    ]


async def test_every_character_that_is_let_through_comes_back(
    queue: Harness, tenant: SeededTenant
) -> None:
    everything = "".join(chr(code) for code in range(1, 0x110000) if not 0xD800 <= code <= 0xDFFF)
    for_headers = [
        char
        for char in everything[:0x10000]
        if not (char < " " and char != "\t") and char not in "\x7f\u2028\u2029"
        if not "\x80" <= char <= "\x9f"
    ]
    # A part of each kind, as a name and a subject can hold no more.
    words = "".join(for_headers[::80])[:900]
    (email_id,) = await queue.add(
        tenant,
        to=f'"{words.replace(chr(92), "").replace(chr(34), "")}" <a@r.test>',
        subject=words,
        html=everything,
        text=everything,
        headers={"X-A": words},
        attachments=[{"filename": words[:255], "content": ""}],
    )
    async with queue.database.session("tp_api", tenant.id) as session:
        view = await get_email(session, tenant.id, "live", email_id)
    assert (view.subject, view.html, view.text) == (words, everything, everything)
    (claim,) = await queue.claim(await queue.start_worker(), tenant)
    (email,) = await queue.load(claim)
    assert email.headers == {"X-A": words}
    content = await load_content(queue.pool, claim)
    assert content.attachments[0].filename == words[:255]
    assert content.html == everything


async def test_email_of_another_tenant_or_mode_is_not_found(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add(tenant)
    (sandbox_id,) = await queue.add(tenant, mode="test")
    for owner, wanted, mode in (
        (other_tenant, email_id, "live"),
        (tenant, sandbox_id, "live"),
        (tenant, email_id, "test"),
        (tenant, new_id(), "live"),
    ):
        async with queue.database.session("tp_api", owner.id) as session:
            with pytest.raises(EmailNotFound):
                await get_email(session, owner.id, "test" if mode == "test" else "live", wanted)
    # The console's role reads a timeline too.
    async with queue.database.session("tp_console", other_tenant.id) as session:
        with pytest.raises(EmailNotFound):
            await get_email(session, tenant.id, "live", email_id)
        assert await list_events(session, tenant.id, email_id) == ()
        assert await list_attempts(session, tenant.id, email_id) == ()


async def test_pages_lead_to_the_end_and_back_without_gap_or_repeat(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    newest_first = sorted(await queue.add(tenant, 25), reverse=True)
    await queue.add(other_tenant, 3)
    await queue.add(tenant, 3, mode="test")
    seen, has_more = await _page(queue, tenant, 10)
    while has_more:
        page, has_more = await _page(queue, tenant, 10, after=seen[-1])
        seen += page
    assert seen == newest_first
    assert await _page(queue, tenant, 25) == (newest_first, False)
    assert await _page(queue, tenant, 24) == (newest_first[:24], True)
    assert await _page(queue, tenant, 10, after=newest_first[-1]) == ([], False)
    # Back again: what is newer than an id, next to it first, shown newest first.
    assert await _page(queue, tenant, 10, before=newest_first[20]) == (newest_first[10:20], True)
    assert await _page(queue, tenant, 10, before=newest_first[10]) == (newest_first[:10], False)
    assert await _page(queue, tenant, 10, before=newest_first[0]) == ([], False)


async def test_cursor_of_another_tenant_opens_nothing(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    own = sorted(await queue.add(tenant, 2), reverse=True)
    (foreign,) = await queue.add(other_tenant)
    assert await _page(queue, tenant, 10, after=foreign) == (own, False)
    assert await _page(queue, other_tenant, 10, before=own[0]) == ([foreign], False)


async def test_page_has_at_most_a_hundred(queue: Harness, tenant: SeededTenant) -> None:
    await queue.add(tenant, 60)
    await queue.add(tenant, 50)
    page, has_more = await _page(queue, tenant, 1000)
    assert (len(page), has_more) == (MAX_PAGE, True)


async def test_timeline_tells_attempts_and_events_first_to_last(
    queue: Harness, tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add(tenant)
    worker = await queue.start_worker()
    for outcome in ("deferred", "accepted"):
        await queue.make_due(tenant, email_id)
        (claim,) = await queue.hand_over(worker, tenant)
        await queue.record(worker, await queue.settle(worker, claim, outcome))
    async with queue.database.session("tp_console", tenant.id) as session:
        attempts = await list_attempts(session, tenant.id, email_id)
        events = await list_events(session, tenant.id, email_id)
        view = await get_email(session, tenant.id, "live", email_id)
    assert [(a.attempt, a.outcome, a.phase, a.is_late) for a in attempts] == [
        (1, "deferred", "final", False),
        (2, "accepted", "final", False),
    ]
    assert [event.type for event in events] == ["email.queued", "email.deferred", "email.sent"]
    assert events[2].data["attempt_id"] == str(attempts[1].id)
    assert events[2].recipient_id == view.recipients[0].id
    assert view.recipients[0].detail == "words of the peer"
