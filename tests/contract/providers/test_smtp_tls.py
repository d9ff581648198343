"""TLS of the SMTP provider: nothing is sent, and no word believed, before it holds."""

import ssl

import pytest

from tallypost_providers.smtp_failures import Silence
from tallypost_providers.types import Outcome, SendResult
from tests.contract.providers.conftest import MakePeer, MakeProvider
from tests.support.smtp_peers import Certificate, Security, make_certificate
from tests.support.smtp_scripts import CLOSE, DROP, GARBAGE, HANG, NOT_OFFERED, ScriptedPeer
from tests.unit.providers.emails import make_email

IN_TIME_S = 10.0
SHORT_S = 1.0
LOGIN = ("relay-user", "relay-password")


def assert_nothing_was_sent(result: SendResult, silence: Silence, peer: ScriptedPeer) -> None:
    assert result.recipients[0].outcome is Outcome.UNAVAILABLE
    assert (result.phase, result.evidence["silence"]) == ("tls", silence)
    assert not {"auth", "mail"} & set(peer.steps)
    assert b"relay-" not in peer.received


async def test_peer_without_starttls_gets_nothing(
    make_peer: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer({"tls": NOT_OFFERED})
    provider = make_provider(peer.port, security="starttls", login=LOGIN)
    result = await provider.send(make_email(), IN_TIME_S)
    assert_nothing_was_sent(result, Silence.MISSING, peer)


@pytest.mark.parametrize("refusal", ["454 4.7.0 not now", "501 5.5.4 no parameters", "250 ok"])
async def test_peer_that_refuses_starttls_gets_nothing(
    refusal: str, make_peer: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer({"tls": refusal})
    provider = make_provider(peer.port, security="starttls", login=LOGIN)
    result = await provider.send(make_email(), IN_TIME_S)
    assert result.recipients[0].outcome is Outcome.UNAVAILABLE
    assert (result.phase, result.evidence["reply"]) == ("tls", refusal)
    assert not {"auth", "mail"} & set(peer.steps)


@pytest.mark.parametrize(
    ("action", "silence"),
    [
        (HANG, Silence.TIMEOUT),
        (DROP, Silence.RESET),
        (CLOSE, Silence.RESET),
        (GARBAGE, Silence.GARBAGE),
    ],
)
async def test_handshake_that_fails_gets_nothing(
    action: str, silence: Silence, make_peer: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer({"tls": "220 go ahead", "handshake": action})
    provider = make_provider(peer.port, security="starttls", login=LOGIN)
    result = await provider.send(make_email(), SHORT_S if action == HANG else IN_TIME_S)
    assert_nothing_was_sent(result, silence, peer)


@pytest.mark.parametrize(
    ("action", "silence"),
    [
        (HANG, Silence.TIMEOUT),
        (DROP, Silence.RESET),
        (CLOSE, Silence.RESET),
        ("220 plain text here", Silence.GARBAGE),
    ],
)
async def test_peer_that_does_not_speak_tls_from_the_first_byte_gets_nothing(
    action: str, silence: Silence, make_peer: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer({"connect": action})
    provider = make_provider(peer.port, security="tls", login=LOGIN)
    result = await provider.send(make_email(), SHORT_S if action == HANG else IN_TIME_S)
    assert_nothing_was_sent(result, silence, peer)


@pytest.mark.parametrize(
    "injected",
    ["250-injected\r\n250 AUTH PLAIN", "250", "535 5.7.8 no", "25"],
    ids=["whole reply", "bare reply", "refusal", "half a line"],
)
async def test_words_smuggled_in_before_tls_end_the_session(
    injected: str,
    make_peer: MakePeer,
    make_provider: MakeProvider,
    trusted_certificate: Certificate,
) -> None:
    peer = await make_peer(
        {"tls": f"220 go ahead\r\n{injected}"}, tls=trusted_certificate.server_context()
    )
    provider = make_provider(peer.port, security="starttls", login=LOGIN)
    result = await provider.send(make_email(), IN_TIME_S)
    assert_nothing_was_sent(result, Silence.GARBAGE, peer)


async def test_what_was_offered_before_tls_is_forgotten(
    make_peer_offering: MakePeer, make_provider: MakeProvider, trusted_certificate: Certificate
) -> None:
    # The offers of the second EHLO are those that count (RFC 3207, section 4.2).
    peer = await make_peer_offering(
        {
            "tls": "220 go ahead",
            "hello": ["250-peer\r\n250-STARTTLS\r\n250 PIPELINING", "250-peer\r\n250 AUTH LOGIN"],
            "auth": "535 5.7.8 no",
        },
        tls=trusted_certificate.server_context(),
    )
    provider = make_provider(peer.port, security="starttls", login=LOGIN)
    result = await provider.send(make_email(), IN_TIME_S)
    assert result.recipients[0].outcome is Outcome.SUSPENDED
    assert b"AUTH LOGIN\r\n" in peer.lines


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_certificate_for_another_name_gets_nothing(
    security: Security,
    make_peer: MakePeer,
    make_provider: MakeProvider,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = make_certificate(tmp_path_factory.mktemp("other"), host="mail.example.com")
    monkeypatch.setenv("SSL_CERT_FILE", str(other.certificate_file))
    context: ssl.SSLContext = other.server_context()
    peer = await make_peer({"tls": "220 go ahead"}, tls=context)
    peer.is_tls_implicit = security == "tls"
    provider = make_provider(peer.port, security=security, login=LOGIN)
    result = await provider.send(make_email(), IN_TIME_S)
    assert_nothing_was_sent(result, Silence.UNTRUSTED, peer)


async def test_connection_kept_under_tls_is_used_again_for_small_and_large_emails(
    make_peer: MakePeer, make_provider: MakeProvider, trusted_certificate: Certificate
) -> None:
    peer = await make_peer({"tls": "220 go ahead"}, tls=trusted_certificate.server_context())
    provider = make_provider(peer.port, security="starttls", login=LOGIN)
    sizes = (10, 3_000_000, 300_000, 10)
    results = [await provider.send(make_email(text="x" * size), IN_TIME_S) for size in sizes]
    assert [result.recipients[0].outcome for result in results] == [Outcome.ACCEPTED] * 4
    assert (peer.connections, len(peer.bodies)) == (1, 4)
