"""What was true at accept is asked again when an email is claimed."""

from uuid import UUID

from sqlalchemy import text

from tallypost_core.crypto import KeyRing
from tallypost_domain.queue.loading import load_claimed, load_content
from tallypost_domain.suppressions.service import suppress
from tests.integration.queue.harness import Harness, ids
from tests.support.database import PEPPER_SETTING, PEPPERS, SeededTenant

NEWER = KeyRing.from_setting("newer:Q0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0M=," + PEPPER_SETTING)


async def _suppress(
    queue: Harness,
    tenant: SeededTenant,
    address: str,
    *,
    mode: str = "live",
    peppers: KeyRing = PEPPERS,
) -> None:
    async with queue.database.session("tp_cli", tenant.id) as session:
        for _ in range(2):
            await suppress(session, tenant.id, mode, address, origin="manual", peppers=peppers)


async def _update(queue: Harness, tenant: SeededTenant, statement: str) -> None:
    async with queue.database.session("tp_cli", tenant.id) as session:
        await session.execute(text(statement))


async def _suppressed(
    queue: Harness, tenant: SeededTenant, worker: UUID, peppers: KeyRing = PEPPERS
) -> set[str]:
    claims = await queue.claim(worker, tenant)
    return {
        to.address
        for email in await load_claimed(queue.pool, claims, peppers)
        for to in email.recipients
        if to.is_suppressed
    }


