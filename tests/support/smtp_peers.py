"""SMTP servers for tests that nobody here wrote: aiosmtpd, and Postfix's smtp-sink.

A client that is only ever tried on its own server proves little. All bind 127.0.0.1 on a free
port.
"""

import asyncio
import datetime as dt
import hmac
import ipaddress
import os
import shutil
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
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


class Certificate(NamedTuple):
    """A self-made certificate, on disk."""

    certificate_file: Path
    key_file: Path

    def server_context(self) -> ssl.SSLContext:
        """A TLS context for a server that shows it."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.certificate_file, self.key_file)
        return context


def make_certificate(
    folder: Path, host: str = "localhost", *, is_expired: bool = False
) -> Certificate:
    """Sign a certificate for host, and for localhost's address, with its own key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = dt.datetime.now(dt.UTC) - dt.timedelta(days=2 if is_expired else 0)
    names = [x509.DNSName(host), x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))]
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


Security = Literal["none", "starttls", "tls"]


class AiosmtpdPeer:
    """aiosmtpd with one login and some addresses that it refuses; keeps what it took."""

    login = (b"relay-user", b"relay-password")

    def __init__(
        self,
        refused: Mapping[str, str] | None = None,
        mechanisms: Collection[str] = ("PLAIN", "LOGIN"),
    ) -> None:
        """refused maps an address to the reply line that RCPT gets; mechanisms are those offered
        of PLAIN, LOGIN and CRAM-MD5."""
        self.envelopes: list[Envelope] = []
        self.logins: list[str] = []
        """The mechanism of each login that was tried."""
        self.port = 0
        self._refused = dict(refused or {})
        self._excluded = {"PLAIN", "LOGIN", "CRAM-MD5"} - set(mechanisms)

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

    async def auth_CRAM__MD5(self, server: SMTP, words: list[str]) -> AuthResult:
        """RFC 2195, which aiosmtpd leaves to its users; the double underscore is its hyphen."""
        self.logins.append("CRAM-MD5")
        challenge = b"<1896.697170952@localhost>"
        answer = await server.challenge_auth(challenge)
        name, password = self.login
        digest = hmac.new(password, challenge, "md5").hexdigest().encode("ascii")
        return AuthResult(success=answer == name + b" " + digest, handled=False)

    def authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: object
    ) -> AuthResult:
        """Accept the one login."""
        self.logins.append(mechanism)
        is_known = isinstance(data, LoginPassword) and (data.login, data.password) == self.login
        return AuthResult(success=is_known, handled=False)

    @asynccontextmanager
    async def running(
        self, certificate: Certificate, security: Security
    ) -> AsyncIterator["AiosmtpdPeer"]:
        """Listen for as long as the block lasts; AUTH is demanded, and with starttls TLS before
        it."""
        context = certificate.server_context()
        protocols: list[SMTP] = []

        def make_protocol() -> SMTP:
            protocol = SMTP(
                self,
                hostname="localhost",
                tls_context=context if security == "starttls" else None,
                require_starttls=security == "starttls",
                auth_required=True,
                authenticator=self.authenticate,
                auth_exclude_mechanism=self._excluded,
                # It cannot see TLS that was there from the first byte.
                auth_require_tls=security == "starttls",
                enable_SMTPUTF8=True,
            )
            protocols.append(protocol)
            return protocol

        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            make_protocol, "127.0.0.1", 0, ssl=context if security == "tls" else None
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
