"""What a trace tells of an email: from the request through the queue to the mail server's reply."""

from pathlib import Path
from uuid import UUID

from sqlalchemy import text

from tallypost_domain.emails.service import get_email
from tallypost_domain.queue.dead_letters import list_dead_letters
from tallypost_domain.queue.requeueing import requeue
from tallypost_domain.suppressions.service import suppress
from tallypost_simulators.smtp_faults import Fault
from tests.integration.api.conftest import client_of
from tests.integration.queue.people import SOMEBODY
from tests.integration.tracing.conftest import Site, email_of, traced_site
from tests.integration.worker.loops import until
from tests.support.database import PEPPERS, Database, SeededTenant
from tests.support.otlp_sink import OTLPSink, ReceivedSpan

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def traceparent(flags: str) -> dict[str, str]:
    """The header of a caller that has a trace."""
    return {"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-{flags}"}


async def stored_contexts(database: Database, tenant: SeededTenant) -> list[str | None]:
    """What stands with the tenant's emails, first to last."""
    async with database.session("test_reader", tenant.id) as session:
        rows = await session.execute(text("SELECT trace_context FROM emails ORDER BY id"))
        return list(rows.scalars())


async def until_sent(database: Database, tenant: SeededTenant, email_id: UUID) -> None:
    """Return once an email has left."""
    query = text("SELECT 1 FROM emails WHERE id = :id AND status = 'sent'")

    async def is_sent() -> bool:
        async with database.session("test_reader", tenant.id) as session:
            return bool((await session.execute(query, {"id": email_id})).all())

    await until(is_sent)


async def of_email(site: Site, name: str, email_id: UUID, count: int = 1) -> list[ReceivedSpan]:
    """The spans of a name that name an email, once so many are there."""
    return await site.spans(
        name, count, lambda span: span.attributes.get("messaging.message.id") == str(email_id)
    )


async def test_one_trace_goes_from_the_request_through_the_queue_to_the_reply(
    site: Site, tenant: SeededTenant
) -> None:
    email_id = await site.send(tenant)
    (handover,) = await site.spans("hand over smtp", 1)
    (turn,) = await of_email(site, "process email.send", email_id)
    (sending,) = await of_email(site, "send email.send", email_id)
    (request,) = await site.spans("POST /emails", 1)
    assert request.parent_id is None
    assert sending.is_child_of(request)
    assert turn.is_child_of(sending)
    assert turn.links == {sending.place}
    assert handover.is_child_of(turn)
    kinds = (request.kind, sending.kind, turn.kind, handover.kind)
    assert kinds == ("SERVER", "PRODUCER", "CONSUMER", "CLIENT")
    assert not any(span.has_failed for span in (request, sending, turn, handover))


async def test_each_step_says_what_it_was_by_the_conventions_names(
    site: Site, tenant: SeededTenant
) -> None:
    async with client_of(site.api, tenant.live_key.token) as client:
        answer = await client.post("/emails", json=email_of(tenant))
    email_id = UUID(answer.json()["id"])
    (handover,) = await site.spans("hand over smtp", 1)
    (turn,) = await of_email(site, "process email.send", email_id)
    (sending,) = await of_email(site, "send email.send", email_id)
    (request,) = await site.spans("POST /emails", 1)
    assert request.attributes == {
        "http.request.method": "POST",
        "http.route": "/emails",
        "http.response.status_code": 200,
        "url.scheme": "http",
        "network.protocol.version": "1.1",
        "tallypost.request.id": answer.headers["x-request-id"],
    }
    shared = {
        "messaging.system": "tallypost",
        "messaging.destination.name": "email.send",
        "messaging.message.id": str(email_id),
        "tallypost.tenant.id": str(tenant.id),
    }
    assert sending.attributes == shared | {
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "tallypost.mode": "live",
    }
    assert turn.attributes == shared | {
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "tallypost.lane": "transactional",
        "tallypost.attempt": 1,
    }
    assert handover.attributes == {
        "server.address": "127.0.0.1",
        "server.port": site.smtp_port,
        "network.protocol.name": "smtp",
        "tallypost.provider": "smtp",
        "tallypost.provider.account": "smtp",
        "tallypost.outcome": "accepted",
        "tallypost.recipients": 1,
        "tallypost.smtp.reply_code": 250,
        "tallypost.smtp.enhanced_code": "2.0.0",
    }


