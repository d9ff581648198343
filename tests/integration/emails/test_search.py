"""Searching: by each term and by several, page by page both ways, and nothing of anybody else."""

import datetime as dt
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest
from msgspec.structs import replace
from sqlalchemy.exc import DBAPIError

from tallypost_core.ids import new_id
from tallypost_domain.emails import search
from tallypost_domain.emails.id_times import time_of
from tallypost_domain.emails.lifecycle import RecipientStatus
from tallypost_domain.emails.search import FoundPage, find_emails
from tallypost_domain.emails.search_terms import STATUS_WORDS, EmailFilter, parse_search
from tallypost_domain.emails.service import MAX_PAGE, list_emails
from tallypost_domain.emails.types import Tag
from tallypost_providers.types import Mode
from tests.integration.emails.every_status import (
    BLOCKED,
    add_every_status,
    add_with_outcome,
    report,
)
from tests.integration.queue.harness import Harness, open_harness
from tests.support.database import Database, SeededTenant


@pytest.fixture
async def queue(database: Database, tmp_path: Path) -> AsyncIterator[Harness]:
    """A queue of this test alone."""
    async with open_harness(database, tmp_path) as harness:
        yield harness


async def _find(
    queue: Harness,
    tenant: SeededTenant,
    wanted: str | EmailFilter,
    *,
    mode: Mode = "live",
    limit: int = MAX_PAGE,
    **bounds: UUID | None,
) -> FoundPage:
    if isinstance(wanted, str):
        wanted = parse_search(wanted)
    async with queue.database.session("tp_console", tenant.id) as session:
        return await find_emails(session, tenant.id, mode, wanted, limit=limit, **bounds)


async def _ids(
    queue: Harness, tenant: SeededTenant, wanted: str | EmailFilter, mode: Mode = "live"
) -> set[UUID]:
    page = await _find(queue, tenant, wanted, mode=mode)
    assert not page.has_more
    assert page.searched_back_to is None
    found = [view.id for view in page.items]
    assert found == sorted(found, reverse=True)
    return set(found)


