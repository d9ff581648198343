"""Mail that may have arrived is listed, and its sender decides about it by the API."""

import datetime as dt
import json
from typing import Any
from uuid import UUID

import httpx
from msgspec.structs import replace

from tallypost_core.clock import utc_now
from tallypost_domain.audit.service import verify
from tallypost_domain.queue.releases import release_held
from tallypost_domain.suppressions.service import suppress
from tallypost_providers.base import same_for_all
from tallypost_providers.types import Outcome
from tallypost_worker.settlements import handed_over, unsent
from tests.integration.api.own.mail import leave_in_doubt, park
from tests.integration.api.own.problems import is_problem
from tests.integration.queue.harness import Harness
from tests.support.database import PEPPERS, SeededTenant
from tests.unit.providers.emails import make_email
from tests.unit.providers.test_router import Account

SENT = {"as": "sent"}
CANCELED = {"as": "canceled"}


async def read_list(client: httpx.AsyncClient, **query: Any) -> Any:
    """One page of the list."""
    response = await client.get("/unconfirmed-emails", params=query)
    assert response.status_code == 200, response.text
    return response.json()


async def read_all(client: httpx.AsyncClient, limit: int) -> list[Any]:
    """The list, page by page."""
    found, after = [], None
    while True:
        page = await read_list(client, limit=limit, **({"after": after} if after else {}))
        found += page["data"]
        assert len(page["data"]) <= limit
        if (after := page["next"]) is None:
            return found


async def decide(
    client: httpx.AsyncClient, email_id: UUID, what: str, body: object = None
) -> httpx.Response:
    """Resend or settle."""
    return await client.post(f"/unconfirmed-emails/{email_id}/{what}", json=body)


async def audited(queue: Harness, tenant: SeededTenant) -> list[tuple[str, str, UUID]]:
    """Acts, and whose they were."""
    rows = await queue.fetch(tenant, "SELECT * FROM audit_log ORDER BY sequence")
    return [(row["action"], row["actor_kind"], row["actor_id"]) for row in rows]


async def as_operator(queue: Harness, tenant: SeededTenant, statement: str) -> None:
    """Change what is not the tenant's to change."""
    async with queue.database.connect("tp_cli") as connection, connection.transaction():
        await connection.execute("SELECT set_config('app.tenant_id', $1, true)", str(tenant.id))
        await connection.execute(statement)


async def test_parked_and_to_be_sent_again_are_listed_with_the_silence_and_what_is_next(
    client: httpx.AsyncClient, queue: Harness, tenant: SeededTenant
) -> None:
    await queue.add(tenant)
    worker = await queue.start_worker()
    (claim,) = await queue.hand_over(worker, tenant)
    await queue.record(worker, await queue.settle(worker, claim, "deferred"))
    parked = await park(queue, tenant, "a@r.test", "sent@r.test", sent="accepted")
    in_doubt = await leave_in_doubt(queue, tenant)
    row = await queue.find_row(tenant, in_doubt)
    first, second = (await read_list(client))["data"]
    assert (first["id"], second["id"]) == (str(parked), str(in_doubt))
    assert (first["subject"], first["stream"]) == ("Parked", "bulk")
    assert [one["address"] for one in first["recipients"]] == ["a@r.test"]
    assert first["next"] == {"step": "decision", "at": None}
    assert (first["attempt"]["provider"], first["attempt"]["account"]) == ("smtp", "smtp")
    timeline = (await client.get(f"/emails/{parked}/timeline")).json()
    assert first["attempt"]["id"] == timeline["attempts"][0]["id"]
    assert first["attempt"]["at"] == timeline["attempts"][0]["at"]
    assert second["next"]["step"] == "resend"
    assert row is not None
    assert dt.datetime.fromisoformat(second["next"]["at"]) == row["due_at"]


