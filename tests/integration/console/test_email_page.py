"""The page of one email: why it is where it is, what happened, what it looks like."""

import re
from pathlib import Path

import httpx
import pytest
from msgspec.structs import replace

from tallypost_core.settings.groups import TracingSettings
from tallypost_providers.look_ups import FoundMessage
from tallypost_telemetry import tracing
from tallypost_worker.settlements import given_up, looked_up
from tests.integration.console.following import follow
from tests.integration.console.mail import accept
from tests.integration.console.reading import links, listed, main, section, words
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
    "unconfirmed": ("It may have arrived", "It is sent again by itself", "words of the peer"),
    "sent": ("The provider has taken it", "Nothing is left to do", "words of the peer"),
    "delivered": ("mail server has taken it", "Nothing is left to do", "words of the peer"),
    "bounced": ("refused it for good", "mend it, and send it again", "words of the peer"),
    "complained": ("reported it as spam", "Do not write to this address", "words of the peer"),
    "suppressed": ("is on your suppression list", "taken off the list", ""),
    "failed": ("It was given up", "put it back into the queue", ""),
    "canceled": ("It was canceled", "Send it as new", ""),
}
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


def why(page: httpx.Response) -> str:
    """The card at the top, as it is read."""
    return words(page.text.split('<section class="why')[1].partition("</section>")[0])


def timeline(page: httpx.Response) -> list[str]:
    """What happened, as it is read."""
    steps = page.text.split('<ol class="timeline">')[1].partition("</ol>")[0]
    return [words(step) for step in re.findall(r"<li.*?</li>", steps, re.DOTALL)]


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
    letters = f"/queue/dead-letters?mode=test&email={every['failed']}"
    for status, label, href in (
        ("queued", "See the queue", "/queue?mode=test"),
        ("held", "See what is held", "/queue?mode=test&only=held"),
        ("failed", "See the dead letters", letters),
        ("bounced", "Resend as new", "#resend"),
        ("canceled", "Resend as new", "#resend"),
    ):
        page = await owner.get(f"/emails/{every[status]}")
        assert links(page)[label] == href, status
        if not href.startswith("#"):
            assert (await owner.get(href)).status_code == 200
    assert re.search(r'<form[^>]* id="resend"', page.text)
    assert len(listed(await owner.get(letters))) == 1


async def test_parked_email_leads_to_where_a_person_decides(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add_bulk(tenant)
    worker = await queue.start_worker()
    for claim in await queue.hand_over(worker, tenant, lane="bulk"):
        await queue.record(worker, await queue.settle(worker, claim, "ambiguous"))
    page = await owner.get(f"/emails/{email_id}")
    assert "Ask the recipient" in why(page)
    href = links(page)["Decide"]
    assert href is not None
    assert listed(await owner.get(href)) == [email_id]


async def test_whoever_may_not_send_is_led_to_no_form(
    owner: Browser, viewer: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    email_id = await add_with_outcome(queue, tenant, "rejected")
    path = f"/emails/{email_id}"
    assert "#resend" in (await owner.get(path)).text
    assert "#resend" not in (await viewer.get(path)).text
    for browser, may_send in ((owner, True), (viewer, False)):
        async with follow(browser, f"{path}/live", last_id="another") as stream:
            message = await stream.next()
            assert message is not None
            assert ("#resend" in message.data) == may_send


async def test_email_that_was_given_up_says_for_which_reason(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    (tried,) = await queue.add(tenant)
    await let_fail(queue, tenant)
    assert "given up after 3 attempts" in why(await owner.get(f"/emails/{tried}"))
    (unsent,) = await queue.add(tenant)
    worker = await queue.start_worker()
    (claim,) = await queue.claim(worker, tenant)
    (loaded,) = await queue.load(claim)
    await queue.record(worker, given_up(loaded, claim, worker, "attachment_missing"))
    said = why(await owner.get(f"/emails/{unsent}"))
    assert "not in the object store any more" in said
    assert "attempt" not in said


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


async def test_email_that_is_looked_up_says_so_before_and_after(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add_bulk(tenant)
    worker = await queue.start_worker()
    (claim,) = await queue.hand_over(worker, tenant, lane="bulk")
    silent = await queue.settle(worker, claim, "ambiguous", first="ambiguous")
    assert silent.attempt is not None
    planned = replace(
        silent.attempt, provider="sendgrid", account="sendgrid", evidence={"look_up": "planned"}
    )
    await queue.record(worker, replace(silent, attempt=planned, look_up_in_s=0.0))
    path = f"/emails/{email_id}"
    assert "It waits to be looked up at SendGrid." in why(await owner.get(path))

    (claim,) = await queue.claim(worker, tenant, lane="bulk")
    (email,) = await queue.load(claim)
    assert email.silence is not None
    found = {
        id_: FoundMessage(address, "its id", "delivered")
        for id_, address in email.silence.recipients.items()
    }
    await queue.record(
        worker,
        looked_up(
            email,
            worker,
            email.silence,
            found,
            missing="",
            evidence={"found": "1"},
            duration_s=0.1,
            look_up_in_s=None,
        ),
    )
    page = await owner.get(path)
    assert "did not answer, and had it when it was asked" in why(page)
    assert "found when the provider was asked: delivered" in why(page)
    assert timeline(page)[-1].startswith("Found at the provider, which has taken it")
    attempts = section(page, "attempts")
    assert "Attempt 1" in attempts
    assert "Look-up" in attempts
    assert "The provider was asked whether it took the email." in attempts
    assert "Attempt 2" not in attempts


async def test_look_up_by_which_nobody_was_asked_does_not_claim_a_question(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add_bulk(tenant)
    worker = await queue.start_worker()
    (claim,) = await queue.hand_over(worker, tenant, lane="bulk")
    silent = await queue.settle(worker, claim, "ambiguous", first="ambiguous")
    assert silent.attempt is not None
    planned = replace(silent.attempt, evidence={"look_up": "planned"})
    await queue.record(worker, replace(silent, attempt=planned, look_up_in_s=0.0))
    (claim,) = await queue.claim(worker, tenant, lane="bulk")
    (email,) = await queue.load(claim)
    assert email.silence is not None
    settlement = looked_up(
        email,
        worker,
        email.silence,
        {},
        missing="the account that was silent cannot be asked any more",
        evidence={"asked": "no"},
        duration_s=0.0,
        look_up_in_s=None,
    )
    await queue.record(worker, settlement)
    attempts = section(await owner.get(f"/emails/{email_id}"), "attempts")
    assert "The provider was not asked whether it took the email." in attempts
    assert "The provider was asked" not in attempts