async def test_the_calls_of_the_database_stand_where_they_were_waited_for(
    site: Site, tenant: SeededTenant
) -> None:
    email_id = await site.send(tenant)
    (sending,) = await of_email(site, "send email.send", email_id)
    (turn,) = await of_email(site, "process email.send", email_id)
    (flush,) = await site.spans("SELECT accept_emails", 1)
    (claim,) = await site.spans("receive email.send", 1)
    records = await site.spans("SELECT record_settlements", 2)
    assert flush.is_child_of(sending)
    assert claim.is_child_of(sending)
    # One that marks the handover, one that writes its result.
    assert [record.is_child_of(turn) for record in records] == [True, True]
    assert flush.attributes["db.stored_procedure.name"] == "accept_emails"


async def test_a_callers_trace_goes_on(site: Site, tenant: SeededTenant) -> None:
    email_id = await site.send(tenant, traceparent("01"))
    (request,) = await site.spans("POST /emails", 1)
    (turn,) = await of_email(site, "process email.send", email_id)
    assert (request.trace_id, request.parent_id) == (TRACE_ID, SPAN_ID)
    assert turn.trace_id == TRACE_ID


async def test_a_caller_that_does_not_sample_leaves_nothing(
    site: Site, database: Database, tenant: SeededTenant
) -> None:
    unsampled = await site.send(tenant, traceparent("00"))
    sampled = await site.send(tenant)
    assert await of_email(site, "process email.send", sampled)
    contexts = await stored_contexts(database, tenant)
    assert [context is None for context in contexts] == [True, False]
    received = site.collector.spans()
    assert str(unsampled) not in [span.attributes.get("messaging.message.id") for span in received]
    assert TRACE_ID not in {span.trace_id for span in received}


async def test_without_a_share_to_sample_nothing_is_stored_and_nothing_is_sent(
    database: Database,
    tenant: SeededTenant,
    redis_url: str,
    tmp_path: Path,
    collector: OTLPSink,
) -> None:
    async with traced_site(database, tmp_path, redis_url, collector, ratio=0.0) as site:
        email_id = await site.send(tenant)
        await until_sent(database, tenant, email_id)
    assert await stored_contexts(database, tenant) == [None]
    assert collector.spans() == []


async def test_a_retry_has_a_trace_of_its_own_that_is_linked_to_the_first_ones(
    site: Site, tenant: SeededTenant
) -> None:
    site.faults.active = [Fault(phase="rcpt", reply="451 4.3.0 later", times=1)]
    email_id = await site.send(tenant)
    turns = await of_email(site, "process email.send", email_id, 2)
    first, second = sorted(turns, key=lambda turn: str(turn.attributes["tallypost.attempt"]))
    (sending,) = await of_email(site, "send email.send", email_id)
    assert [turn.attributes["tallypost.attempt"] for turn in (first, second)] == [1, 2]
    assert first.is_child_of(sending)
    assert second.parent_id is None
    assert second.trace_id != first.trace_id
    assert first.links == second.links == {sending.place}


async def test_an_email_that_is_sent_again_has_a_trace_of_its_own_that_is_linked_to_the_first_ones(
    site: Site, database: Database, tenant: SeededTenant
) -> None:
    # As often as the worker tries.
    site.faults.active = [Fault(phase="rcpt", reply="451 4.3.0 later", times=4)]
    email_id = await site.send(tenant)
    (sending,) = await of_email(site, "send email.send", email_id)

    async def requeue_all() -> bool:
        async with database.session("tp_console", tenant.id) as session:
            letters = (await list_dead_letters(session, tenant.id, "live", limit=1)).items
            ids = [letter.id for letter in letters]
            done = await requeue(session, tenant.id, "live", ids, actor=SOMEBODY, peppers=PEPPERS)
        return done.emails == 1

    await until(requeue_all)
    await until_sent(database, tenant, email_id)
    firsts = [
        turn
        for turn in await of_email(site, "process email.send", email_id, 5)
        if turn.attributes["tallypost.attempt"] == 1
    ]
    assert [turn.is_child_of(sending) for turn in firsts] == [True, False]
    again = firsts[1]
    assert again.parent_id is None
    assert again.links == {sending.place}
    claims = [
        claim for claim in await site.spans("receive email.send", 5) if claim.is_child_of(sending)
    ]
    assert len(claims) == 1


