"""SES is spoken to by TLS, with a certificate that proves who it is, or not at all."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from tallypost_providers.types import Outcome
from tallypost_simulators.ses_simulator import SESSimulator
from tests.support.ses import running_ses
from tests.support.smtp_peers import Certificate
from tests.unit.providers.emails import SENDING_DOMAIN, make_email

IN_TIME_S = 10.0


@asynccontextmanager
async def behind_tls(certificate: Certificate) -> AsyncIterator[tuple[SESSimulator, str]]:
    """A simulator, and its address by TLS."""
    async with SESSimulator() as simulator:
        simulator.account.add_domain(SENDING_DOMAIN)

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            inner, outer = await asyncio.open_connection("127.0.0.1", simulator.port)
            await asyncio.gather(_copy(reader, outer), _copy(inner, writer))

        server = await asyncio.start_server(relay, "127.0.0.1", 0, ssl=certificate.server_context())
        async with server:
            yield simulator, f"https://localhost:{server.sockets[0].getsockname()[1]}"


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@pytest.fixture(autouse=True)
def no_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forgets which authorities this machine has AWS's SDK trust."""
    for variable in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "AWS_CA_BUNDLE"])
async def test_messages_go_by_tls_where_the_certificate_is_trusted(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, str(certificate.certificate_file))
    async with (
        behind_tls(certificate) as (simulator, endpoint),
        running_ses(endpoint=endpoint) as ses,
    ):
        results = [await ses.provider.send(make_email(), IN_TIME_S) for _ in range(2)]
    assert [result.recipients[0].outcome for result in results] == [Outcome.ACCEPTED] * 2
    assert len(simulator.messages) == 2


async def test_certificate_that_proves_nothing_ends_it_before_a_byte_has_left(
    certificate: Certificate,
) -> None:
    async with (
        behind_tls(certificate) as (simulator, endpoint),
        running_ses(endpoint=endpoint) as ses,
    ):
        result = await ses.provider.send(make_email(), IN_TIME_S)
    assert result.recipients[0].outcome is Outcome.UNAVAILABLE
    assert result.phase == "connect"
    assert "certificate" in result.recipients[0].detail.lower()
    assert simulator.messages == []
