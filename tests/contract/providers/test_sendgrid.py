"""The SendGrid provider against the simulator: what arrives, and what each answer means."""

import asyncio
import email
import email.policy
import json
import socket
from collections.abc import AsyncIterator, Mapping

import pytest
from msgspec.structs import replace

from tallypost_providers.errors import ProviderBusy
from tallypost_providers.sendgrid import SendGridProvider
from tallypost_providers.sendgrid_mail import EMAIL_ID_ARG
from tallypost_providers.types import Attachment, Outcome, SendResult
from tallypost_simulators.http_faults import HTTPFault, HTTPFaultAction
from tallypost_simulators.sendgrid_account import API_KEY, RateLimit
from tallypost_simulators.sendgrid_server import SendGridSimulator
from tests.support.http_peers import answer, peer
from tests.support.sendgrid import make_provider, sendgrid_stage
from tests.support.smtp_peers import Certificate, wait_until
from tests.unit.providers.emails import make_email, make_recipient

IN_TIME_S = 10.0
SHORT_S = 1.0
Stage = tuple[SendGridSimulator, SendGridProvider]


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """A simulator and a provider that speaks to it."""
    async with sendgrid_stage() as both:
        yield both


def outcomes(result: SendResult) -> list[Outcome]:
    return [entry.outcome for entry in result.recipients]


def errors(message: str = "no", field: str | None = None) -> bytes:
    return json.dumps({"errors": [{"message": message, "field": field, "help": None}]}).encode()


async def test_accepted_email_has_sendgrids_id_and_our_ids_come_along(stage: Stage) -> None:
    simulator, provider = stage
    email_ = make_email()
    result = await provider.send(email_, IN_TIME_S)
    (taken,) = simulator.messages
    (entry,) = result.recipients
    assert (entry.outcome, entry.reply_code, result.phase) == (Outcome.ACCEPTED, 202, "http")
    assert result.provider_message_id == taken.message_id
    assert taken.custom_args[EMAIL_ID_ARG] == str(email_.email_id)
    assert result.evidence["rate_limit"] == "10000"
    assert {"status", "rate_remaining", "rate_reset"} <= set(result.evidence)
    assert result.pause_s is None


async def test_message_has_everything_that_the_tenant_wrote(stage: Stage) -> None:
    simulator, provider = stage
    email_ = make_email(
        from_header="שלום <hello@news.example.com>",
        to=('"Doe, Jürgen" <ada@example.net>',),
        subject="Grüße ✓",
        text="plain é\n",
        html='<p>é <img src="cid:logo">\n',
        reply_to=("Hilfe <help@example.com>", "b@example.com"),
        headers={"X-Order": "1", "X-Name": "é" * 60},
        attachments=(
            Attachment(filename="a", content_type="application/x-a", body=bytes(range(256)) * 1200),
            Attachment(filename="l.png", content_type="image/png", body=b"png", content_id="logo"),
        ),
    )
    assert outcomes(await provider.send(email_, IN_TIME_S)) == [Outcome.ACCEPTED]
    message = email.message_from_bytes(simulator.messages[0].message, policy=email.policy.default)
    assert message["From"].addresses[0].display_name == "שלום"
    assert message["To"].addresses[0].display_name == "Doe, Jürgen"
    assert [item.addr_spec for item in message["Reply-To"].addresses] == [
        "help@example.com",
        "b@example.com",
    ]
    assert (message["Subject"], message["X-Order"], message["X-Name"]) == (
        "Grüße ✓",
        "1",
        "é" * 60,
    )
    parts: dict[str, bytes] = {}
    for part in message.walk():
        content = part.get_payload(decode=True)
        if isinstance(content, bytes):
            parts[part.get_content_type()] = content.replace(b"\r\n", b"\n")
    assert parts == {
        "text/plain": "plain é\n".encode(),
        "text/html": '<p>é <img src="cid:logo">\n'.encode(),
        "application/x-a": bytes(range(256)) * 1200,
        "image/png": b"png",
    }