async def test_a_handover_that_was_refused_says_so_by_codes(
    site: Site, tenant: SeededTenant
) -> None:
    site.faults.active = [Fault(phase="rcpt", reply="550 5.1.1 no such user", times=1)]
    await site.send(tenant)
    (handover,) = await site.spans("hand over smtp", 1)
    assert handover.has_failed
    assert handover.attributes["error.type"] == "rejected"
    assert handover.attributes["tallypost.smtp.reply_code"] == 550
    assert handover.attributes["tallypost.smtp.enhanced_code"] == "5.1.1"


async def test_each_email_of_a_batch_has_a_trace_of_its_own_that_is_linked_to_the_batchs(
    site: Site, tenant: SeededTenant
) -> None:
    async with client_of(site.api, tenant.live_key.token) as client:
        batch = [email_of(tenant), email_of(tenant), email_of(tenant)]
        answer = await client.post("/emails/batch", json=batch)
    assert answer.status_code == 200
    turns = await site.spans("process email.send", 3)
    (sending,) = await site.spans("send email.send", 1)
    assert sending.attributes["messaging.batch.message_count"] == 3
    assert {turn.links for turn in turns} == {frozenset({sending.place})}
    assert [turn.parent_id for turn in turns] == [None, None, None]
    assert len({turn.trace_id for turn in turns} | {sending.trace_id}) == 4


async def test_an_email_that_is_decided_step_by_step_has_its_trace_too(
    site: Site, database: Database, tenant: SeededTenant
) -> None:
    async with database.session("tp_cli", tenant.id) as session:
        await suppress(
            session, tenant.id, "live", "blocked@example.net", origin="manual", peppers=PEPPERS
        )
    email_id = await site.send(tenant, to=["ada@example.net", "blocked@example.net"])
    (sending,) = await of_email(site, "send email.send", email_id)
    (turn,) = await of_email(site, "process email.send", email_id)
    assert turn.is_child_of(sending)


async def test_large_attachments_show_as_operations_of_the_object_store(
    site: Site, tenant: SeededTenant
) -> None:
    attachment = {"filename": "large.bin", "content": "QUFB" * 100_000}
    email_id = await site.send(tenant, attachments=[attachment])
    (turn,) = await of_email(site, "process email.send", email_id)
    (sending,) = await of_email(site, "send email.send", email_id)
    (put,) = await site.spans("put object", 1)
    (get,) = await site.spans("get object", 1)
    assert put.is_child_of(sending)
    assert get.is_child_of(turn)
    expected = {"tallypost.object_store": "folder", "tallypost.object.size_bytes": 300_000}
    assert put.attributes == get.attributes == expected


async def test_the_trace_of_an_email_can_be_read_by_its_tenant_alone(
    site: Site, database: Database, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    mine, others = await site.send(tenant), await site.send(other_tenant)
    trace_ids = []
    for owner, email_id in ((tenant, mine), (other_tenant, others)):
        async with database.session("tp_console", owner.id) as session:
            trace_ids.append((await get_email(session, owner.id, "live", email_id)).trace_id)
        (turn,) = await of_email(site, "process email.send", email_id)
        assert trace_ids[-1] == turn.trace_id
        assert turn.attributes["tallypost.tenant.id"] == str(owner.id)
    assert trace_ids[0] != trace_ids[1]
    assert await stored_contexts(database, tenant) != await stored_contexts(database, other_tenant)


async def test_the_answers_of_the_api_do_not_tell_of_traces(
    site: Site, tenant: SeededTenant
) -> None:
    email_id = await site.send(tenant)
    async with client_of(site.api, tenant.live_key.token) as client:
        answer = await client.get(f"/emails/{email_id}")
    assert "trace" not in answer.text


async def test_probes_are_not_traced(site: Site, tenant: SeededTenant) -> None:
    async with client_of(site.api, None) as client:
        for path in ("/health/live", "/health/ready", "/metrics"):
            assert (await client.get(path)).status_code == 200
    email_id = await site.send(tenant)
    assert await of_email(site, "process email.send", email_id)
    assert {span.name for span in site.collector.spans() if span.kind == "SERVER"} == {
        "POST /emails"
    }


async def test_a_refused_request_is_a_span_without_an_email(
    site: Site, tenant: SeededTenant
) -> None:
    async with client_of(site.api, "wrong") as client:
        await client.post("/emails", json=email_of(tenant))
        await client.get("/nowhere/ada@example.net")
    (refused,) = await site.spans("POST /emails", 1)
    (unmatched,) = await site.spans("GET", 1)
    assert refused.attributes["http.response.status_code"] == 403
    assert not refused.has_failed
    assert "http.route" not in unmatched.attributes
    assert site.collector.spans("send email.send") == []
