"""The message on the page of an email: the ways to look at it, files, and the command."""

import html
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import asyncpg
import httpx
import pytest

from tests.integration.console.mail import accept
from tests.integration.console.reading import links, words
from tests.integration.console.running import Browser
from tests.support.database import Database, SeededTenant

ATTACK = "<script>alert(1)</script><img src=x onerror=alert(2)>"
# Any: fields of a request.
# The owner may read no tenant's rows, but may say who may.
SPOIL_HEADERS = """
    BEGIN;
    ALTER TABLE emails NO FORCE ROW LEVEL SECURITY;
    UPDATE emails SET headers = '{"No header": "x"}';
    ALTER TABLE emails FORCE ROW LEVEL SECURITY;
    COMMIT
"""
LARGE_ATTACHMENT = {"filename": "large.bin", "content": "A" * 400_000}
CONTENTS: dict[str, Any] = {"html": f"<p>Hello</p>{ATTACK}", "text": f"Hello {ATTACK}"}


def shown(page: httpx.Response) -> str:
    """The part with the message."""
    return page.text.split('<section id="message"')[1].partition("</section>")[0]


def command(page: httpx.Response) -> str:
    """What is said around the command that sends it by the API."""
    return words(page.text.split('<details class="command">')[1].partition("</details>")[0])


async def test_preview_shows_the_body_in_a_frame_that_may_do_nothing(
    owner: Browser, database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    (email_id,) = await accept(database, tmp_path, tenant, "Hello", **CONTENTS)
    page = await owner.get(f"/emails/{email_id}")
    assert page.status_code == 200
    (frame,) = re.findall(r"<iframe[^>]*>", page.text)
    assert ' sandbox="" ' in frame
    document = html.unescape(re.findall(r'srcdoc="([^"]*)"', frame)[0])
    assert ATTACK in document
    assert "default-src 'none'" in document
    policy = page.headers["content-security-policy"]
    assert "style-src 'self' 'unsafe-inline'; img-src 'self' data:;" in policy
    assert re.search("; script-src 'nonce-[^' ]{22}'; ", policy)


@pytest.mark.parametrize("tab", ["html", "text", "raw"])
async def test_sources_are_shown_as_text_and_never_as_markup(
    owner: Browser, database: Database, tenant: SeededTenant, tmp_path: Path, tab: str
) -> None:
    (email_id,) = await accept(database, tmp_path, tenant, "Hello", **CONTENTS)
    page = await owner.get(f"/emails/{email_id}?tab={tab}")
    assert page.status_code == 200
    assert "<script>" not in page.text
    assert "<img src=x" not in page.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown(page)


async def test_tab_that_is_open_is_marked_and_the_others_are_links(
    owner: Browser, database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    (email_id,) = await accept(database, tmp_path, tenant, "Hello", **CONTENTS)
    page = await owner.get(f"/emails/{email_id}?tab=text")
    assert re.findall(r'aria-current="true">([^<]+)<', shown(page)) == ["Text"]
    for label in ("Preview", "HTML", "Text", "Headers", "Raw", "Attachments"):
        tab = await owner.get(links(page)[label])
        assert tab.status_code == 200
        assert re.findall(r'aria-current="true">([^<]+)<', shown(tab)) == [label]


@pytest.mark.parametrize("tab", ["preview", "raw"])
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.unlink(), "is not in the object store any more"),
        (lambda path: (path.unlink(), path.symlink_to(path)), "object store does not answer"),
    ],
)
async def test_message_whose_attachment_is_away_leaves_the_page_as_it_is(
    owner: Browser,
    database: Database,
    tenant: SeededTenant,
    tmp_path: Path,
    tab: str,
    spoil: Callable[[Path], object],
    said: str,
) -> None:
    (email_id,) = await accept(
        database, tmp_path, tenant, "Hello", attachments=[LARGE_ATTACHMENT], **CONTENTS
    )
    spoil(tmp_path / str(tenant.id) / str(email_id) / "0")
    page = await owner.get(f"/emails/{email_id}?tab={tab}")
    assert page.status_code == 200
    assert said in words(shown(page))
    assert "It is stored, and a worker will take it." in page.text
    assert "Accepted and queued" in page.text


@pytest.mark.parametrize("tab", ["preview", "headers", "raw"])
async def test_message_that_cannot_be_written_leaves_the_page_as_it_is(
    owner: Browser, database: Database, tenant: SeededTenant, tmp_path: Path, tab: str
) -> None:
    (email_id,) = await accept(database, tmp_path, tenant, "Hello", **CONTENTS)
    link = await asyncpg.connect(database.owner_url)
    try:
        await link.execute(SPOIL_HEADERS)
    finally:
        await link.close()
    page = await owner.get(f"/emails/{email_id}?tab={tab}")
    assert page.status_code == 200
    assert "A header name is reserved or malformed." in words(shown(page))
    assert "It is stored, and a worker will take it." in page.text