async def test_email_to_several_is_one_message_with_one_answer_for_each(stage: Stage) -> None:
    simulator, provider = stage
    email_ = make_email(
        to=("Ada <ada@example.net>",),
        cc=("bob@example.net",),
        recipients=(
            make_recipient("bob@example.net", "cc"),
            make_recipient("eve@hidden.test", "bcc"),
            make_recipient("ada@example.net"),
        ),
    )
    result = await provider.send(email_, IN_TIME_S)
    assert outcomes(result) == [Outcome.ACCEPTED] * 3
    assert [entry.recipient_id for entry in result.recipients] == [
        recipient.recipient_id for recipient in email_.recipients
    ]
    (taken,) = simulator.messages
    assert taken.recipients == ("ada@example.net", "bob@example.net", "eve@hidden.test")
    assert b"hidden.test" not in taken.message


async def test_hidden_recipient_with_an_unusable_address_is_refused_alone(stage: Stage) -> None:
    simulator, provider = stage
    email_ = make_email(
        recipients=(
            make_recipient("jürgen@example.net", "bcc"),
            make_recipient("ada@example.net"),
        )
    )
    result = await provider.send(email_, IN_TIME_S)
    assert outcomes(result) == [Outcome.REJECTED, Outcome.ACCEPTED]
    assert result.recipients[0].enhanced_code == "5.1.3"
    assert simulator.messages[0].recipients == ("ada@example.net",)


async def test_email_that_names_somebody_else_is_never_sent(stage: Stage) -> None:
    simulator, provider = stage
    email_ = make_email(to=("ada@example.net", "bob@example.net"))
    assert provider.find_obstacle(email_)
    result = await provider.send(email_, IN_TIME_S)
    assert (outcomes(result), result.phase) == ([Outcome.UNAVAILABLE], "envelope")
    assert simulator.messages == []


async def test_limit_is_judged_before_any_contact() -> None:
    provider = make_provider("http://127.0.0.1:9")
    file = Attachment(filename="a", content_type="a/b", body=bytes(23_592_960))
    result = await provider.send(make_email(attachments=(file,)), IN_TIME_S)
    (entry,) = result.recipients
    assert (entry.outcome, entry.enhanced_code, result.phase) == (
        Outcome.REJECTED,
        "5.3.4",
        "size",
    )
    assert "31457280" in entry.detail


DOCUMENTED: list[tuple[int, Outcome]] = [
    (400, Outcome.REJECTED),
    (401, Outcome.SUSPENDED),
    (403, Outcome.SUSPENDED),
    (404, Outcome.SUSPENDED),
    (405, Outcome.SUSPENDED),
    (406, Outcome.SUSPENDED),
    (413, Outcome.REJECTED),
    (415, Outcome.SUSPENDED),
    (429, Outcome.THROTTLED),
    (500, Outcome.UNAVAILABLE),
    (502, Outcome.AMBIGUOUS),
    (503, Outcome.UNAVAILABLE),
    (504, Outcome.AMBIGUOUS),
]


@pytest.mark.parametrize(("status", "outcome"), DOCUMENTED)
async def test_error_in_sendgrids_form_is_its_statement(
    stage: Stage, status: int, outcome: Outcome
) -> None:
    simulator, provider = stage
    body = errors("some reason", "from")
    simulator.faults.replace(HTTPFault(status=status, body=body))
    result = await provider.send(make_email(), IN_TIME_S)
    (entry,) = result.recipients
    assert (entry.outcome, entry.reply_code) == (outcome, status)
    assert entry.detail == "from: some reason"
    assert result.evidence["status"] == str(status)


@pytest.mark.parametrize("status", [200, 204, 400, 401, 403, 404, 500, 502, 503, 504])
@pytest.mark.parametrize("body", [b"", b"<html>nginx</html>"], ids=["empty", "page"])
async def test_answer_that_sendgrid_does_not_document_says_nothing(
    stage: Stage, status: int, body: bytes
) -> None:
    simulator, provider = stage
    simulator.faults.replace(HTTPFault(status=status, body=b"" if status == 204 else body))
    result = await provider.send(make_email(), IN_TIME_S)
    (entry,) = result.recipients
    assert (entry.outcome, entry.reply_code) == (Outcome.AMBIGUOUS, status)


async def test_body_that_somebody_on_the_way_finds_too_large_may_go_elsewhere(stage: Stage) -> None:
    simulator, provider = stage
    simulator.faults.replace(HTTPFault(status=413, body=b"<html>nginx</html>"))
    result = await provider.send(make_email(), IN_TIME_S)
    assert outcomes(result) == [Outcome.UNAVAILABLE]
    # The account is well, whatever its limit.
    assert not result.was_asked


