"""A person says whether an email arrived of which nobody knew: on its page, or in the queue."""

import json
import re
from uuid import UUID, uuid4

import httpx
import pytest

from tallypost_domain.audit.service import verify
from tallypost_domain.people.permissions import Role
from tests.integration.api.own.mail import leave_in_doubt, park
from tests.integration.console.following import follow
from tests.integration.console.reading import hidden_fields, links, listed, main, section, words
from tests.integration.console.running import Browser, form_token
from tests.integration.people.samples import PASSWORD, add_member
from tests.integration.queue.harness import Harness
from tests.integration.queue.people import Person
from tests.support.database import Database, SeededTenant

PARKED = "/queue?only=ambiguous"
TICKED = "/queue/unconfirmed/settle"
BUTTON = "It arrived"
UNDER_WAY = "A worker has this email just now; look again once its handover has ended."
NOTHING = "No recipient of this email is unconfirmed, so there is nothing to decide."


def path_of(email_id: UUID) -> str:
    """Where the form on the page of an email leads."""
    return f"/emails/{email_id}/settle"


async def say(browser: Browser, email_id: UUID, as_: str = "sent") -> httpx.Response:
    """Open the page and press its button."""
    fields = hidden_fields(await browser.get(f"/emails/{email_id}"), path_of(email_id))
    return await browser.submit(path_of(email_id), **fields, **{"as": as_})


async def tick(
    browser: Browser, *ids: UUID, page: str = PARKED, as_: str = "sent"
) -> httpx.Response:
    """Tick these in the queue and press the button there."""
    fields = hidden_fields(await browser.get(page), "/queue/unconfirmed")
    ticked = [str(id_) for id_ in ids]
    return await browser.submit(TICKED, **fields, **{"as": as_}, email=ticked)


async def audited(queue: Harness, tenant: SeededTenant) -> list[tuple[str, str, UUID]]:
    """Acts, and whose they were and what about."""
    rows = await queue.fetch(tenant, "SELECT * FROM audit_log ORDER BY sequence")
    return [(row["action"], row["actor_kind"], row["subject_id"]) for row in rows]


