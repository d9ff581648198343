"""The Inbox and the page of one message."""

import html
import re
from pathlib import Path

import pytest

from tallypost_console.pages.inbox import PAGE_SIZE
from tallypost_core.ids import new_id
from tests.integration.console.mail import accept, store_message
from tests.integration.console.running import Browser, shown
from tests.support.database import Database, SeededTenant
from tests.support.emails import sandbox_sender

ATTACK = "<p style='color:red'>Hello</p><script>alert(1)</script><form action=/logout method=post>"


def listed(page: str) -> list[str]:
    """Paths of the messages on a page, in its order."""
    return re.findall(r'href="(/inbox/[0-9a-f-]{36})"', page)


async def test_newest_message_comes_first(
    owner: Browser, database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    (email_id,) = await accept(database, tmp_path, tenant, "A subject")
    await store_message(database, email_id, subject="An older one")
    await store_message(database, email_id, subject="=?utf-8?q?Gr=C3=BC=C3=9Fe?=")
    page = (await owner.get("/inbox")).text
    assert page.index("Grüße") < page.index("An older one")
    assert "ada@recipient.test" in page
    assert len(listed(page)) == 2


async def test_modes_can_be_told_apart(
    owner: Browser, database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    (live,) = await accept(database, tmp_path, tenant, "A live one")
    (test,) = await accept(database, tmp_path, tenant, "A test", sender_of=sandbox_sender)
    await store_message(database, live, subject="From live")
    await store_message(database, test, subject="From test")
    for query, subjects in (
        ("", {"From live", "From test"}),
        ("?mode=live", {"From live"}),
        ("?mode=test", {"From test"}),
    ):
        page = (await owner.get(f"/inbox{query}")).text
        assert {subject for subject in ("From live", "From test") if subject in page} == subjects


async def test_pages_lead_to_every_message_once(
    owner: Browser, database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    (email_id,) = await accept(database, tmp_path, tenant, "A subject")
    for _ in range(PAGE_SIZE + 1):
        await store_message(database, email_id)
    first = (await owner.get("/inbox")).text
    (older,) = re.findall(r'rel="next" href="([^"]+)"', first)
    second = (await owner.get(html.unescape(older))).text
    assert (len(listed(first)), len(listed(second))) == (PAGE_SIZE, 1)
    assert not set(listed(first)) & set(listed(second))
    assert 'rel="next"' not in second


async def test_empty_inbox_shows_how_to_fill_it(owner: Browser) -> None:
    page = (await owner.get("/inbox")).text
    assert "The Inbox is empty" in page
    assert "Authorization: Bearer tp_test_" in page


async def test_message_shows_envelope_headers_and_text(
    owner: Browser, database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    (email_id,) = await accept(database, tmp_path, tenant, "A subject")
    await store_message(database, email_id, subject="Hello", body="First line\r\n<b>second</b>")
    (path,) = listed((await owner.get("/inbox")).text)
    page = (await owner.get(path)).text
    for words in (
        "bounces@example.com",
        "ada@recipient.test, bo@recipient.test",
        "X-Tallypost-Email-Id",
        "First line\n&lt;b&gt;second&lt;/b&gt;",
        f'href="/emails/{email_id}"',
    ):
        assert words in page
    assert "<iframe" not in page


async def test_html_body_is_shown_in_a_sandbox_and_nowhere_else(
    owner: Browser, database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    (email_id,) = await accept(database, tmp_path, tenant, "A subject")
    await store_message(database, email_id, content_type="text/html; charset=utf-8", body=ATTACK)
    (path,) = listed((await owner.get("/inbox")).text)
    answer = await owner.get(path)
    (frame,) = re.findall(r"<iframe[^>]*>", answer.text)
    assert ' sandbox="" ' in frame
    document = html.unescape(re.findall(r'srcdoc="([^"]*)"', frame)[0])
    assert document.endswith(ATTACK)
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in document
    assert "<script>" not in answer.text
    assert "<form action=/logout" not in answer.text
    policy = answer.headers["content-security-policy"]
    assert "style-src 'self' 'unsafe-inline'; img-src 'self' data:;" in policy
    assert re.search("; script-src 'nonce-[^' ]{22}'; ", policy)


async def test_download_is_the_message_byte_for_byte(
    owner: Browser, database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    (email_id,) = await accept(database, tmp_path, tenant, "A subject")
    message = await store_message(database, email_id, content_type="text/html", body=ATTACK)
    (path,) = listed((await owner.get("/inbox")).text)
    answer = await owner.get(f"{path}/message.eml")
    assert answer.content == message
    assert answer.headers["content-type"] == "message/rfc822"
    assert answer.headers["content-disposition"].startswith("attachment; ")


@pytest.mark.parametrize("ending", ["", "/message.eml"])
async def test_message_of_another_tenant_is_an_unknown_one(
    owner: Browser,
    other_owner: Browser,
    database: Database,
    other_tenant: SeededTenant,
    tmp_path: Path,
    ending: str,
) -> None:
    (email_id,) = await accept(database, tmp_path, other_tenant, "Not yours")
    await store_message(database, email_id)
    (theirs,) = listed((await other_owner.get("/inbox")).text)
    assert (await other_owner.get(theirs + ending)).status_code == 200
    paths = (theirs, f"/inbox/{new_id()}", "/inbox/no-id")
    answers = [await owner.get(path + ending) for path in paths]
    assert [answer.status_code for answer in answers] == [404, 404, 404]
    assert shown(answers[0]) == shown(answers[1]) == shown(answers[2])
