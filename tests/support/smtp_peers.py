"""SMTP servers for tests: one that follows a script, aiosmtpd, and Postfix's smtp-sink.

They are no code of ours on purpose: a client that is only ever tried on its own server proves
little. All bind 127.0.0.1 on a free port.
"""

import asyncio
import datetime as dt
import ipaddress
import os
import shutil
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import Literal, NamedTuple

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

POLL_S = 0.01
DEADLINE_S = 10.0

Step = Literal["connect", "hello", "tls", "auth", "mail", "rcpt", "data", "body", "final", "reset"]
Script = Mapping[Step, str | list[str]]
HANG, DROP, GARBAGE = "hang", "drop", "garbage"
NOT_OFFERED = "not offered"


class ScriptedPeer:
    """A server that does exactly what its script says at each step, and else behaves well.

    script maps a step to a reply line, or to HANG (silence), DROP (the connection ends), GARBAGE
    (bytes that are no reply), or for `tls` and `auth` NOT_OFFERED; or to a list of these, used
    one after the other until all went. Change it while it runs.
    """

    def __init__(self, script: Script | None = None) -> None:
        self.script: dict[Step, str | list[str]] = dict(script or {})
        self.connections = 0
        self.steps: list[Step] = []
        self.bodies: list[bytes] = []
        self.port = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._never = asyncio.Event()

    def drop_all(self) -> None:
        """End every open connection, as a restart of the peer does."""
        for writer in [*self._writers]:
            writer.transport.abort()

    @property
    def open_connections(self) -> int:
        """Connections that are open now."""
        return len(self._writers)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["ScriptedPeer"]:
        """Listen for as long as the block lasts."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            self._never.set()
            self.drop_all()
            server.close()
            await server.wait_closed()
            await wait_until(lambda: not self._writers)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            if await self._answer("connect", "220 peer ready", writer):
                while line := await reader.readline():
                    if not await self._command(line, reader, writer):
                        break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # The client hung up, which is its right.
        finally:
            writer.transport.abort()
            self._writers.discard(writer)

    async def _command(
        self, line: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        verb = line.split()[0].upper() if line.split() else b""
        if verb == b"EHLO":
            return await self._answer("hello", self._greeting(), writer)
        if verb == b"DATA":
            return await self._data(reader, writer)
        steps: dict[bytes, tuple[Step, str]] = {
            b"STARTTLS": ("tls", "220 go ahead"),
            b"AUTH": ("auth", "235 2.7.0 welcome"),
            b"MAIL": ("mail", "250 2.1.0 ok"),
            b"RCPT": ("rcpt", "250 2.1.5 ok"),
            b"RSET": ("reset", "250 2.0.0 ok"),
        }
        if verb not in steps:
            writer.write(b"221 bye\r\n" if verb == b"QUIT" else b"502 what?\r\n")
            return verb != b"QUIT"
        step, reply = steps[verb]
        return await self._answer(step, reply, writer)

    async def _data(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        action = self._next_action("data", "354 go ahead")
        if not await self._act("data", action, writer):
            return False
        if not action.startswith("354"):
            return True
        if "body" in self.script:
            await reader.readexactly(1)
            return await self._answer("body", "", writer)
        self.bodies.append(await reader.readuntil(b"\r\n.\r\n"))
        return await self._answer("final", "250 2.0.0 ok: queued as 4XyZ1", writer)

    def _greeting(self) -> str:
        offers = ["250-peer", "250-SIZE 1000000"]
        if self.script.get("tls", NOT_OFFERED) != NOT_OFFERED:
            offers.append("250-STARTTLS")
        if self.script.get("auth") != NOT_OFFERED:
            offers.append("250-AUTH PLAIN LOGIN")
        return "\r\n".join([*offers, "250 HELP"])

    async def _answer(self, step: Step, usual: str, writer: asyncio.StreamWriter) -> bool:
        return await self._act(step, self._next_action(step, usual), writer)

    def _next_action(self, step: Step, usual: str) -> str:
        action = self.script.get(step, usual)
        if isinstance(action, list):
            return action.pop(0) if action else usual
        return action

    async def _act(self, step: Step, action: str, writer: asyncio.StreamWriter) -> bool:
        """Carry out one action; False where the connection ends with it."""
        self.steps.append(step)
        if action == HANG:
            await self._never.wait()
        if action in {HANG, DROP}:
            return False
        writer.write(b"!?\x00\xff\r\n" if action == GARBAGE else action.encode("ascii") + b"\r\n")
        await writer.drain()
        if step == "tls" and action.startswith("220"):
            # The client now speaks TLS and gets this instead of a handshake.
            writer.write(b"this is not TLS\r\n" * 4)
            await writer.drain()
        return not action.startswith("421")


class Certificate(NamedTuple):
    """A self-made certificate for localhost, on disk."""

    certificate_file: Path
    key_file: Path

    def server_context(self) -> ssl.SSLContext:
        """A TLS context for a server that shows it."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.certificate_file, self.key_file)
        return context