async def test_person_says_on_its_page_that_it_arrived(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    email_id = await park(queue, tenant, "a@r.test", "b@r.test", "sent@r.test", sent="accepted")
    page = await owner.get(f"/emails/{email_id}")
    said = section(page, "why")
    assert BUTTON in said
    assert "Its 2 unconfirmed recipients become sent: nothing is sent to them again" in said
    assert "billed as sent mail is" in said
    for as_ in ("sent", "canceled"):
        assert f'form="settle" name="as" value="{as_}"' in main(page)
    assert f'action="{path_of(email_id)}" id="settle"' in main(page)
    answer = await say(owner, email_id)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/emails/{email_id}")
    statuses = await queue.statuses(tenant, email_id)
    assert set(statuses.values()) == {"sent"}
    assert await queue.state(tenant, email_id) is None
    rows = await queue.fetch(tenant, "SELECT * FROM usage_ledger WHERE email_id = $1", email_id)
    assert [(row["units"], row["provider"]) for row in rows] == [(1, "smtp")] * 3


async def test_its_page_then_tells_who_said_so(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    email_id = await park(queue, tenant)
    await say(owner, email_id)
    page = await owner.get(f"/emails/{email_id}")
    assert "Somebody said that it arrived. No answer of the provider is known." in section(
        page, "why"
    )
    assert BUTTON not in section(page, "why")
    told = section(page, "events")
    (event,) = await queue.fetch(tenant, "SELECT * FROM events WHERE type = 'email.settled'")
    (person,) = await queue.fetch(tenant, "SELECT * FROM memberships WHERE role = 'owner'")
    assert json.loads(event["data"])["actor_id"] == str(person["person_id"])
    assert "Settled as sent: a person said that it arrived" in told
    assert told.endswith(f"actor_id {person['person_id']}")
    assert await audited(queue, tenant) == [("unconfirmed.settled", "person", email_id)]
    (entry,) = await queue.fetch(tenant, "SELECT * FROM audit_log")
    assert (entry["actor_id"], entry["ip_address"]) == (person["person_id"], "127.0.0.1")
    async with queue.database.session("tp_console", tenant.id) as session:
        assert (await verify(session, tenant.id)).broken_at is None


async def test_list_asks_before_anything_is_done_with_what_is_ticked(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    await park(queue, tenant)
    page = main(await owner.get(PARKED))
    again, arrived, cancel = (
        each.partition("</details>")[0]
        for each in page.split('<details class="sure" name="decision">')[1:]
    )
    assert "may then have them twice" in words(again)
    assert page.count("Yes, send them again") == again.count("Yes, send them again") == 1
    assert f'formaction="{TICKED}" name="as" value="sent"' in arrived
    assert f'formaction="{TICKED}" name="as" value="canceled"' in cancel
    assert page.count(f'formaction="{TICKED}"') == 2
    assert "are billed as sent mail is. This cannot be undone." in words(arrived)
    assert "are billed only if the provider says later that it took them." in words(cancel)


async def test_form_that_is_sent_twice_settles_and_bills_once(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    email_id = await park(queue, tenant)
    path = path_of(email_id)
    fields = hidden_fields(await owner.get(f"/emails/{email_id}"), path)
    fields["as"] = "sent"
    assert (await owner.submit(path, **fields)).status_code == 303
    before = (await queue.snapshot(tenant), await audited(queue, tenant))
    assert (await owner.submit(path, **fields)).status_code == 303
    assert (await queue.snapshot(tenant), await audited(queue, tenant)) == before
    assert await queue.billed(tenant, email_id) == 1


async def test_what_would_be_sent_again_by_itself_is_not_then(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    email_id = await leave_in_doubt(queue, tenant)
    assert "It is sent again by itself" in section(await owner.get(f"/emails/{email_id}"), "why")
    assert (await say(owner, email_id)).status_code == 303
    assert await queue.state(tenant, email_id) is None
    assert await queue.billed(tenant, email_id) == 1


async def test_mail_of_test_mode_is_settled_and_nothing_is_said_about_a_bill(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    first, second, third = [await park(queue, tenant, mode="test") for _ in range(3)]
    said = section(await owner.get(f"/emails/{first}"), "why")
    assert "Its unconfirmed recipient becomes sent: nothing is sent to this one again." in said
    await say(owner, first)
    listing = f"{PARKED}&mode=test"
    assert "billed" not in main(await owner.get(listing))
    answer = await tick(owner, second, page=listing)
    assert "1 recipient of 1 email settled as sent They are not sent again." in words(main(answer))
    assert links(answer)["Back to the list"] == "/queue?mode=test&only=ambiguous"
    canceled = await tick(owner, third, page=listing, as_="canceled")
    assert "They are not sent again." in words(main(canceled))
    for email_id, status in ((first, "sent"), (second, "sent"), (third, "canceled")):
        assert (await queue.statuses(tenant, email_id))["email"] == status
        assert await queue.billed(tenant, email_id) == 0


async def test_what_a_worker_has_is_left_to_it_and_the_page_says_so(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    email_id = await leave_in_doubt(queue, tenant)
    await queue.make_due(tenant, email_id)
    worker = await queue.start_worker()
    claims = await queue.claim(worker, tenant)
    for _ in range(2):
        before = await queue.snapshot(tenant)
        answer = await say(owner, email_id)
        assert answer.status_code == 409
        assert f'role="alert">{UNDER_WAY}<' in main(answer)
        # Everything else is there too, and leads somewhere.
        assert "<h1>In doubt</h1>" in main(answer)
        assert (await owner.get(links(answer)["Headers"])).status_code == 200
        assert hidden_fields(answer, "/theme")["then"] == f"/emails/{email_id}"
        left = await tick(owner, email_id)
        assert "1 email: a worker has it just now" in words(main(left))
        assert await queue.snapshot(tenant) == before
        await queue.mark(worker, *claims)
    assert await audited(queue, tenant) == []


async def test_email_about_which_nothing_is_in_doubt_says_so(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add(tenant)
    page = await owner.get(f"/emails/{email_id}")
    assert BUTTON not in section(page, "why")
    before = await queue.snapshot(tenant)
    fields = {"form_token": form_token(page), "as": "sent"}
    answer = await owner.submit(path_of(email_id), **fields)
    assert answer.status_code == 409
    assert f'role="alert">{NOTHING}<' in main(answer)
    assert await queue.snapshot(tenant) == before


@pytest.mark.parametrize("role", Role)
async def test_whoever_may_send_again_may_settle(
    browser: Browser, queue: Harness, database: Database, tenant: SeededTenant, role: Role
) -> None:
    first, second = [await park(queue, tenant) for _ in range(2)]
    address = f"{role}@example.net"
    async with database.sessions("tp_cli") as cli:
        await add_member(cli, tenant.id, address, role)
    await browser.sign_in(address, PASSWORD)
    may = role in (Role.OWNER, Role.ADMIN, Role.DEVELOPER)
    page = await browser.get(f"/emails/{first}")
    fields = {"form_token": form_token(page), "as": "sent"}
    assert (BUTTON in main(page)) == ('id="settle"' in main(page)) == may
    assert (TICKED in (await browser.get(PARKED)).text) == may
    answers = [
        await browser.submit(path_of(first), **fields),
        await browser.submit(TICKED, **fields, mode="live", email=str(second)),
    ]
    assert [answer.status_code for answer in answers] == ([303, 200] if may else [403, 403])
    for email_id in (first, second):
        status = (await queue.statuses(tenant, email_id))["email"]
        assert status == ("sent" if may else "unconfirmed")


async def test_form_without_its_token_settles_nothing(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    email_id = await park(queue, tenant)
    for path in (path_of(email_id), TICKED):
        answer = await owner.submit(path, mode="live", email=str(email_id), **{"as": "sent"})
        assert answer.status_code == 403
    assert await queue.state(tenant, email_id) == "ambiguous"


async def test_another_tenants_email_is_not_there(
    owner: Browser,
    other_owner: Browser,
    queue: Harness,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
) -> None:
    theirs = await park(queue, other_tenant)
    own = await park(queue, tenant)
    before = await queue.snapshot(other_tenant)
    for foreign in (theirs, uuid4(), "x"):
        answer = await owner.submit_with_token(
            "/emails", f"/emails/{foreign}/settle", **{"as": "sent"}
        )
        assert answer.status_code == 404
    said = words(main(await tick(owner, theirs, own)))
    assert "1 recipient of 1 email settled as sent" in said
    assert "1 email: nothing about it is unconfirmed any more" in said
    assert await queue.snapshot(other_tenant) == before
    assert await audited(queue, other_tenant) == []
    assert listed(await other_owner.get(PARKED)) == [theirs]


async def test_ticked_ones_are_settled_and_no_others(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    first = await park(queue, tenant, "a@r.test", "b@r.test")
    second, third = [await park(queue, tenant) for _ in range(2)]
    said = words(main(await owner.get(PARKED)))
    assert "All who may have them become sent: they are not sent again" in said
    assert "billed as sent mail is" in said
    answer = await tick(owner, first, third)
    assert answer.status_code == 200
    assert "3 recipients of 2 emails settled as sent" in words(main(answer))
    assert links(answer)["Back to the list"] == PARKED
    assert listed(await owner.get(PARKED)) == [second]
    assert [await queue.billed(tenant, id_) for id_ in (first, second, third)] == [2, 0, 1]
    assert await audited(queue, tenant) == [
        ("unconfirmed.settled", "person", email_id) for email_id in (first, third)
    ]


async def test_ticked_ones_that_were_settled_before_are_left_and_counted(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    first, second = [await park(queue, tenant) for _ in range(2)]
    fields = hidden_fields(await owner.get(PARKED), "/queue/unconfirmed") | {"as": "sent"}
    for ids, settled, left in (
        ([first], "1 recipient of 1 email", 0),
        ([first, first, second], "1 recipient of 1 email", 1),
        ([first, second], "0 recipients of 0 emails", 2),
    ):
        answer = await owner.submit(TICKED, **fields, email=[str(id_) for id_ in ids])
        said = words(main(answer))
        assert f"{settled} settled as sent" in said
        assert (f"{left} email" in said) == bool(left)
    assert [await queue.billed(tenant, id_) for id_ in (first, second)] == [1, 1]
    assert len(await audited(queue, tenant)) == 2


async def test_one_that_a_worker_has_does_not_stop_the_others(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    held = await leave_in_doubt(queue, tenant)
    parked = await park(queue, tenant)
    await queue.make_due(tenant, held)
    await queue.claim(await queue.start_worker(), tenant)
    said = words(main(await tick(owner, held, parked)))
    assert "1 recipient of 1 email settled as sent" in said
    assert "1 email: a worker has it just now" in said
    assert (await queue.statuses(tenant, held))["email"] == "unconfirmed"
    assert (await queue.statuses(tenant, parked))["email"] == "sent"


async def test_pressing_without_ticking_changes_nothing_and_says_so(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    email_id = await park(queue, tenant)
    assert "Nothing was ticked." in words(main(await tick(owner)))
    assert await queue.state(tenant, email_id) == "ambiguous"


async def test_person_cancels_on_its_page_what_nobody_is_to_get_any_more(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    email_id = await park(queue, tenant)
    said = section(await owner.get(f"/emails/{email_id}"), "why")
    assert "Its unconfirmed recipient becomes canceled: nothing is sent to this one again" in said
    assert "billed only if the provider says later that it took it" in said
    assert "The others are still sent to." not in said
    assert (await say(owner, email_id, "canceled")).status_code == 303
    assert (await queue.statuses(tenant, email_id))["email"] == "canceled"
    assert await queue.state(tenant, email_id) is None
    assert await queue.billed(tenant, email_id) == 0
    page = await owner.get(f"/emails/{email_id}")
    assert "Somebody said that it did not arrive" in section(page, "why")
    assert "Canceled: a person said that it did not arrive" in section(page, "events")
    assert await audited(queue, tenant) == [("unconfirmed.settled", "person", email_id)]
    # It is found by its status.
    assert listed(await owner.get("/emails?q=status:canceled")) == [email_id]


async def test_ticked_ones_are_canceled_and_no_others_nor_other_tenants(
    owner: Browser, queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    first, second = await park(queue, tenant, "a@r.test", "b@r.test"), await park(queue, tenant)
    theirs = await park(queue, other_tenant)
    before = await queue.snapshot(other_tenant)
    answer = await tick(owner, first, theirs, as_="canceled")
    said = words(main(answer))
    assert "2 recipients of 1 email settled as canceled" in said
    assert "1 email: nothing about it is unconfirmed any more" in said
    assert await queue.snapshot(other_tenant) == before
    assert listed(await owner.get(PARKED)) == [second]
    assert (await queue.statuses(tenant, first))["email"] == "canceled"
    answer = await tick(owner, second, as_="canceled")
    assert "billed only if the provider says later that it took them" in words(main(answer))
    assert [await queue.billed(tenant, id_) for id_ in (first, second)] == [0, 0]


async def test_page_that_was_shown_before_another_silence_settles_nothing(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    email_id = await park(queue, tenant)
    page = await owner.get(f"/emails/{email_id}")
    (attempt_id,) = re.findall(r'form="settle" name="attempt" value="([^"]+)"', main(page))
    fields = hidden_fields(page, path_of(email_id)) | {"attempt": attempt_id}
    ticked = {"email": f"{email_id} {attempt_id}", "mode": "live"}
    await Person(queue, tenant).resend(email_id)
    worker = await queue.start_worker()
    (claim,) = await queue.hand_over(worker, tenant, lane="bulk")
    await queue.record(worker, await queue.settle(worker, claim, "ambiguous"))
    before = await queue.snapshot(tenant)
    for as_ in ("sent", "canceled"):
        answer = await owner.submit(path_of(email_id), **fields, **{"as": as_})
        assert answer.status_code == 409
        assert "handed over again since" in words(main(answer))
        token = {"form_token": fields["form_token"], "as": as_}
        said = words(main(await owner.submit(TICKED, **token, **ticked)))
        assert "1 email: handed over once more since" in said
    assert await queue.snapshot(tenant) == before
    assert await audited(queue, tenant) == [("unconfirmed.requeued", "person", email_id)]


async def test_page_says_that_others_are_still_sent_to(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add(tenant, to=["a@r.test", "b@r.test"])
    worker = await queue.start_worker()
    (claim,) = await queue.hand_over(worker, tenant)
    await queue.record(worker, await queue.settle(worker, claim, "ambiguous", b="deferred"))
    said = section(await owner.get(f"/emails/{email_id}"), "why")
    assert "The others are still sent to." in said
    await say(owner, email_id, "canceled")
    statuses = await queue.statuses(tenant, email_id)
    assert statuses == {"a": "canceled", "b": "deferred", "email": "deferred"}


async def test_form_without_a_known_button_settles_nothing(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    email_id = await park(queue, tenant)
    token = form_token(await owner.get(PARKED))
    for more in ({}, {"as": ""}, {"as": "bounced"}):
        for path in (path_of(email_id), TICKED):
            answer = await owner.submit(
                path, form_token=token, mode="live", email=str(email_id), **more
            )
            assert answer.status_code == 422
    assert await queue.state(tenant, email_id) == "ambiguous"


async def test_live_part_of_the_page_has_the_button_without_the_token_until_it_is_settled(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    email_id = await park(queue, tenant)
    async with follow(owner, f"/emails/{email_id}/live") as following:
        shown = await following.until(BUTTON)
        # It is the same for whoever may do the same.
        assert "form_token" not in shown.data
        await say(owner, email_id)
        assert BUTTON not in (await following.until("Settled as sent")).data
