"""A tenant's relay leads to public addresses, or to what an operator allows, and nowhere else."""

import ipaddress
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from tallypost_core.settings.loader import Secret
from tallypost_core.settings.providers import SMTPSettings
from tallypost_providers.account_checks import CheckStep
from tallypost_providers.host_resolver import resolver_for
from tallypost_providers.smtp import SMTPProvider
from tallypost_providers.smtp_failures import Silence
from tallypost_providers.smtp_guard import HostGuard
from tallypost_providers.tenant_accounts import SMTPTenantSettings, create_tenant_account
from tallypost_providers.types import Outcome, SendResult
from tallypost_resilience.egress_rules import EgressRules
from tests.contract.providers.conftest import MakePeer
from tests.support.smtp_peers import AiosmtpdPeer, Certificate, Security, wait_until
from tests.unit.providers.emails import make_email

# aiosmtpd says so where TLS is there from the first byte, which it cannot see.
pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")

IN_TIME_S = 10.0
SHORT_S = 1.5
PUBLIC = EgressRules()
LOOPBACK = EgressRules(allowed_networks=(ipaddress.ip_network("127.0.0.0/8"),))
LookUp = Callable[[str], Awaitable[Sequence[str]]]


class Resolver:
    """Answers in turn, the last answer again and again; keeps what it was asked."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.asked: list[str] = []
        self._answers = [*answers]

    async def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


@asynccontextmanager
async def relay(
    port: int, rules: EgressRules, look_up: LookUp | None = None, host: str = "relay.example.com"
) -> AsyncIterator[SMTPProvider]:
    """A guarded account at a local port, in plain text."""
    settings = SMTPSettings(host=host, port=port, security="none")
    guard = HostGuard(rules, look_up or resolver_for("tenant-1"))
    provider = SMTPProvider(settings, "account-1", guard)
    try:
        yield provider
    finally:
        await provider.close()


def assert_leads_nowhere(result: SendResult) -> None:
    """The one answer about a name that does not lead to public addresses, for whatever reason."""
    assert [entry.outcome for entry in result.recipients] == [Outcome.UNAVAILABLE]
    assert (result.phase, result.concerns) == ("connect", "account")
    assert result.evidence == {"silence": Silence.REFUSED}
    assert result.recipients[0].detail == "the host has no address on the public internet"


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_account_of_a_tenant_sends_where_an_operator_allows_it(
    security: Security, trusted_certificate: Certificate
) -> None:
    async with AiosmtpdPeer().running(trusted_certificate, security) as peer:
        settings = SMTPTenantSettings(
            host="localhost",
            port=peer.port,  # type: ignore[arg-type]  # A free one, in the place of a mail port.
            security=security,  # type: ignore[arg-type]  # Never none here.
            username="relay-user",
            password=Secret("relay-password"),
        )
        rules = EgressRules(
            allowed_networks=(*LOOPBACK.allowed_networks, ipaddress.ip_network("::1/128"))
        )
        allowed = create_tenant_account("smtp", settings, "account-1", rules, owner="tenant-1")
        results = [await allowed.send(make_email(), IN_TIME_S) for _ in range(2)]
        await allowed.close()
        refused = create_tenant_account("smtp", settings, "account-2", PUBLIC, owner="tenant-1")
        forbidden = await refused.send(make_email(), IN_TIME_S)
        await refused.close()
    assert [result.recipients[0].outcome for result in results] == [Outcome.ACCEPTED] * 2
    assert len(peer.envelopes) == 2
    assert_leads_nowhere(forbidden)


@pytest.mark.parametrize(
    "answer",
    [
        ["127.0.0.1"],
        ["10.0.0.1"],
        ["169.254.169.254"],
        ["::1"],
        ["fe80::1%1"],
        ["::ffff:127.0.0.1"],
        # One of several is enough: who answers could have one of them tried first.
        ["93.184.215.14", "127.0.0.1"],
        ["127.0.0.1", "93.184.215.14"],
    ],
)
async def test_name_that_leads_inside_is_connected_to_by_none_of_its_addresses(
    answer: list[str], make_peer: MakePeer
) -> None:
    peer = await make_peer({})
    resolver = Resolver(answer)
    async with relay(peer.port, PUBLIC, resolver) as provider:
        assert_leads_nowhere(await provider.send(make_email(), IN_TIME_S))
    assert (peer.connections, resolver.asked) == (0, ["relay.example.com"])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_host_of_this_machine_is_forbidden_by_the_system_resolver_too(
    host: str, make_peer: MakePeer
) -> None:
    peer = await make_peer({})
    async with relay(peer.port, PUBLIC, host=host) as provider:
        assert_leads_nowhere(await provider.send(make_email(), IN_TIME_S))
    assert peer.connections == 0


async def test_allowed_network_lets_in_nothing_beside_it(make_peer: MakePeer) -> None:
    peer = await make_peer({})
    async with relay(peer.port, LOOPBACK, Resolver(["127.0.0.1", "10.0.0.1"])) as provider:
        assert_leads_nowhere(await provider.send(make_email(), IN_TIME_S))
    assert peer.connections == 0
    async with relay(peer.port, LOOPBACK, Resolver(["127.0.0.1"])) as provider:
        result = await provider.send(make_email(), IN_TIME_S)
    assert result.recipients[0].outcome is Outcome.ACCEPTED


async def test_name_is_asked_for_once_for_each_connection_and_its_answer_is_what_is_connected_to(
    make_peer: MakePeer,
) -> None:
    # The second answer is what a name says that changes between the judgement and the connection.
    peer = await make_peer({})
    other = await make_peer({})
    resolver = Resolver(["127.0.0.1"], ["127.0.0.2"])
    async with relay(peer.port, LOOPBACK, resolver) as provider:
        result = await provider.send(make_email(), IN_TIME_S)
        assert result.recipients[0].outcome is Outcome.ACCEPTED
        assert resolver.asked == ["relay.example.com"]
        # A kept connection needs no answer.
        await provider.send(make_email(), IN_TIME_S)
        assert resolver.asked == ["relay.example.com"]
        peer.drop_all()
        await wait_until(lambda: peer.open_connections == 0)
        again = await provider.send(make_email(), IN_TIME_S)
    # Nothing listens there.
    assert again.recipients[0].outcome is Outcome.UNAVAILABLE
    assert resolver.asked == ["relay.example.com"] * 2
    assert (peer.connections, other.connections) == (1, 0)


async def test_name_whose_answer_turns_private_leads_nowhere(make_peer: MakePeer) -> None:
    peer = await make_peer({})
    rules = EgressRules(allowed_networks=(ipaddress.ip_network("127.0.0.1/32"),))
    async with relay(peer.port, rules, Resolver(["127.0.0.1"], ["127.0.0.2"])) as provider:
        await provider.send(make_email(), IN_TIME_S)
        peer.drop_all()
        await wait_until(lambda: peer.open_connections == 0)
        assert_leads_nowhere(await provider.send(make_email(), IN_TIME_S))


async def test_address_that_refuses_leaves_the_others(make_peer: MakePeer) -> None:
    peer = await make_peer({})
    answers = Resolver(["127.0.0.9", "127.0.0.1"])
    async with relay(peer.port, LOOPBACK, answers) as provider:
        result = await provider.send(make_email(), IN_TIME_S)
    assert result.recipients[0].outcome is Outcome.ACCEPTED


async def test_address_that_is_silent_leaves_time_for_the_others(make_peer: MakePeer) -> None:
    peer = await make_peer({})
    with SilentAddress(peer.port) as silent:
        async with relay(peer.port, LOOPBACK, Resolver([silent, "127.0.0.1"])) as provider:
            result = await provider.send(make_email(), SHORT_S)
    assert result.recipients[0].outcome is Outcome.ACCEPTED


@pytest.mark.parametrize("answer", [[], ["10.0.0.1"], OSError("no such name")])
async def test_name_without_an_address_is_told_as_one_that_leads_inside(
    answer: list[str] | OSError, make_peer: MakePeer
) -> None:
    # Who could tell them apart would learn which names there are inside.
    async def look_up(host: str) -> Sequence[str]:
        if isinstance(answer, OSError):
            raise answer
        return answer

    peer = await make_peer({})
    async with relay(peer.port, PUBLIC, look_up) as provider:
        result = await provider.send(make_email(), IN_TIME_S)
        steps = await provider.check(IN_TIME_S)
    assert_leads_nowhere(result)
    assert steps == (
        CheckStep("look up the host", "failed", "the host has no address on the public internet"),
        CheckStep("connect", "not_tried"),
        CheckStep("greet", "not_tried"),
    )


async def test_number_of_addresses_is_told_to_nobody(make_peer: MakePeer) -> None:
    peer = await make_peer({})
    details = set()
    for answer in (["127.0.0.1"], ["127.0.0.1", "127.0.0.9"]):
        async with relay(peer.port, LOOPBACK, Resolver(answer)) as provider:
            steps = await provider.check(IN_TIME_S)
        assert [step.state for step in steps] == ["good"] * 3
        details.add(steps[0].detail)
    assert details == {""}


async def test_platform_relay_may_be_private_as_ever(make_peer: MakePeer) -> None:
    peer = await make_peer({})
    provider = SMTPProvider(SMTPSettings(host="127.0.0.1", port=peer.port, security="none"), "smtp")
    result = await provider.send(make_email(), IN_TIME_S)
    await provider.close()
    assert result.recipients[0].outcome is Outcome.ACCEPTED


class SilentAddress:
    """An address of loopback at which nobody answers a connection, because its queue is full."""

    def __init__(self, port: int) -> None:
        self._address = ("127.0.0.7", port)
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> str:
        listener = socket.socket()
        self._sockets.append(listener)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(self._address)
        listener.listen(0)
        # Linux takes one more than the queue has room for.
        for _ in range(3):
            client = socket.socket()
            self._sockets.append(client)
            client.setblocking(False)
            client.connect_ex(self._address)
        return self._address[0]

    def __exit__(self, *_: object) -> None:
        for one in self._sockets:
            one.close()
