"""A check of a relay names the hop that fails, says why in the peer's words, and sends nothing."""

import base64
import ipaddress
import ssl
from collections.abc import Sequence
from pathlib import Path

import pytest

from tallypost_core.settings.loader import Secret
from tallypost_core.settings.providers import SMTPSettings
from tallypost_providers.account_checks import CheckStep
from tallypost_providers.smtp import SMTPProvider
from tallypost_providers.smtp_guard import HostGuard
from tallypost_resilience.egress_rules import EgressRules
from tests.contract.providers.conftest import MakePeer, MakeProvider
from tests.support.smtp_peers import (
    AiosmtpdPeer,
    Certificate,
    Security,
    make_certificate,
    wait_until,
)
from tests.support.smtp_scripts import CLOSE, GARBAGE, HANG, NOT_OFFERED, Script
from tests.unit.providers.emails import make_email

# aiosmtpd says so where TLS is there from the first byte, which it cannot see.
pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")

IN_TIME_S = 10.0
SHORT_S = 1.5
LOGIN = ("relay-user", "relay-password")
HOPS: dict[Security, list[str]] = {
    # TLS begins after the first greeting, and everything said before it is forgotten.
    "starttls": ["look up the host", "connect", "greet", "encrypt", "greet again", "log in"],
    "tls": ["look up the host", "connect", "encrypt", "greet", "log in"],
}
LOOPBACK = EgressRules(allowed_networks=(ipaddress.ip_network("127.0.0.0/8"),))
ENCRYPTED = pytest.mark.parametrize("security", ["starttls", "tls"])


def states(steps: Sequence[CheckStep]) -> list[str]:
    return [step.state for step in steps]


def assert_failed(steps: Sequence[CheckStep], name: str, words: str) -> None:
    """The named step failed and said so, those before it are good, those after it not tried."""
    names = [step.name for step in steps]
    place = names.index(name)
    rest = len(names) - place - 1
    assert states(steps) == ["good"] * place + ["failed"] + ["not_tried"] * rest
    assert words in steps[place].detail
    assert all(step.detail == "" for step in steps[place + 1 :])


@ENCRYPTED
async def test_relay_that_is_set_up_well_passes_every_hop_and_gets_no_mail(
    security: Security, trusted_certificate: Certificate, make_provider: MakeProvider
) -> None:
    async with AiosmtpdPeer().running(trusted_certificate, security) as peer:
        provider = make_provider(peer.port, security=security, login=LOGIN)
        steps = await provider.check(IN_TIME_S)
    assert [step.name for step in steps] == HOPS[security]
    assert states(steps) == ["good"] * len(steps)
    details = {step.name: step.detail for step in steps}
    assert details["encrypt"].startswith("certificate of localhost by localhost, until ")
    assert "localhost" in details["greet"]
    assert (peer.envelopes, peer.logins) == ([], ["PLAIN"])