async def test_one_that_is_to_be_looked_up_says_so_whatever_its_stream_says(
    client: httpx.AsyncClient, queue: Harness, tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add_bulk(tenant)
    worker = await queue.start_worker()
    (claim,) = await queue.hand_over(worker, tenant, lane="bulk")
    (email,) = await queue.load(claim)
    silence = same_for_all(make_email(), Outcome.AMBIGUOUS, phase="http")
    told = replace(
        silence,
        recipients=(replace(silence.recipients[0], recipient_id=email.recipients[0].id),),
    )
    settlement = handed_over(
        email, claim, worker, Account("sendgrid"), told, 1.0, fails_over=False, look_up_in_s=60.0
    )
    await queue.record(worker, settlement)
    row = await queue.find_row(tenant, email_id)
    assert row is not None
    (listed,) = (await read_list(client))["data"]
    assert listed["next"]["step"] == "look_up"
    assert dt.datetime.fromisoformat(listed["next"]["at"]) == row["due_at"]
    assert listed["attempt"]["look_up_due"] is True
    assert is_problem(await decide(client, email_id, "resend"), 409, "not_parked")


async def test_one_that_waits_for_its_other_recipients_says_so(
    client: httpx.AsyncClient, queue: Harness, tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add_bulk(tenant, to=["a@r.test", "b@r.test"])
    worker = await queue.start_worker()
    (claim,) = await queue.hand_over(worker, tenant, lane="bulk")
    await queue.record(worker, await queue.settle(worker, claim, "ambiguous", b="deferred"))
    (listed,) = (await read_list(client))["data"]
    assert [one["address"] for one in listed["recipients"]] == ["a@r.test"]
    assert listed["next"] == {"step": "after_others", "at": None}
    assert is_problem(await decide(client, email_id, "resend"), 409, "not_parked")


async def test_one_that_is_held_is_sent_again_at_no_known_time(
    client: httpx.AsyncClient, queue: Harness, tenant: SeededTenant
) -> None:
    email_id = await leave_in_doubt(queue, tenant)
    await as_operator(queue, tenant, "UPDATE domains SET status = 'failed'")
    await queue.make_due(tenant, email_id)
    worker = await queue.start_worker()
    (claim,) = await queue.claim(worker, tenant)
    (email,) = await queue.load(claim)
    await queue.record(worker, unsent(email, worker))
    assert await queue.state(tenant, email_id) == "held"
    (listed,) = (await read_list(client))["data"]
    assert listed["next"] == {"step": "resend", "at": None}
    await as_operator(queue, tenant, "UPDATE domains SET status = 'verified'")
    await release_held(queue.pool)
    (listed,) = (await read_list(client))["data"]
    assert listed["next"]["step"] == "resend"
    assert listed["next"]["at"] is not None


async def test_the_list_is_read_to_its_end_page_by_page(
    client: httpx.AsyncClient, queue: Harness, tenant: SeededTenant
) -> None:
    parked = [await park(queue, tenant) for _ in range(5)]
    await queue.add(tenant, 3)
    for limit in (1, 2, 5, 100):
        assert [email["id"] for email in await read_all(client, limit)] == [*map(str, parked)]
    page = await read_list(client, limit=2, after=parked[3])
    assert ([email["id"] for email in page["data"]], page["next"]) == ([str(parked[4])], None)


async def test_nobody_elses_mail_and_none_of_the_other_mode_is_listed_or_decided(
    client: httpx.AsyncClient,
    sandbox_client: httpx.AsyncClient,
    other_client: httpx.AsyncClient,
    queue: Harness,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
) -> None:
    live = await park(queue, tenant)
    test = await park(queue, tenant, mode="test")
    foreign = await park(queue, other_tenant)
    before = [await queue.snapshot(owner) for owner in (tenant, other_tenant)]
    own = ((client, live), (sandbox_client, test), (other_client, foreign))
    for caller, email_id in own:
        assert [email["id"] for email in await read_all(caller, 2)] == [str(email_id)]
        for _, other_id in own:
            if other_id != email_id:
                for answer in (
                    await decide(caller, other_id, "resend"),
                    await decide(caller, other_id, "settle", SENT),
                    await decide(caller, other_id, "settle", CANCELED),
                ):
                    assert is_problem(answer, 404, "not_found")
    assert [await queue.snapshot(owner) for owner in (tenant, other_tenant)] == before
    assert await audited(queue, tenant) == await audited(queue, other_tenant) == []


async def test_a_parked_email_is_sent_again_once_however_often_it_is_asked_for(
    client: httpx.AsyncClient, queue: Harness, tenant: SeededTenant
) -> None:
    email_id = await park(queue, tenant, "a@r.test", "sent@r.test", sent="accepted")
    first = await decide(client, email_id, "resend")
    assert (first.status_code, first.json()) == (
        200,
        {"id": str(email_id), "recipients": 1, "skipped": {}},
    )
    before = await queue.snapshot(tenant)
    again = await decide(client, email_id, "resend")
    assert (again.status_code, again.json()["recipients"]) == (200, 0)
    assert await queue.snapshot(tenant) == before
    assert (await read_list(client))["data"] == []
    statuses = await queue.statuses(tenant, email_id)
    assert statuses == {"a": "queued", "sent": "sent", "email": "queued"}
    assert await audited(queue, tenant) == [("unconfirmed.requeued", "api_key", tenant.live_key.id)]
    event = (await client.get(f"/emails/{email_id}/timeline")).json()["events"][-1]
    assert (event["type"], event["data"]["actor_kind"]) == ("email.requeued", "api_key")
    assert event["data"]["actor_id"] == str(tenant.live_key.id)
    worker = await queue.start_worker()
    (claim,) = await queue.hand_over(worker, tenant, lane="bulk")
    await queue.record(worker, await queue.settle(worker, claim, "accepted"))
    assert (await queue.statuses(tenant, email_id))["email"] == "sent"
    assert await queue.billed(tenant, email_id) == 2


async def test_what_is_unconfirmed_anew_is_sent_anew(
    client: httpx.AsyncClient, queue: Harness, tenant: SeededTenant
) -> None:
    email_id = await park(queue, tenant)
    await decide(client, email_id, "resend")
    worker = await queue.start_worker()
    (claim,) = await queue.hand_over(worker, tenant, lane="bulk")
    await queue.record(worker, await queue.settle(worker, claim, "ambiguous"))
    assert (await decide(client, email_id, "resend")).json()["recipients"] == 1


async def test_a_decision_about_one_silence_is_not_taken_for_one_about_the_next(
    client: httpx.AsyncClient, queue: Harness, tenant: SeededTenant
) -> None:
    email_id = await park(queue, tenant)
    body = {"attempt_id": (await read_list(client))["data"][0]["attempt"]["id"]}
    for recipients in (1, 0):
        answer = await decide(client, email_id, "resend", body)
        assert answer.json()["recipients"] == recipients
    worker = await queue.start_worker()
    (claim,) = await queue.hand_over(worker, tenant, lane="bulk")
    await queue.record(worker, await queue.settle(worker, claim, "ambiguous"))
    before = (await queue.snapshot(tenant), await audited(queue, tenant))
    for stale in (body, {"attempt_id": str(email_id)}):
        for what, also in (("resend", {}), ("settle", SENT), ("settle", CANCELED)):
            answer = await decide(client, email_id, what, stale | also)
            assert is_problem(answer, 409, "attempt_superseded", field="attempt_id")
    assert (await queue.snapshot(tenant), await audited(queue, tenant)) == before
    body = {"attempt_id": (await read_list(client))["data"][0]["attempt"]["id"]}
    assert (await decide(client, email_id, "resend", body)).json()["recipients"] == 1


async def test_a_resend_with_a_body_that_does_not_fit_sends_nothing(
    client: httpx.AsyncClient, queue: Harness, tenant: SeededTenant
) -> None:
    email_id = await park(queue, tenant)
    for body, code, field in (
        ({"attempt": str(email_id)}, "unknown_field", "attempt"),
        ({"attempt_id": "x"}, "wrong_type", "attempt_id"),
        ({"attempt_id": None}, "wrong_type", "attempt_id"),
    ):
        answer = await decide(client, email_id, "resend", body)
        assert is_problem(answer, 422, code, field=field), answer.text
    assert await queue.state(tenant, email_id) == "ambiguous"


async def test_what_is_sent_again_anyway_is_not_parked(
    client: httpx.AsyncClient, queue: Harness, tenant: SeededTenant
) -> None:
    email_id = await leave_in_doubt(queue, tenant)
    before = await queue.snapshot(tenant)
    assert is_problem(await decide(client, email_id, "resend"), 409, "not_parked")
    assert await queue.snapshot(tenant) == before


async def test_what_a_worker_has_is_left_to_it(
    client: httpx.AsyncClient, queue: Harness, tenant: SeededTenant
) -> None:
    email_id = await leave_in_doubt(queue, tenant)
    await queue.make_due(tenant, email_id)
    worker = await queue.start_worker()
    claims = await queue.claim(worker, tenant)
    for _ in range(2):
        before = await queue.snapshot(tenant)
        for what, body in (("resend", None), ("settle", SENT), ("settle", CANCELED)):
            answer = await decide(client, email_id, what, body)
            assert is_problem(answer, 409, "email_under_way"), what
        assert await queue.snapshot(tenant) == before
        await queue.mark(worker, *claims)
    assert await audited(queue, tenant) == []


async def test_what_cannot_leave_now_is_told_why(
    client: httpx.AsyncClient, queue: Harness, tenant: SeededTenant
) -> None:
    email_id = await park(queue, tenant)
    await as_operator(queue, tenant, "UPDATE domains SET status = 'failed'")
    answer = await decide(client, email_id, "resend")
    assert is_problem(answer, 409, "cannot_be_resent")
    assert "domain is not verified" in answer.json()["detail"]
    await as_operator(queue, tenant, "UPDATE domains SET status = 'verified'")
    async with queue.database.session("tp_cli", tenant.id) as session:
        await suppress(session, tenant.id, "live", "a@r.test", origin="complaint", peppers=PEPPERS)
    answer = await decide(client, email_id, "resend")
    assert is_problem(answer, 409, "cannot_be_resent")
    assert "suppression list" in answer.json()["detail"]
    assert await queue.state(tenant, email_id) == "ambiguous"


async def test_a_suppressed_recipient_is_left_and_counted(
    client: httpx.AsyncClient, queue: Harness, tenant: SeededTenant
) -> None:
    email_id = await park(queue, tenant, "a@r.test", "b@r.test")
    async with queue.database.session("tp_cli", tenant.id) as session:
        await suppress(session, tenant.id, "live", "b@r.test", origin="complaint", peppers=PEPPERS)
    # The second call finds it waiting for its turn again, with those who were chosen.
    for recipients, skipped in ((1, {"suppressed": 1}), (0, {"changed_since": 1})):
        answer = (await decide(client, email_id, "resend")).json()
        assert (answer["recipients"], answer["skipped"]) == (recipients, skipped)
    statuses = await queue.statuses(tenant, email_id)
    assert statuses == {"a": "queued", "b": "unconfirmed", "email": "unconfirmed"}


async def test_one_that_still_waits_after_a_resend_is_not_said_to_be_sent(
    client: httpx.AsyncClient, queue: Harness, tenant: SeededTenant
) -> None:
    email_id = await park(queue, tenant, "a@r.test", "b@r.test")
    silent = (await read_list(client))["data"][0]["attempt"]["id"]
    async with queue.database.session("tp_cli", tenant.id) as session:
        await suppress(session, tenant.id, "live", "b@r.test", origin="complaint", peppers=PEPPERS)
    assert (await decide(client, email_id, "resend")).json()["recipients"] == 1
    worker = await queue.start_worker()
    (claim,) = await queue.hand_over(worker, tenant, lane="bulk")
    await queue.record(worker, await queue.settle(worker, claim, "accepted"))
    assert await queue.state(tenant, email_id) == "ambiguous"
    before = (await queue.snapshot(tenant), await audited(queue, tenant))
    for body in (None, {"attempt_id": silent}):
        answer = await decide(client, email_id, "resend", body)
        assert is_problem(answer, 409, "cannot_be_resent")
        assert "suppression list" in answer.json()["detail"]
    stale = await decide(client, email_id, "resend", {"attempt_id": str(email_id)})
    assert is_problem(stale, 409, "attempt_superseded", field="attempt_id")
    await as_operator(queue, tenant, "UPDATE domains SET status = 'failed'")
    answer = await decide(client, email_id, "resend")
    assert is_problem(answer, 409, "cannot_be_resent")
    assert "domain is not verified" in answer.json()["detail"]
    assert (await queue.snapshot(tenant), await audited(queue, tenant)) == before


async def test_one_that_was_sent_again_and_is_held_says_what_holds_it(
    client: httpx.AsyncClient, queue: Harness, tenant: SeededTenant
) -> None:
    email_id = await park(queue, tenant)
    assert (await decide(client, email_id, "resend")).json()["recipients"] == 1
    await as_operator(queue, tenant, "UPDATE domains SET status = 'failed'")
    answer = await decide(client, email_id, "resend")
    assert (answer.status_code, answer.json()) == (
        200,
        {"id": str(email_id), "recipients": 0, "skipped": {"domain_not_verified": 1}},
    )


async def test_an_email_that_is_known_to_have_arrived_is_settled_once(
    client: httpx.AsyncClient, queue: Harness, tenant: SeededTenant
) -> None:
    email_id = await park(queue, tenant, "a@r.test", "b@r.test", "hard@r.test", hard="rejected")
    first = await decide(client, email_id, "settle", SENT)
    assert (first.status_code, first.json()) == (
        200,
        {"id": str(email_id), "status": "bounced", "recipients": 2},
    )
    before = await queue.snapshot(tenant)
    again = await decide(client, email_id, "settle", SENT)
    assert (again.status_code, again.json()["recipients"]) == (200, 0)
    assert await queue.snapshot(tenant) == before
    statuses = await queue.statuses(tenant, email_id)
    assert statuses == {"a": "sent", "b": "sent", "hard": "bounced", "email": "bounced"}
    assert await queue.state(tenant, email_id) is None
    assert (await read_list(client))["data"] == []
    rows = await queue.fetch(tenant, "SELECT * FROM usage_ledger WHERE email_id = $1", email_id)
    assert [(row["units"], row["provider"]) for row in rows] == [(1, "smtp")] * 2
    assert await audited(queue, tenant) == [("unconfirmed.settled", "api_key", tenant.live_key.id)]
    told = (await client.get(f"/emails/{email_id}/timeline")).json()["events"][-2:]
    assert {event["recipient"] for event in told} == {"a@r.test", "b@r.test"}
    for event in told:
        assert event["type"] == "email.settled"
        assert event["data"] == {
            "was": "unconfirmed",
            "as": "sent",
            "actor_kind": "api_key",
            "actor_id": str(tenant.live_key.id),
        }
    assert is_problem(await decide(client, email_id, "resend"), 409, "nothing_unconfirmed")
    async with queue.database.session("tp_cli", tenant.id) as session:
        assert (await verify(session, tenant.id)).broken_at is None


async def test_what_would_be_sent_again_is_not_once_it_is_settled(
    client: httpx.AsyncClient, queue: Harness, tenant: SeededTenant
) -> None:
    email_id = await leave_in_doubt(queue, tenant)
    assert (await decide(client, email_id, "settle", SENT)).json()["status"] == "sent"
    assert await queue.state(tenant, email_id) is None
    assert await queue.billed(tenant, email_id) == 1


async def test_an_email_that_nobody_is_to_get_any_more_is_canceled_once_and_not_billed(
    client: httpx.AsyncClient, queue: Harness, tenant: SeededTenant
) -> None:
    email_id = await park(queue, tenant, "a@r.test", "b@r.test", "sent@r.test", sent="accepted")
    # Sending to those who are suppressed by now is no choice.
    async with queue.database.session("tp_cli", tenant.id) as session:
        await suppress(session, tenant.id, "live", "a@r.test", origin="complaint", peppers=PEPPERS)
    first = await decide(client, email_id, "settle", CANCELED)
    assert (first.status_code, first.json()) == (
        200,
        {"id": str(email_id), "status": "sent", "recipients": 2},
    )
    before = (await queue.snapshot(tenant), await audited(queue, tenant))
    again = await decide(client, email_id, "settle", CANCELED)
    assert (again.status_code, again.json()["recipients"]) == (200, 0)
    for what, body in (("settle", SENT), ("resend", None)):
        answer = await decide(client, email_id, what, body)
        assert is_problem(answer, 409, "nothing_unconfirmed"), what
    assert (await queue.snapshot(tenant), await audited(queue, tenant)) == before
    statuses = await queue.statuses(tenant, email_id)
    assert statuses == {"a": "canceled", "b": "canceled", "sent": "sent", "email": "sent"}
    assert await queue.state(tenant, email_id) is None
    assert (await read_list(client))["data"] == []
    assert await queue.billed(tenant, email_id) == 1
    (entry,) = await queue.fetch(tenant, "SELECT * FROM audit_log")
    assert (entry["action"], json.loads(entry["changes"])["as"]) == (
        "unconfirmed.settled",
        "canceled",
    )
    told = (await client.get(f"/emails/{email_id}/timeline")).json()["events"][-2:]
    assert {event["recipient"] for event in told} == {"a@r.test", "b@r.test"}
    for event in told:
        assert event["type"] == "email.canceled"
        assert (event["data"]["was"], event["data"]["as"]) == ("unconfirmed", "canceled")
        assert event["data"]["actor_id"] == str(tenant.live_key.id)


async def test_canceling_is_not_taken_for_settling_and_scheduled_mail_not_for_silent_mail(
    client: httpx.AsyncClient, queue: Harness, tenant: SeededTenant
) -> None:
    arrived = await park(queue, tenant)
    await decide(client, arrived, "settle", SENT)
    later = (utc_now() + dt.timedelta(hours=1)).isoformat()
    (canceled,) = await queue.add(tenant, scheduled_at=later)
    assert (await client.post(f"/emails/{canceled}/cancel")).status_code == 200
    before = await queue.snapshot(tenant)
    for email_id in (arrived, canceled):
        answer = await decide(client, email_id, "settle", CANCELED)
        assert is_problem(answer, 409, "nothing_unconfirmed")
    assert await queue.snapshot(tenant) == before


async def test_what_would_be_sent_again_is_not_once_it_is_canceled(
    client: httpx.AsyncClient, queue: Harness, tenant: SeededTenant
) -> None:
    email_id = await leave_in_doubt(queue, tenant)
    assert (await decide(client, email_id, "settle", CANCELED)).json()["status"] == "canceled"
    assert await queue.state(tenant, email_id) is None
    assert await queue.billed(tenant, email_id) == 0


async def test_other_recipients_of_a_settled_email_are_still_sent_to(
    client: httpx.AsyncClient, queue: Harness, tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add(tenant, to=["a@r.test", "b@r.test"])
    worker = await queue.start_worker()
    (claim,) = await queue.hand_over(worker, tenant)
    await queue.record(worker, await queue.settle(worker, claim, "ambiguous", b="deferred"))
    answer = await decide(client, email_id, "settle", SENT)
    assert answer.json() == {"id": str(email_id), "status": "deferred", "recipients": 1}
    await queue.make_due(tenant, email_id)
    (claim,) = await queue.hand_over(worker, tenant)
    (email,) = await queue.load(claim)
    assert [to.address for to in email.recipients] == ["b@r.test"]
    await queue.record(worker, await queue.settle(worker, claim, "accepted"))
    assert (await queue.statuses(tenant, email_id))["email"] == "sent"
    assert await queue.billed(tenant, email_id) == 2


async def test_mail_of_a_test_key_is_settled_and_not_billed(
    sandbox_client: httpx.AsyncClient, queue: Harness, tenant: SeededTenant
) -> None:
    email_id = await park(queue, tenant, mode="test")
    assert (await decide(sandbox_client, email_id, "settle", SENT)).json()["status"] == "sent"
    assert await queue.billed(tenant, email_id) == 0


async def test_nothing_is_settled_that_is_not_in_doubt(
    client: httpx.AsyncClient, queue: Harness, tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add(tenant)
    before = await queue.snapshot(tenant)
    answer = await decide(client, email_id, "settle", SENT)
    assert is_problem(answer, 409, "nothing_unconfirmed")
    assert await queue.snapshot(tenant) == before
    worker = await queue.start_worker()
    (claim,) = await queue.hand_over(worker, tenant)
    await queue.record(worker, await queue.settle(worker, claim, "accepted"))
    # What its sender says is so already.
    answer = await decide(client, email_id, "settle", SENT)
    assert answer.json() == {"id": str(email_id), "status": "sent", "recipients": 0}
    assert await queue.billed(tenant, email_id) == 1