async def test_each_status_is_found_by_its_word(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    by_status = await add_every_status(queue, tenant)
    for word, statuses in STATUS_WORDS.items():
        expected = {by_status[status] for status in statuses}
        assert await _ids(queue, tenant, f"status:{word}") == expected, word
        assert await _ids(queue, tenant, f"status:{word}", "test") == set()
        assert await _ids(queue, other_tenant, f"status:{word}") == set()
    mixed = "status:bounced status:scheduled status:failed"
    assert await _ids(queue, tenant, mixed) == {
        by_status[status] for status in ("bounced", "scheduled", "failed")
    }
    assert await _ids(queue, tenant, f"{mixed} status:sent") == {
        by_status[status] for status in ("bounced", "scheduled", "failed", "sent")
    }


async def test_email_is_found_by_its_present_status_only(
    queue: Harness, tenant: SeededTenant
) -> None:
    email_id = await add_with_outcome(queue, tenant, "rejected", to=["a@r.test", "b@r.test"])
    assert await _ids(queue, tenant, "status:bounced") == {email_id}
    await report(queue, tenant, email_id, "complained")
    assert await _ids(queue, tenant, "status:bounced") == set()
    assert await _ids(queue, tenant, "status:complained") == {email_id}


async def test_email_whose_recipients_differ_is_found_by_what_it_shows(
    queue: Harness, tenant: SeededTenant
) -> None:
    await add_every_status(queue, tenant)
    queued = await _ids(queue, tenant, "status:queued")
    (partly_blocked,) = await queue.add(tenant, to=["a@r.test", BLOCKED])
    assert await _ids(queue, tenant, "status:queued") == {*queued, partly_blocked}
    assert partly_blocked not in await _ids(queue, tenant, "status:suppressed")
    worker = await queue.start_worker()
    for claim in await queue.hand_over(worker, tenant):
        await queue.record(worker, await queue.settle(worker, claim, "accepted"))
    before = await _ids(queue, tenant, "status:bounced status:deferred")
    half = await add_with_outcome(
        queue, tenant, "rejected", to=["a@r.test", "b@r.test"], by={"a": "deferred"}
    )
    assert await _ids(queue, tenant, "status:deferred status:bounced") == {*before, half}
    assert half in await _ids(queue, tenant, "status:deferred")
    assert half not in await _ids(queue, tenant, "status:bounced")


async def test_recipient_is_found_in_every_field_and_in_any_case(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    (to,) = await queue.add(tenant, to=["x@r.test", "Ada <Ada.L@R.test>"])
    (cc,) = await queue.add(tenant, cc="ada.l@r.test")
    (bcc,) = await queue.add(tenant, bcc="ADA.L@r.test")
    await queue.add(tenant, to="xada.l@r.test")
    await queue.add(other_tenant, to="ada.l@r.test")
    (sandbox,) = await queue.add(tenant, mode="test", to="ada.l@r.test")
    for line in ("to:ada.l@r.test", "ADA.L@R.TEST", 'to:"Ada <ada.l@r.test>"'):
        assert await _ids(queue, tenant, line) == {to, cc, bcc}
    assert await _ids(queue, tenant, "to:ada.l@r.test", "test") == {sandbox}
    assert await _ids(queue, tenant, "to:nobody@r.test") == set()


async def test_lookup_of_recipients_answers_for_the_open_tenant_only(
    queue: Harness, tenant: SeededTenant
) -> None:
    await queue.add(tenant, to="a@r.test")
    call = "SELECT find_emails_to('a@r.test', 'live', $1, $2, false, 10)"
    bounds = (UUID(int=0), UUID(int=2**128 - 1))
    async with queue.database.connect("tp_console") as connection:
        assert await connection.fetch(call, *bounds) == []


async def test_each_other_term_narrows(queue: Harness, tenant: SeededTenant) -> None:
    (plain,) = await queue.add(tenant, subject="Your receipt")
    (bulk,) = await queue.add_bulk(tenant, subject="Winter news")
    (tagged,) = await queue.add(
        tenant,
        from_="Zoë <News@example.com>",
        subject="Welcome, ada!",
        tags=[{"name": "campaign", "value": "welcome"}, {"name": "part", "value": "1"}],
    )
    everything = {plain, bulk, tagged}
    for line, expected in {
        "": everything,
        str(plain): {plain},
        f"id:{plain} status:queued": {plain},
        f"id:{plain} status:bounced": set(),
        str(new_id()): set(),
        "stream:bulk": {bulk},
        "stream:transactional": {plain, tagged},
        "from:news@example.com": {tagged},
        "from:hello@example.com": {plain, bulk},
        f"key:{tenant.live_key.id}": everything,
        f"key:{tenant.test_key.id}": set(),
        "tag:campaign=welcome": {tagged},
        "tag:campaign=welcome tag:part=1": {tagged},
        "tag:campaign=welcome tag:part=2": set(),
        "tag:campaign=1": set(),
        "receipt": {plain},
        "YOUR RECEIPT": {plain},
        "receipt your": {plain},
        '"receipt your"': set(),
        "welcome tag:campaign=welcome from:news@example.com to:first@recipient.test": {tagged},
        "winter stream:bulk status:queued": {bulk},
        "winter stream:transactional": set(),
    }.items():
        assert await _ids(queue, tenant, line) == expected, line


@pytest.mark.parametrize(
    ("holds", "fails"),
    [
        ("to:ada@r.test", "to:first@recipient.test"),
        ("from:news@example.com", "from:hello@example.com"),
        ("status:queued", "status:sent"),
        ("status:queued", "status:bounced"),
        ("stream:bulk", "stream:transactional"),
        ("tag:campaign=welcome", "tag:campaign=other"),
        ("winter", "summer"),
        ("after:2020-01-01", "before:2020-01-01"),
        ("before:2999-01-01", "after:2999-01-01"),
    ],
)
async def test_id_is_narrowed_by_every_other_term(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant, holds: str, fails: str
) -> None:
    (email_id,) = await queue.add_bulk(
        tenant,
        to="ada@r.test",
        from_="News <news@example.com>",
        subject="Winter news",
        tags=[{"name": "campaign", "value": "welcome"}],
    )
    await queue.add(tenant)
    await queue.add(tenant, to="ada@r.test")
    assert await _ids(queue, tenant, f"id:{email_id} {holds}") == {email_id}
    assert await _ids(queue, tenant, f"id:{email_id} {fails}") == set()
    assert await _ids(queue, other_tenant, f"id:{email_id} {holds}") == set()


@pytest.mark.parametrize(
    ("subject", "word", "other"),
    [
        pytest.param("100% off", "0% o", "100 off", id="percent"),
        pytest.param("a_b", "a_b", "axb", id="underscore"),
        pytest.param("a\\b", "\\", "ab", id="backslash"),
        pytest.param('it\'s "so"', "'s \"s", "its so", id="quotes"),
        pytest.param("Grüße 😀", "GRÜßE 😀", "Grusse", id="other scripts"),
        pytest.param("(a|b)*", "(A|B)*", "a", id="signs of patterns"),
        pytest.param("a'; DROP TABLE emails; --", "'; drop", "drop", id="SQL"),
    ],
)
async def test_every_character_of_a_word_counts_as_it_is(
    queue: Harness, tenant: SeededTenant, subject: str, word: str, other: str
) -> None:
    (found,) = await queue.add(tenant, subject=subject)
    await queue.add(tenant, subject=other)
    assert await _ids(queue, tenant, EmailFilter(words=(word,))) == {found}


@pytest.mark.parametrize(
    "wanted",
    [
        pytest.param(EmailFilter(stream="it's 100%_\\"), id="stream"),
        pytest.param(EmailFilter(tags=(Tag('a"b', "c'd\\"),)), id="tag"),
        pytest.param(EmailFilter(recipient="o'x%_\\@r.test"), id="recipient"),
        pytest.param(EmailFilter(sender="o'x%_\\@r.test"), id="sender"),
    ],
)
async def test_strange_values_find_nothing_and_break_nothing(
    queue: Harness, tenant: SeededTenant, wanted: EmailFilter
) -> None:
    await queue.add(tenant)
    assert await _ids(queue, tenant, wanted) == set()


async def test_dates_bound_what_is_found(queue: Harness, tenant: SeededTenant) -> None:
    (email_id,) = await queue.add(tenant, to="a@r.test")
    moment = time_of(email_id)
    later = moment + dt.timedelta(milliseconds=1)
    for wanted in (
        EmailFilter(),
        EmailFilter(words=("subject",)),
        EmailFilter(recipient="a@r.test"),
        EmailFilter(statuses=(RecipientStatus.QUEUED,)),
        EmailFilter(email_id=email_id),
    ):
        for since, until, is_found in (
            (moment, later, True),
            (later, None, False),
            (None, moment, False),
            (None, later, True),
        ):
            bounded = replace(wanted, since=since, until=until)
            found = await _ids(queue, tenant, bounded)
            assert found == ({email_id} if is_found else set()), bounded


@pytest.mark.parametrize(
    "line", ["", "sample", "to:a@r.test", "status:queued", "status:suppressed"]
)
async def test_pages_lead_to_the_end_and_back_without_gap_or_repeat(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant, line: str
) -> None:
    await add_every_status(queue, other_tenant)
    await add_every_status(queue, tenant, "test")
    await add_every_status(queue, tenant)
    added: list[UUID] = []
    for _ in range(25):
        is_blocked = line == "status:suppressed"
        to = BLOCKED if is_blocked else "a@r.test"
        added += await queue.add(tenant, to=to, subject="A sample")
        await queue.add(tenant, mode="test", to=to, subject="A sample")
    expected = sorted(await _ids(queue, tenant, line), reverse=True)
    assert set(expected) >= set(added)
    seen = await _walk(queue, tenant, line, limit=4)
    assert seen == expected
    for start in (20, 10, 3, 0):
        page = await _find(queue, tenant, line, limit=7, before=expected[start])
        assert [view.id for view in page.items] == expected[max(0, start - 7) : start]
        assert page.has_more == (start > 7)
    # As the list that the API gives.
    if not line:
        async with queue.database.session("tp_console", tenant.id) as session:
            listed = await list_emails(session, tenant.id, "live", limit=MAX_PAGE)
        assert [view.id for view in listed.items] == expected


async def _walk(queue: Harness, tenant: SeededTenant, line: str, *, limit: int) -> list[UUID]:
    """All pages, newest first, also those that a search gave up on before they were full."""
    seen: list[UUID] = []
    after: UUID | None = None
    while True:
        page = await _find(queue, tenant, line, limit=limit, after=after)
        seen += [view.id for view in page.items]
        if page.has_more:
            after = seen[-1]
        elif page.continue_after is not None:
            after = page.continue_after
        else:
            return seen


@pytest.mark.parametrize("line", ["odd", "to:a@r.test odd", "status:queued odd"])
async def test_search_that_gives_up_says_where_and_goes_on_from_there(
    queue: Harness, tenant: SeededTenant, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    monkeypatch.setattr(search, "MOST_SCANNED", 10)
    monkeypatch.setattr(search, "MOST_LOOKED_UP", 10)
    oldest_first: list[UUID] = []
    for number in range(30):
        subject = "odd" if number in (2, 3, 28) else "even"
        oldest_first += await queue.add(tenant, to="a@r.test", subject=subject)
    expected = [oldest_first[number] for number in (28, 3, 2)]
    page = await _find(queue, tenant, line, limit=5)
    assert [view.id for view in page.items] == expected[:1]
    assert not page.has_more
    assert page.continue_after is not None
    assert oldest_first[19] < page.continue_after <= oldest_first[20]
    assert page.searched_back_to == time_of(page.continue_after)
    assert await _walk(queue, tenant, line, limit=5) == expected
    # And upward, from the oldest.
    page = await _find(queue, tenant, line, limit=5, before=oldest_first[4])
    assert page.items == ()
    assert not page.has_more
    assert page.continue_before is not None
    page = await _find(queue, tenant, line, limit=5, before=oldest_first[18])
    assert [view.id for view in page.items] == [oldest_first[28]]
    # Where the page is full, or everything was seen, there is nothing to go on with.
    page = await _find(queue, tenant, line, limit=1, after=oldest_first[5])
    assert page.has_more
    assert page.continue_after is None
    page = await _find(queue, tenant, line, limit=5, after=oldest_first[10])
    assert [view.id for view in page.items] == expected[1:]
    assert page.searched_back_to is None


@pytest.mark.parametrize("status", ["deferred", "unconfirmed", "held"])
async def test_email_that_was_tried_is_found_behind_many_that_were_not(
    queue: Harness, tenant: SeededTenant, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    by_status = await add_every_status(queue, tenant)
    await queue.add(tenant, 20)
    monkeypatch.setattr(search, "MOST_LOOKED_UP", 5)
    assert await _ids(queue, tenant, f"status:{status}") == {by_status[status]}
    monkeypatch.setattr(search, "MOST_SCANNED", 10)
    page = await _find(queue, tenant, f"status:{status}")
    assert page.items == ()
    assert page.continue_after is not None
    assert await _walk(queue, tenant, f"status:{status}", limit=5) == [by_status[status]]


async def test_another_tenants_cursor_and_id_open_nothing(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    (own,) = await queue.add(tenant)
    (foreign,) = await queue.add(other_tenant)
    assert await _ids(queue, tenant, str(foreign)) == set()
    page = await _find(queue, tenant, "", after=foreign)
    assert [view.id for view in page.items] == [own]
    # Even where the caller names a tenant that is not open.
    async with queue.database.session("tp_console", other_tenant.id) as session:
        for line in ("", "to:first@recipient.test", "status:queued", str(own)):
            wanted = parse_search(line)
            found = await find_emails(session, tenant.id, "live", wanted, limit=10)
            assert found.items == ()


async def test_found_email_has_what_a_list_shows(queue: Harness, tenant: SeededTenant) -> None:
    await queue.add(tenant, to=["Ada <a@r.test>", "b@r.test"], cc="c@r.test", subject="Hello")
    for line in ("hello", "to:c@r.test"):
        (view,) = (await _find(queue, tenant, line)).items
        assert (view.to, view.cc, view.subject) == (
            ("Ada <a@r.test>", "b@r.test"),
            ("c@r.test",),
            "Hello",
        )
        assert (view.html, view.recipients, view.status) == (None, (), "queued")


async def test_page_has_at_most_a_hundred(queue: Harness, tenant: SeededTenant) -> None:
    for _ in range(2):
        await queue.add(tenant, 60, to="a@r.test")
    page = await _find(queue, tenant, "to:a@r.test", limit=1000)
    assert (len(page.items), page.has_more) == (MAX_PAGE, True)


async def test_api_may_not_look_recipients_up(queue: Harness, tenant: SeededTenant) -> None:
    async with queue.database.session("tp_api", tenant.id) as session:
        with pytest.raises(DBAPIError, match="permission denied"):
            await find_emails(
                session, tenant.id, "live", EmailFilter(recipient="a@r.test"), limit=1
            )
