"""An email's timeline tells everything that happened to it, oldest first, and to nobody else."""

from typing import Any
from uuid import UUID

import httpx

from tallypost_domain.queue.claims import LEASE_S
from tallypost_domain.queue.sweeps import sweep_abandoned
from tests.integration.api.own.mail import leave_in_doubt, park
from tests.integration.api.own.problems import is_problem
from tests.integration.queue.harness import POLICY, Harness
from tests.support.database import PEPPERS, SeededTenant


async def read(client: httpx.AsyncClient, email_id: UUID) -> Any:
    """The timeline of an email."""
    response = await client.get(f"/emails/{email_id}/timeline")
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    return response.json()


async def test_an_accepted_email_has_one_event_and_no_attempt(
    client: httpx.AsyncClient, queue: Harness, tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add(tenant, to=["a@r.test"], bcc=["b@r.test"])
    found = await read(client, email_id)
    assert (found["id"], found["status"], found["attempts"]) == (str(email_id), "queued", [])
    assert [event["type"] for event in found["events"]] == ["email.queued"]
    people = {(one["address"], one["kind"], one["status"]) for one in found["recipients"]}
    assert people == {("a@r.test", "to", "queued"), ("b@r.test", "bcc", "queued")}


async def test_events_and_attempts_are_told_with_the_words_of_the_provider(
    client: httpx.AsyncClient, queue: Harness, tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add(tenant, to=["a@r.test", "b@r.test"])
    worker = await queue.start_worker()
    (claim,) = await queue.hand_over(worker, tenant)
    await queue.record(worker, await queue.settle(worker, claim, "deferred", b="rejected"))
    await queue.make_due(tenant, email_id)
    (claim,) = await queue.hand_over(worker, tenant)
    await queue.record(worker, await queue.settle(worker, claim, "accepted"))
    found = await read(client, email_id)
    assert {one["address"]: one["status"] for one in found["recipients"]} == {
        "a@r.test": "sent",
        "b@r.test": "bounced",
    }
    told = [(event["type"], event["recipient"]) for event in found["events"]]
    assert told[0] == ("email.queued", None)
    assert set(told[1:3]) == {("email.deferred", "a@r.test"), ("email.bounced", "b@r.test")}
    assert told[3:] == [("email.sent", "a@r.test")]
    times = [event["at"] for event in found["events"]]
    assert times == sorted(times)
    first, second = found["attempts"]
    assert found["events"][-1]["data"]["attempt_id"] == second["id"]
    assert found["events"][-1]["data"]["outcome"] == "accepted"
    assert (first["round"], first["outcome"], first["late"]) == (1, "deferred", False)
    assert (first["provider"], first["account"], first["phase"]) == ("smtp", "smtp", "final")
    answers = {one["recipient"]: (one["outcome"], one["detail"]) for one in first["recipients"]}
    assert answers == {
        "a@r.test": ("deferred", "words of the peer"),
        "b@r.test": ("rejected", "words of the peer"),
    }
    assert [one["recipient"] for one in second["recipients"]] == ["a@r.test"]
    assert second["duration_s"] == 0.1


async def test_silence_is_told_as_what_it_is(
    client: httpx.AsyncClient, queue: Harness, tenant: SeededTenant
) -> None:
    found = await read(client, await leave_in_doubt(queue, tenant))
    assert found["status"] == "unconfirmed"
    assert [one["status"] for one in found["recipients"]] == ["unconfirmed"]
    assert found["attempts"][0]["outcome"] == "ambiguous"


async def test_a_lost_worker_is_told_without_its_name_and_its_late_result_as_late(
    client: httpx.AsyncClient, queue: Harness, tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add(tenant)
    frozen = await queue.start_worker()
    (claim,) = await queue.hand_over(frozen, tenant)
    late = await queue.settle(frozen, claim, "accepted")
    await queue.age_beat(frozen, LEASE_S + 1)
    await sweep_abandoned(queue.pool, POLICY, PEPPERS)
    await queue.record(frozen, late)
    response = await client.get(f"/emails/{email_id}/timeline")
    lost, accepted = response.json()["attempts"]
    assert (lost["phase"], lost["provider"], lost["evidence"]) == ("worker_lost", "unknown", {})
    assert (accepted["outcome"], accepted["late"]) == ("accepted", True)
    assert str(frozen) not in response.text


async def test_facts_that_are_not_meant_for_tenants_are_not_told(
    client: httpx.AsyncClient, queue: Harness, tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add(tenant)
    async with queue.database.connect("tp_accept") as connection, connection.transaction():
        await connection.execute(
            "SELECT set_config('app.tenant_ids', $1, true)", f"{{{tenant.id}}}"
        )
        await connection.execute(
            "INSERT INTO events (tenant_id, subject_id, id, mode, type, data) "
            "VALUES ($1, $2, gen_random_uuid(), 'live', 'email.sample', $3)",
            tenant.id,
            email_id,
            '{"reason": "told", "machine": "worker-7", "phase": ["a", "list"]}',
        )
    found = await read(client, email_id)
    sample = next(event for event in found["events"] if event["type"] == "email.sample")
    assert sample["data"] == {"reason": "told"}


async def test_the_timeline_of_somebody_else_or_of_the_other_mode_does_not_exist(
    client: httpx.AsyncClient,
    sandbox_client: httpx.AsyncClient,
    other_client: httpx.AsyncClient,
    queue: Harness,
    tenant: SeededTenant,
) -> None:
    live = await park(queue, tenant)
    for stranger in (sandbox_client, other_client):
        assert is_problem(await stranger.get(f"/emails/{live}/timeline"), 404, "not_found")
    (test,) = await queue.add(tenant, mode="test")
    assert is_problem(await client.get(f"/emails/{test}/timeline"), 404, "not_found")
    assert (await read(sandbox_client, test))["status"] == "queued"
