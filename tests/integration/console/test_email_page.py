"""The page of one email: why it is where it is, what happened, what it looks like."""

import html
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import pytest

from tallypost_core.settings.groups import TracingSettings
from tallypost_telemetry import tracing
from tests.integration.console.mail import accept
from tests.integration.console.reading import links, main, section, words
from tests.integration.console.running import Browser
from tests.integration.emails.every_status import add_every_status, add_with_outcome
from tests.integration.queue.harness import Harness
from tests.integration.queue.people import let_fail
from tests.support.api_server import api_settings, run_api
from tests.support.database import Database, SeededTenant
from tests.support.otlp_sink import otlp_sink

# By status: what the page says, what is next, and what the provider said, where it was asked.
WHY = {
    "queued": ("It is stored, and a worker will take it.", "This takes moments.", ""),
    "scheduled": ("It waits until ", "It is sent by itself.", ""),
    "held": ("It is held:", "as soon as that is mended", ""),
    "deferred": ("asked us to wait", "1 attempt so far", "words of the peer"),
    "unconfirmed": ("It may have arrived", "Ask the recipient", "words of the peer"),
    "sent": ("The provider has taken it", "Nothing is left to do", "words of the peer"),
    "delivered": ("mail server has taken it", "Nothing is left to do", "words of the peer"),
    "bounced": ("refused it for good", "mend it, and send it again", "words of the peer"),
    "complained": ("reported it as spam", "Do not write to this address", "words of the peer"),
    "suppressed": ("is on your suppression list", "taken off the list", ""),
    "failed": ("It was given up", "put it back into the queue", ""),
    "canceled": ("It was canceled", "Send it as new", ""),
}
ATTACK = "<script>alert(1)</script><img src=x onerror=alert(2)>"
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
# Any: fields of a request.
CONTENTS: dict[str, Any] = {"html": f"<p>Hello</p>{ATTACK}", "text": f"Hello {ATTACK}"}


def why(page: httpx.Response) -> str:
    """The card at the top, as it is read."""
    return words(page.text.split('<section class="why')[1].partition("</section>")[0])


def timeline(page: httpx.Response) -> list[str]:
    """What happened, as it is read."""
    listed = page.text.split('<ol class="timeline">')[1].partition("</ol>")[0]
    return [words(step) for step in re.findall(r"<li.*?</li>", listed, re.DOTALL)]


def shown(page: httpx.Response) -> str:
    """The part with the message."""
    return page.text.split('<section id="message"')[1].partition("</section>")[0]


async def test_each_status_says_why_and_what_is_next(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    every = await add_every_status(queue, tenant)
    assert every.keys() == WHY.keys()
    for status, (cause, next_step, evidence) in WHY.items():
        said = why(await owner.get(f"/emails/{every[status]}"))
        assert cause in said, status
        assert next_step in said, status
        assert evidence in said, status


async def test_what_a_person_can_do_is_one_link_away(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    every = await add_every_status(queue, tenant, "test")
    page = await owner.get(f"/emails/{every['failed']}")
    assert links(page)["See the dead letters"] == "/queue/dead-letters?mode=test"
    for status in ("queued", "held", "unconfirmed"):
        page = await owner.get(f"/emails/{every[status]}")
        assert links(page)["See the queue"] == "/queue?mode=test", status


async def test_timeline_tells_every_step_with_the_time_in_between(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add(tenant)
    await let_fail(queue, tenant)
    steps = timeline(await owner.get(f"/emails/{email_id}"))
    titles = ["Accepted and queued", *["Put off; it is tried again"] * 3, "Given up"]
    assert [step.startswith(title) for step, title in zip(steps, titles, strict=True)] == [True] * 5
    assert " +" not in steps[0]
    assert all(" +" in step for step in steps[1:])
    assert "reason attempts_exhausted" in steps[-1]
    assert not any("first@recipient.test" in step for step in steps)


async def test_timeline_of_several_recipients_says_whose_step_it_is(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    email_id = await add_with_outcome(
        queue, tenant, "accepted", to=["ada@r.test", "bo@r.test"], by={"bo": "rejected"}
    )
    steps = timeline(await owner.get(f"/emails/{email_id}"))
    (bounce,) = [step for step in steps if step.startswith("Bounced")]
    assert "bo@r.test" in bounce
    (sent,) = [step for step in steps if step.startswith("Taken by the provider")]
    assert "ada@r.test" in sent


async def test_recipients_stand_with_their_own_status_and_answer(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    email_id = await add_with_outcome(
        queue, tenant, "accepted", to=["ada@r.test"], bcc=["bo@r.test"], by={"bo": "rejected"}
    )
    said = section(await owner.get(f"/emails/{email_id}"), "recipients")
    assert "Sent ada@r.test To words of the peer" in said
    assert "Bounced bo@r.test Bcc words of the peer" in said


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
        tab = await owner.get(f"/emails/{email_id}{links(page)[label]}")
        assert tab.status_code == 200
        assert re.findall(r'aria-current="true">([^<]+)<', shown(tab)) == [label]


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


async def test_email_of_a_trace_names_it(
    owner: Browser, database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    headers = {
        "authorization": f"Bearer {tenant.live_key.token}",
        "traceparent": f"00-{TRACE_ID}-b7ad6b7169203331-01",
    }
    body = {"from": "hello@example.com", "to": "ada@r.test", "subject": "Hello", "text": "Hello"}
    with otlp_sink() as collector:
        settings = TracingSettings(endpoint=collector.url, sample_ratio=1.0)
        with tracing.running(settings, "test"), run_api(api_settings(database, tmp_path)) as api:
            async with httpx.AsyncClient(base_url=api.url, headers=headers) as program:
                traced = (await program.post("/emails", json=body)).json()["id"]
    assert f"Trace id {TRACE_ID}" in section(await owner.get(f"/emails/{traced}"), "fields")
    (plain,) = await accept(database, tmp_path, tenant, "Without a trace")
    assert "Trace id" not in main(await owner.get(f"/emails/{plain}"))


@pytest.mark.parametrize(
    "ending", ["", "/live", "/message.eml", "/attachments/0", "?tab=raw", "?tab=headers"]
)
async def test_everything_about_an_email_of_another_tenant_is_not_found(
    owner: Browser,
    other_owner: Browser,
    database: Database,
    other_tenant: SeededTenant,
    tmp_path: Path,
    ending: str,
) -> None:
    attachment = {"filename": "a.txt", "content": "aGVsbG8="}
    (theirs,) = await accept(
        database, tmp_path, other_tenant, "Not yours", attachments=[attachment]
    )
    if ending != "/live":
        assert (await other_owner.get(f"/emails/{theirs}{ending}")).status_code == 200
    answer = await owner.get(f"/emails/{theirs}{ending}")
    assert answer.status_code == 404
    assert "Not yours" not in answer.text