def make_certificate(folder: Path) -> Certificate:
    """Sign a certificate for localhost and 127.0.0.1 with its own key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    made = Certificate(folder / "certificate.pem", folder / "key.pem")
    made.certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    made.key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return made


class AiosmtpdPeer:
    """aiosmtpd with one login and some addresses that it refuses; keeps what it took."""

    login = (b"relay-user", b"relay-password")

    def __init__(self, refused: Mapping[str, str] | None = None) -> None:
        """refused maps an address to the reply line that RCPT gets."""
        self.envelopes: list[Envelope] = []
        self.port = 0
        self._refused = dict(refused or {})

    # The names and the camel case of these hooks are aiosmtpd's.
    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Refuse the addresses that were named, take all others."""
        if address in self._refused:
            return self._refused[address]
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Keep the envelope with its content."""
        self.envelopes.append(envelope)
        return "250 2.0.0 ok: queued as A1B2"

    def authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: object
    ) -> AuthResult:
        """Accept the one login."""
        is_known = isinstance(data, LoginPassword) and (data.login, data.password) == self.login
        return AuthResult(success=is_known, handled=False)

    @asynccontextmanager
    async def running(
        self, certificate: Certificate, security: Literal["starttls", "tls"]
    ) -> AsyncIterator["AiosmtpdPeer"]:
        """Listen for as long as the block lasts; AUTH is demanded, and TLS before it."""
        context = certificate.server_context()
        is_implicit = security == "tls"
        protocols: list[SMTP] = []

        def make_protocol() -> SMTP:
            protocol = SMTP(
                self,
                hostname="localhost",
                tls_context=None if is_implicit else context,
                require_starttls=not is_implicit,
                auth_required=True,
                authenticator=self.authenticate,
                # It cannot see that TLS was there from the first byte.
                auth_require_tls=not is_implicit,
            )
            protocols.append(protocol)
            return protocol

        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            make_protocol, "127.0.0.1", 0, ssl=context if is_implicit else None
        )
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            # From Python 3.12 on, wait_closed() waits for clients that keep their connection.
            for protocol in protocols:
                if protocol.transport is not None:
                    protocol.transport.close()
            await server.wait_closed()


@contextmanager
def postfix_sink(folder: Path, *options: str) -> Iterator[int]:
    """Run Postfix's smtp-sink, which writes each message to a file in folder; yields its port.

    options are its command-line options, such as `-r rcpt`.
    """
    program = find_postfix_sink()
    assert program is not None, "ask find_postfix_sink() first"
    port = _free_port()
    as_nobody: list[str] = []
    if os.geteuid() == 0:
        # It refuses to run as root; the new user must still be able to write the dumps.
        as_nobody = ["-u", "nobody"]
        folder.chmod(0o777)
    command = [program, *as_nobody, "-d", "mail.", *options, f"127.0.0.1:{port}", "100"]
    process = Popen(command, stdout=DEVNULL, stderr=DEVNULL, cwd=folder)
    try:
        _wait_for_port(port)
        yield port
    finally:
        process.terminate()
        process.wait(DEADLINE_S)


def find_postfix_sink() -> str | None:
    """Where Postfix's smtp-sink is, if installed; often in a folder that only root searches."""
    return shutil.which("smtp-sink") or shutil.which("smtp-sink", path="/usr/sbin")


async def wait_until(is_done: Callable[[], bool]) -> None:
    """Poll until something holds; raises TimeoutError after DEADLINE_S."""
    async with asyncio.timeout(DEADLINE_S):
        while not is_done():  # noqa: ASYNC110 -- what is awaited happens in another process.
            await asyncio.sleep(POLL_S)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for_port(port: int) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL_S)
        else:
            return
