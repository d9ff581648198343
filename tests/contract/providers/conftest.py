"""Fixtures of the provider tests."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from ssl import SSLContext
from typing import Protocol

import pytest
import uvloop

from tallypost_core.settings.loader import Secret
from tallypost_core.settings.providers import SMTPSettings
from tallypost_providers.smtp import SMTPProvider
from tests.support.smtp_peers import Certificate, Security, make_certificate
from tests.support.smtp_scripts import ONE_BY_ONE, PIPELINING, Script, ScriptedPeer


class MakePeer(Protocol):
    """Starts a server that follows a script."""

    async def __call__(
        self, script: Script, offers: Sequence[str] | None = None, tls: SSLContext | None = None
    ) -> ScriptedPeer: ...


class MakeProvider(Protocol):
    """Makes an SMTP provider for a local port."""

    def __call__(
        self,
        port: int,
        *,
        security: Security = "none",
        login: tuple[str, str] | None = None,
        connections: int = 2,
    ) -> SMTPProvider: ...


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Every test runs on both loops: the worker's is uvloop, whose transports differ."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(params=[ONE_BY_ONE, PIPELINING], ids=["one-by-one", "pipelined"])
async def make_peer(request: pytest.FixtureRequest) -> AsyncIterator[MakePeer]:
    """Starts servers that follow a script, with and without pipelining; they stop with the
    test. A test that states what its peer offers takes `make_peer_offering`."""
    async with AsyncExitStack() as stack:
        yield _starter(stack, request.param)


@pytest.fixture
async def make_peer_offering() -> AsyncIterator[MakePeer]:
    """Starts servers that follow a script and offer what the test says."""
    async with AsyncExitStack() as stack:
        yield _starter(stack, PIPELINING)


@pytest.fixture
async def make_provider() -> AsyncIterator[MakeProvider]:
    """Makes SMTP providers for a local port; they are closed with the test."""
    async with AsyncExitStack() as stack:

        def make(
            port: int,
            *,
            security: Security = "none",
            login: tuple[str, str] | None = None,
            connections: int = 2,
        ) -> SMTPProvider:
            settings = SMTPSettings(
                host="localhost" if security != "none" else "127.0.0.1",
                port=port,
                security=security,
                username=login[0] if login else None,
                password=Secret(login[1]) if login else None,
                connections=connections,
            )
            provider = SMTPProvider(settings, "main")
            stack.push_async_callback(provider.close)
            return provider

        yield make


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A self-made certificate for localhost that nobody trusts."""
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def trusted_certificate(certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> Certificate:
    """The same certificate, trusted the way an operator trusts a private authority."""
    path: Path = certificate.certificate_file
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    return certificate


def _starter(stack: AsyncExitStack, usual_offers: Sequence[str]) -> MakePeer:
    async def start(
        script: Script, offers: Sequence[str] | None = None, tls: SSLContext | None = None
    ) -> ScriptedPeer:
        peer = ScriptedPeer(script, usual_offers if offers is None else offers, tls)
        return await stack.enter_async_context(peer.running())

    return start