@pytest.mark.parametrize("body", [b"", b"<html>nginx</html>"], ids=["empty", "page"])
async def test_too_many_requests_is_a_statement_in_any_form(stage: Stage, body: bytes) -> None:
    simulator, provider = stage
    simulator.faults.replace(HTTPFault(status=429, headers={"Retry-After": "7"}, body=body))
    result = await provider.send(make_email(), IN_TIME_S)
    (entry,) = result.recipients
    assert (entry.outcome, entry.retry_after_s) == (Outcome.THROTTLED, 7.0)
    assert result.pause_s == 7.0


SILENCES: list[tuple[HTTPFaultAction, str, int]] = [
    ("reset_before", "reset", 0),
    ("reset_after", "reset", 0),
    ("drop", "reset", 1),
    ("hang", "timeout", 1),
    ("cut", "reset", 1),
    ("garbage", "reset", 1),
]


@pytest.mark.parametrize(("action", "silence", "taken"), SILENCES)
async def test_silence_after_the_request_left_is_ambiguous(
    stage: Stage, action: HTTPFaultAction, silence: str, taken: int
) -> None:
    simulator, provider = stage
    simulator.faults.replace(HTTPFault(action=action))
    result = await provider.send(make_email(), SHORT_S)
    assert (outcomes(result), result.phase) == ([Outcome.AMBIGUOUS], "http")
    assert result.evidence == {"silence": silence}
    assert len(simulator.messages) == taken


UNUSABLE: dict[str, tuple[int, Mapping[str, str], bytes]] = {
    "redirect": (307, {"location": "/v3/mail/send"}, b""),
    "oversized": (202, {}, b"x" * 1_100_000),
    "compressed in another way": (202, {"content-encoding": "br"}, b"x"),
}


@pytest.mark.parametrize("name", UNUSABLE)
async def test_answer_that_cannot_be_used_is_ambiguous(stage: Stage, name: str) -> None:
    simulator, provider = stage
    status, headers, body = UNUSABLE[name]
    simulator.faults.replace(HTTPFault(status=status, headers=headers, body=body, times=1))
    result = await provider.send(make_email(), IN_TIME_S)
    assert outcomes(result) == [Outcome.AMBIGUOUS]
    assert result.recipients[0].detail
    assert simulator.messages == []


async def test_nobody_there_is_known_to_be_harmless() -> None:
    provider = make_provider("http://127.0.0.1:9")
    result = await provider.send(make_email(), IN_TIME_S)
    assert (outcomes(result), result.phase) == ([Outcome.UNAVAILABLE], "connect")
    await provider.close()


async def test_address_that_may_not_be_reached_is_known_to_be_harmless() -> None:
    provider = make_provider("https://10.0.0.1")
    result = await provider.send(make_email(), IN_TIME_S)
    assert (outcomes(result), result.phase) == ([Outcome.UNAVAILABLE], "connect")
    await provider.close()


async def test_connection_that_takes_too_long_leaves_no_request_behind() -> None:
    # It listens and never accepts: the connection opens, and its handshake never ends.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        provider = make_provider(f"https://127.0.0.1:{silent.getsockname()[1]}")
        # A third of the time is for the connection; the bound tells it from all of the time.
        async with asyncio.timeout(5.0):
            result = await provider.send(make_email(), 6.0)
        await provider.close()
        connection, _ = silent.accept()
        with connection:
            received = connection.recv(100_000)
    assert (outcomes(result), result.phase) == ([Outcome.UNAVAILABLE], "connect")
    assert b"mail/send" not in received


async def test_server_that_cannot_prove_who_it_is_gets_nothing(certificate: Certificate) -> None:
    async with peer(answer(), tls=certificate.server_context()) as server:
        provider = make_provider(server.url(scheme="https", path=""))
        result = await provider.send(make_email(), IN_TIME_S)
        await provider.close()
    assert (outcomes(result), result.phase) == ([Outcome.UNAVAILABLE], "connect")
    assert server.requests == []


async def test_key_that_is_revoked_suspends_the_account_until_it_works_again(stage: Stage) -> None:
    simulator, provider = stage
    assert outcomes(await provider.send(make_email(), IN_TIME_S)) == [Outcome.ACCEPTED]
    simulator.account.is_key_revoked = True
    result = await provider.send(make_email(), IN_TIME_S)
    assert (outcomes(result), result.recipients[0].reply_code) == ([Outcome.SUSPENDED], 401)
    assert API_KEY not in repr(result)
    simulator.account.is_key_revoked = False
    assert outcomes(await provider.send(make_email(), IN_TIME_S)) == [Outcome.ACCEPTED]