async def test_emails_come_as_they_were_accepted_in_the_order_of_the_claims(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    await queue.add(
        tenant,
        from_="Zoë <hello@example.com>",
        to=["Ada <a@r.test>", "b@r.test"],
        cc="c@r.test",
        bcc="d@r.test",
        reply_to="e@r.test",
        subject="Grüße ✉",
        html="<p>😀</p>",
        text="Hallo",
        headers={"X-A": "ü", "X-B": '"quoted"'},
        tags=[{"name": "a", "value": "b"}],
        attachments=[
            {"filename": "small.txt", "content": "aGVsbG8=", "content_id": "small"},
            {"filename": "large.bin", "content": [7] * 300_000},
        ],
    )
    await queue.add(other_tenant, 2, text="plain", html=None)
    claims = await queue.claim(await queue.start_worker(), tenant, other_tenant)
    claims.reverse()
    emails = await queue.load(*claims)
    assert [email.claim for email in emails] == claims
    (full,) = (email for email in emails if email.claim.tenant_id == tenant.id)
    assert full.from_header == "Zoë <hello@example.com>"
    assert (full.to, full.cc, full.reply_to) == (
        ("Ada <a@r.test>", "b@r.test"),
        ("c@r.test",),
        ("e@r.test",),
    )
    # A large one comes without its bodies, so that a round of claims never fills the memory.
    assert full.content is None
    assert full.size_bytes > 300_000
    async with queue.database.pool("tp_deliver") as pool:
        content = await load_content(pool, full.claim)
    assert (full.subject, content.html, content.text) == ("Grüße ✉", "<p>😀</p>", "Hallo")
    assert full.headers == {"X-A": "ü", "X-B": '"quoted"'}
    assert [(tag.name, tag.value) for tag in full.tags] == [("a", "b")]
    assert [(to.kind, to.address) for to in full.recipients] == [
        ("to", "a@r.test"),
        ("to", "b@r.test"),
        ("cc", "c@r.test"),
        ("bcc", "d@r.test"),
    ]
    small, large = content.attachments
    assert (small.body, small.object_key, small.content_id) == ("aGVsbG8=", None, "small")
    assert (large.body, large.size_bytes) == (None, 300_000)
    assert large.object_key == f"{tenant.id}/{full.claim.email_id}/1"
    assert {email.hold_reason for email in emails} == {None}
    assert await queue.load() == []


async def test_recipient_that_was_suppressed_since_accept_is_known_in_any_spelling(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    to = ["Ada@R.test", "b@r.test", "c@bücher.example", "d@r.test"]
    await queue.add(tenant, to=to)
    await queue.add(other_tenant, to=to)
    await _suppress(queue, tenant, " aDA@r.TEST ")
    await _suppress(queue, tenant, "c@BÜCHER.example")
    # Neither another mode's nor another tenant's list counts.
    await _suppress(queue, tenant, "b@r.test", mode="test")
    await _suppress(queue, other_tenant, "d@r.test")
    worker = await queue.start_worker()
    found = await _suppressed(queue, tenant, worker)
    assert found == {"Ada@r.test", "c@xn--bcher-kva.example"}
    assert await _suppressed(queue, other_tenant, worker) == {"d@r.test"}


async def test_one_address_that_two_tenants_suppressed_is_known_of_both(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    for owner in (tenant, other_tenant):
        await queue.add(owner, to="a@r.test")
        await _suppress(queue, owner, "a@r.test")
    claims = await queue.claim(await queue.start_worker(), tenant, other_tenant)
    recipients = [email.recipients for email in await queue.load(*claims)]
    assert [[to.is_suppressed for to in people] for people in recipients] == [[True], [True]]


async def test_suppression_under_an_older_pepper_counts_during_a_rotation(
    queue: Harness, tenant: SeededTenant
) -> None:
    await queue.add(tenant, to=["old@r.test", "new@r.test", "free@r.test"])
    await _suppress(queue, tenant, "old@r.test", peppers=PEPPERS)
    await _suppress(queue, tenant, "new@r.test", peppers=NEWER)
    worker = await queue.start_worker()
    assert await _suppressed(queue, tenant, worker, NEWER) == {"old@r.test", "new@r.test"}


async def test_email_of_a_suspended_tenant_is_to_be_held_and_of_another_not(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    await queue.add(tenant)
    await queue.add(other_tenant)
    await _update(queue, tenant, "UPDATE tenants SET status = 'suspended'")
    claims = await queue.claim(await queue.start_worker(), tenant, other_tenant)
    reasons = {email.claim.tenant_id: email.hold_reason for email in await queue.load(*claims)}
    assert reasons == {tenant.id: "tenant_not_active", other_tenant.id: None}


async def test_email_from_a_domain_that_lost_its_verification_is_to_be_held(
    queue: Harness, tenant: SeededTenant
) -> None:
    await queue.add(tenant)
    await _update(queue, tenant, "UPDATE domains SET status = 'failed'")
    claims = await queue.claim(await queue.start_worker(), tenant)
    assert [email.hold_reason for email in await queue.load(*claims)] == ["domain_not_verified"]


async def test_unconfirmed_recipient_is_loaded_only_where_the_stream_sends_again(
    queue: Harness, tenant: SeededTenant
) -> None:
    added = {}
    worker = await queue.start_worker()
    for lane in ("transactional", "bulk"):
        headers = {"X-Tallypost-Stream": lane}
        (added[lane],) = await queue.add(tenant, to=["a@r.test", "b@r.test"], headers=headers)
        (claim,) = await queue.hand_over(worker, tenant, lane=lane)
        await queue.record(worker, await queue.settle(worker, claim, "ambiguous", b="deferred"))
        await queue.make_due(tenant, added[lane])
    for lane, expected in (("transactional", ["a@r.test", "b@r.test"]), ("bulk", ["b@r.test"])):
        claims = await queue.claim(worker, tenant, lane=lane)
        assert ids(claims) == [added[lane]]
        (email,) = await queue.load(*claims)
        assert [to.address for to in email.recipients] == expected
    # The tenant changes its mind, for emails under way as well.
    await _update(queue, tenant, "UPDATE streams SET on_unconfirmed = 'resend'")
    (email,) = await queue.load(*claims)
    assert [to.address for to in email.recipients] == ["a@r.test", "b@r.test"]