async def test_check_takes_leave_and_keeps_no_connection(
    make_peer: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer({})
    provider = make_provider(peer.port, connections=1)
    steps = await provider.check(IN_TIME_S)
    # Nothing to encrypt and nobody to log in.
    assert [step.name for step in steps] == ["look up the host", "connect", "greet"]
    assert states(steps) == ["good"] * 3
    assert peer.lines[-1] == b"QUIT\r\n"
    await wait_until(lambda: peer.open_connections == 0)
    assert not {"mail", "rcpt", "data"} & set(peer.steps)


@pytest.mark.parametrize(
    ("script", "name", "words"),
    [
        ({"connect": "554 5.7.1 no service for you"}, "greet", "554 5.7.1 no service for you"),
        ({"connect": CLOSE}, "greet", "the connection ended"),
        ({"connect": GARBAGE}, "greet", "no SMTP reply"),
        ({"connect": HANG}, "greet", "no answer in time"),
        ({"hello": "550 5.7.1 go away"}, "greet", "550 5.7.1 go away"),
        ({"hello": CLOSE}, "greet", "the connection ended"),
        ({"tls": NOT_OFFERED}, "encrypt", "does not offer STARTTLS"),
        ({"tls": "454 4.7.0 TLS not available"}, "encrypt", "454 4.7.0 TLS not available"),
        ({"tls": "220 go ahead", "handshake": CLOSE}, "encrypt", "the connection ended"),
    ],
)
async def test_hop_that_fails_names_itself_before_tls(
    script: Script, name: str, words: str, make_peer: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer(script)
    provider = make_provider(peer.port, security="starttls", login=LOGIN)
    steps = await provider.check(SHORT_S if HANG in script.values() else IN_TIME_S)
    assert [step.name for step in steps] == HOPS["starttls"]
    assert_failed(steps, name, words)
    assert b"relay-" not in peer.received


async def test_greeting_that_fails_after_tls_has_a_step_without_a_login_too(
    make_peer_offering: MakePeer, make_provider: MakeProvider, trusted_certificate: Certificate
) -> None:
    hello = "250-peer\r\n250-STARTTLS\r\n250 PIPELINING"
    peer = await make_peer_offering(
        {"tls": "220 go ahead", "hello": [hello, "550 5.7.1 go away"]},
        tls=trusted_certificate.server_context(),
    )
    steps = await make_provider(peer.port, security="starttls").check(IN_TIME_S)
    assert [step.name for step in steps] == HOPS["starttls"][:-1]
    assert_failed(steps, "greet again", "550 5.7.1 go away")


@pytest.mark.parametrize(
    "script", [{"connect": "554 5.7.1 no service"}, {"hello": "554 5.7.1 no service"}]
)
async def test_greeting_that_is_refused_inside_tls_is_the_greetings_failure(
    script: Script,
    make_peer_offering: MakePeer,
    make_provider: MakeProvider,
    trusted_certificate: Certificate,
) -> None:
    peer = await make_peer_offering(script, tls=trusted_certificate.server_context())
    peer.is_tls_implicit = True
    steps = await make_provider(peer.port, security="tls", login=LOGIN).check(IN_TIME_S)
    assert_failed(steps, "greet", "554 5.7.1 no service")


async def test_peer_that_fails_after_tls_fails_at_its_greeting_or_login(
    make_peer_offering: MakePeer, make_provider: MakeProvider, trusted_certificate: Certificate
) -> None:
    context = trusted_certificate.server_context()
    hello = "250-peer\r\n250-STARTTLS\r\n250 PIPELINING"
    tls = {"tls": "220 go ahead"}
    for answers, name, words in (
        ({"hello": [hello, "421 4.3.2 shutting down"]}, "greet again", "421 4.3.2 shutting down"),
        ({"hello": [hello, "250 peer"]}, "log in", "no way to log in"),
        ({"auth": "535 5.7.8 wrong password"}, "log in", "535 5.7.8 wrong password"),
        ({"auth": "454 4.7.0 try later"}, "log in", "454 4.7.0 try later"),
        ({"auth": "421 4.7.0 too many tries"}, "log in", "421 4.7.0 too many tries"),
    ):
        peer = await make_peer_offering({**tls, **answers}, tls=context)  # type: ignore[dict-item]
        provider = make_provider(peer.port, security="starttls", login=LOGIN)
        assert_failed(await provider.check(IN_TIME_S), name, words)


@ENCRYPTED
@pytest.mark.parametrize(
    ("certificate_of", "words"),
    [
        ({"host": "mail.example.com"}, "not valid for 'localhost'"),
        ({"is_expired": True}, "certificate has expired"),
        (None, "self-signed certificate"),
    ],
)
async def test_certificate_that_proves_nothing_says_what_is_wrong_with_it(
    security: Security,
    certificate_of: dict[str, object] | None,
    words: str,
    make_peer: MakePeer,
    make_provider: MakeProvider,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = make_certificate(tmp_path, **(certificate_of or {}))  # type: ignore[arg-type]
    if certificate_of is not None:
        monkeypatch.setenv("SSL_CERT_FILE", str(made.certificate_file))
    context: ssl.SSLContext = made.server_context()
    peer = await make_peer({"tls": "220 go ahead"}, tls=context)
    peer.is_tls_implicit = security == "tls"
    provider = make_provider(peer.port, security=security, login=LOGIN)
    assert_failed(await provider.check(IN_TIME_S), "encrypt", words)
    assert "auth" not in peer.steps


async def test_plain_text_where_tls_was_expected_is_told_by_its_name(
    make_peer: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer({})
    provider = make_provider(peer.port, security="tls")
    assert_failed(await provider.check(IN_TIME_S), "encrypt", "WRONG_VERSION_NUMBER")


async def test_wrong_password_is_refused_and_never_shown(
    trusted_certificate: Certificate, make_provider: MakeProvider
) -> None:
    async with AiosmtpdPeer().running(trusted_certificate, "starttls") as peer:
        provider = make_provider(peer.port, security="starttls", login=("relay-user", "hunter22"))
        steps = await provider.check(IN_TIME_S)
    assert_failed(steps, "log in", "535")
    assert "hunter22" not in repr(steps)
    assert peer.logins == ["PLAIN"]


@pytest.mark.parametrize("code", ["535", "421"])
async def test_peer_that_repeats_a_login_tells_nobody(
    code: str, make_peer_offering: MakePeer, make_provider: MakeProvider
) -> None:
    name, password = LOGIN
    whole = base64.b64encode(f"\0{name}\0{password}".encode()).decode()
    half = base64.b64encode(password.encode()).decode()
    peer = await make_peer_offering({"auth": f"{code} what is {whole} or {half} or {password}?"})
    provider = make_provider(peer.port, login=LOGIN)
    peer.offers = ("AUTH PLAIN",)
    steps = await provider.check(IN_TIME_S)
    assert_failed(steps, "log in", f"{code} what is *** or *** or ***?")
    result = await provider.send(make_email(), IN_TIME_S)
    told = f"{result!r} {steps!r}"
    assert not any(secret in told for secret in (whole, half, password))


async def test_closed_port_and_name_that_leads_nowhere_are_told_apart(make_peer: MakePeer) -> None:
    peer = await make_peer({})

    async def nobody(host: str) -> Sequence[str]:
        raise OSError("no such name")

    async def elsewhere(host: str) -> Sequence[str]:
        return ["127.0.0.9"]

    async def inside(host: str) -> Sequence[str]:
        return ["93.184.215.14", "10.0.0.1"]

    settings = SMTPSettings(host="relay.example.com", port=peer.port, security="none")
    for look_up, name, words in (
        (nobody, "look up the host", "the host has no address on the public internet"),
        (inside, "look up the host", "the host has no address on the public internet"),
        (elsewhere, "connect", "no connection to the peer"),
    ):
        provider = SMTPProvider(settings, "account-1", HostGuard(LOOPBACK, look_up))
        steps = await provider.check(IN_TIME_S)
        assert_failed(steps, name, words)
        assert "10.0.0.1" not in repr(steps)
    assert peer.connections == 0


async def test_platform_relay_is_looked_up_as_a_hop_of_its_own() -> None:
    # RFC 6761, section 6.4: this name has no address anywhere.
    settings = SMTPSettings(host="relay.invalid", security="none")
    provider = SMTPProvider(settings, "smtp")
    assert_failed(
        await provider.check(IN_TIME_S), "look up the host", "the host's name has no address"
    )


async def test_password_is_in_no_repr(make_provider: MakeProvider) -> None:
    settings = SMTPSettings(
        host="relay.example.com", username="relay-user", password=Secret("relay-password")
    )
    provider = SMTPProvider(settings, "account-1")
    assert "relay-password" not in f"{settings!r} {provider!r} {vars(provider)!r}"