async def test_account_that_may_not_send_is_suspended(stage: Stage) -> None:
    simulator, provider = stage
    simulator.account.scopes.discard("mail.send")
    no_scope = await provider.send(make_email(), IN_TIME_S)
    simulator.account.scopes.add("mail.send")
    simulator.account.has_credits = False
    no_credits = await provider.send(make_email(), IN_TIME_S)
    simulator.account.has_credits = True
    unverified = await provider.send(make_email(from_header="a@example.org"), IN_TIME_S)
    simulator.account.is_suspended = True
    suspended = await provider.send(make_email(), IN_TIME_S)
    results = (no_scope, no_credits, unverified, suspended)
    assert [outcomes(result) for result in results] == [[Outcome.SUSPENDED]] * 4
    assert [result.concerns for result in results] == ["account", "account", "sender", "account"]
    assert [result.recipients[0].reply_code for result in results] == [403, 401, 403, 403]


async def test_rate_limit_says_when_it_ends(stage: Stage) -> None:
    simulator, provider = stage
    simulator.account.rate_limit = RateLimit(requests=1, period_s=3600.0)
    last = await provider.send(make_email(), IN_TIME_S)
    assert outcomes(last) == [Outcome.ACCEPTED]
    assert last.pause_s is not None
    result = await provider.send(make_email(), IN_TIME_S)
    (entry,) = result.recipients
    assert (entry.outcome, entry.reply_code) == (Outcome.THROTTLED, 429)
    assert entry.retry_after_s is not None
    assert 0 <= entry.retry_after_s <= 3600
    assert result.pause_s == entry.retry_after_s
    assert result.evidence["rate_remaining"] == "0"


async def test_who_gets_no_connection_in_time_hears_so_and_sends_nothing() -> None:
    async with sendgrid_stage(connections=1) as (simulator, provider):
        simulator.faults.replace(HTTPFault(action="hang"))
        holder = asyncio.create_task(provider.send(make_email(), IN_TIME_S))
        await wait_until(lambda: bool(simulator.messages))
        with pytest.raises(ProviderBusy):
            await provider.send(make_email(), SHORT_S)
        simulator.faults.replace()
        assert outcomes(await holder) == [Outcome.ACCEPTED]
        assert len(simulator.messages) == 1


async def test_closing_refuses_whoever_waits_and_lets_the_others_finish() -> None:
    async with sendgrid_stage(connections=1) as (simulator, provider):
        simulator.faults.replace(HTTPFault(action="hang"))
        holder = asyncio.create_task(provider.send(make_email(), IN_TIME_S))
        await wait_until(lambda: bool(simulator.messages))
        waiting = asyncio.create_task(provider.send(make_email(), IN_TIME_S))
        await asyncio.sleep(0)
        await provider.close()
        for refused in (waiting, provider.send(make_email(), IN_TIME_S)):
            with pytest.raises(ProviderBusy):
                await refused
        simulator.faults.replace()
        assert outcomes(await holder) == [Outcome.ACCEPTED]


async def test_cancelled_handovers_give_their_places_back() -> None:
    async with sendgrid_stage(connections=2) as (simulator, provider):
        simulator.faults.replace(HTTPFault(action="hang", times=2))
        calls = [asyncio.create_task(provider.send(make_email(), IN_TIME_S)) for _ in range(2)]
        await wait_until(lambda: len(simulator.messages) == 2)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        emails = [make_email(subject=f"{number}") for number in range(4)]
        results = await asyncio.gather(*(provider.send(item, IN_TIME_S) for item in emails))
        assert [outcomes(result) for result in results] == [[Outcome.ACCEPTED]] * 4


async def test_second_tenants_email_carries_its_own_ids(stage: Stage) -> None:
    simulator, provider = stage
    first = make_email()
    second = replace(make_email(), recipients=first.recipients)
    await asyncio.gather(provider.send(first, IN_TIME_S), provider.send(second, IN_TIME_S))
    found = {
        (taken.custom_args["tallypost_tenant_id"], taken.custom_args[EMAIL_ID_ARG])
        for taken in simulator.messages
    }
    assert found == {(str(item.tenant_id), str(item.email_id)) for item in (first, second)}
