"""Fixtures of the provider tests."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tallypost_core.settings.groups import SMTPSettings
from tallypost_core.settings.loader import Secret
from tallypost_providers.smtp import SMTPProvider
from tests.support.smtp_peers import Certificate, Script, ScriptedPeer, make_certificate

MakePeer = Callable[[Script], Awaitable[ScriptedPeer]]
MakeProvider = Callable[..., SMTPProvider]


@pytest.fixture
async def make_peer() -> AsyncIterator[MakePeer]:
    """Starts servers that follow a script; they stop with the test."""
    async with AsyncExitStack() as stack:

        async def start(script: Script) -> ScriptedPeer:
            return await stack.enter_async_context(ScriptedPeer(script).running())

        yield start


@pytest.fixture
async def make_provider() -> AsyncIterator[MakeProvider]:
    """Makes SMTP providers for a local port; they are closed with the test."""
    async with AsyncExitStack() as stack:

        def make(
            port: int,
            *,
            security: str = "none",
            login: tuple[str, str] | None = None,
            connections: int = 2,
        ) -> SMTPProvider:
            settings = SMTPSettings(
                host="localhost" if security != "none" else "127.0.0.1",
                port=port,
                security=security,  # type: ignore[arg-type]  # Tests pass the three literals.
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