async def test_headers_are_those_of_the_message_and_can_be_read(
    owner: Browser, database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    (email_id,) = await accept(
        database, tmp_path, tenant, "Grüße", headers={"X-Order": "<b>17</b>"}
    )
    said = shown(await owner.get(f"/emails/{email_id}?tab=headers"))
    assert "<dt>Subject</dt><dd>Grüße</dd>" in said
    assert "<dt>X-Order</dt><dd>&lt;b&gt;17&lt;/b&gt;</dd>" in said
    assert f"&lt;{email_id}@example.com&gt;" in said


@pytest.mark.parametrize(
    ("tab", "said"),
    [("html", "It has no HTML body."), ("text", "A text"), ("attachments", "It has none.")],
)
async def test_what_an_email_does_not_have_is_said(
    owner: Browser, database: Database, tenant: SeededTenant, tmp_path: Path, tab: str, said: str
) -> None:
    (email_id,) = await accept(database, tmp_path, tenant, "Hello", html=None, text="A text")
    assert said in words(shown(await owner.get(f"/emails/{email_id}?tab={tab}")))


async def test_tab_that_does_not_exist_makes_no_sense(
    owner: Browser, database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    (email_id,) = await accept(database, tmp_path, tenant, "Hello")
    assert (await owner.get(f"/emails/{email_id}?tab=other")).status_code == 400


async def test_attachment_comes_as_a_file_whatever_it_calls_itself(
    owner: Browser, database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    name = 'evil";x="<b>ä.html'
    attachment = {"filename": name, "content": "PGI+aGVsbG88L2I+", "content_type": "text/html"}
    (email_id,) = await accept(database, tmp_path, tenant, "Hello", attachments=[attachment])
    page = await owner.get(f"/emails/{email_id}?tab=attachments")
    assert html.escape(name).replace("&quot;", "&#34;") in page.text
    (path,) = re.findall(rf'href="(/emails/{email_id}/attachments/[^"]+)"', page.text)
    answer = await owner.get(path)
    assert answer.content == b"<b>hello</b>"
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"
    disposition = answer.headers["content-disposition"]
    # A quote in the name does not end it.
    assert re.fullmatch(r"attachment; filename=\"[^\"]*\"; filename\*=UTF-8''[\w%.]+", disposition)
    assert unquote(disposition.rpartition("''")[2]) == name


@pytest.mark.parametrize("index", ["1", "-1", "x", "99999999999999999999"])
async def test_attachment_that_does_not_exist_is_not_found(
    owner: Browser, database: Database, tenant: SeededTenant, tmp_path: Path, index: str
) -> None:
    attachment = {"filename": "a.txt", "content": "aGVsbG8="}
    (email_id,) = await accept(database, tmp_path, tenant, "Hello", attachments=[attachment])
    assert (await owner.get(f"/emails/{email_id}/attachments/{index}")).status_code == 404


async def test_message_comes_as_a_file_as_it_will_be_sent(
    owner: Browser, database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    (email_id,) = await accept(database, tmp_path, tenant, "Hello", **CONTENTS)
    answer = await owner.get(f"/emails/{email_id}/message.eml")
    assert answer.headers["content-type"] == "message/rfc822"
    disposition = answer.headers["content-disposition"]
    assert disposition == f'attachment; filename="{email_id}.eml"'
    assert b"\r\nSubject: Hello\r\n" in answer.content
    assert ATTACK.encode() in answer.content


async def test_command_sends_the_same_by_the_api(
    owner: Browser, database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    (email_id,) = await accept(database, tmp_path, tenant, "It's here", text="Let's go", html=None)
    page = (await owner.get(f"/emails/{email_id}")).text
    command = html.unescape(page.split('<pre id="curl"')[1].split(">", 1)[1].split("</pre>")[0])
    assert command.startswith('curl -X POST "$API/emails"')
    assert "Authorization: Bearer $KEY" in command
    body = json.loads(command.split("-d '")[1].removesuffix("'").replace("'\\''", "'"))
    assert (body["subject"], body["text"]) == ("It's here", "Let's go")
    assert body["to"] == ["first@recipient.test"]


async def test_command_says_what_it_leaves_out(
    owner: Browser, database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    (plain,) = await accept(database, tmp_path, tenant, "Hello", headers={"X-Order": "17"})
    page = await owner.get(f"/emails/{plain}")
    assert "&#34;X-Order&#34;: &#34;17&#34;" in page.text
    assert "left out" not in command(page)
    assert "Send the same by the API" in command(page)
    attachment = {"filename": "a.txt", "content": "aGVsbG8="}
    (less,) = await accept(
        database,
        tmp_path,
        tenant,
        "Hello",
        attachments=[attachment],
        html="x" * 20_001,
        scheduled_at="in 1 day",
    )
    page = await owner.get(f"/emails/{less}")
    assert (
        "Left out: its HTML body, which is longer than 20,000 characters; its attachments; "
        "the time that it was scheduled for." in command(page)
    )
    assert "Send the same" not in command(page)
