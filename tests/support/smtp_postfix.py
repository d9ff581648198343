"""A real Postfix: its smtpd with STARTTLS, TLS and logins, relaying what it takes to a port.

It has a configuration, a queue and a log of its own and touches none of the system's. The login
is judged by a small server that speaks Dovecot's authentication protocol, the form in which
Postfix asks (doc.dovecot.org, "Dovecot Authentication Protocol", version 1).
"""

import asyncio
import base64
import hmac
import os
import pwd
import shutil
import signal
import socket
import stat
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import DEVNULL, Popen

from msgspec import Struct

from tallypost_cli.guard import Guard
from tallypost_cli.ports import find_free_port
from tests.support.smtp_peers import DEADLINE_S, Certificate, wait_until

_PROGRAM = shutil.which("master", path="/usr/lib/postfix/sbin:/usr/libexec/postfix")
# What `postfix check` would make, within seconds; the master writes into pid, as root.
_QUEUE_FOLDERS = (
    "active",
    "bounce",
    "corrupt",
    "defer",
    "deferred",
    "flush",
    "hold",
    "incoming",
    "maildrop",
    "private",
    "public",
    "saved",
    "trace",
)
_CHALLENGE = b"<1896.697170952@localhost>"

_MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
inet_protocols = ipv4
mydestination =
myhostname = localhost
mynetworks =
relayhost = [127.0.0.1]:{relay_port}
smtp_dns_support_level = disabled
smtp_host_lookup = native
smtputf8_enable = yes
message_size_limit = {size_limit_bytes}
smtpd_delay_reject = no
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_recipient_restrictions = check_recipient_access inline:{{{refused}}}, permit
smtpd_tls_cert_file = {certificate.certificate_file}
smtpd_tls_key_file = {certificate.key_file}
smtpd_tls_security_level = may
smtpd_tls_auth_only = yes
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = {folder}/logins
smtpd_sasl_security_options = noanonymous
"""
_MASTER = """\
127.0.0.1:{ports.plain} inet n - n - - smtpd
127.0.0.1:{ports.tls} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


class PostfixPorts(Struct, frozen=True):
    """Where a running Postfix listens."""

    plain: int
    """Offers STARTTLS, and logins only after it."""
    tls: int
    """TLS from the first byte."""


def why_no_postfix() -> str | None:
    """The reason why Postfix cannot run here; None where it can."""
    if _PROGRAM is None:
        return "postfix is not installed"
    if os.geteuid() != 0:
        return "Postfix's master needs root"
    return None


@asynccontextmanager
async def postfix(
    certificate: Certificate,
    relay_port: int,
    *,
    login: tuple[str, str],
    mechanisms: tuple[str, ...] = ("PLAIN", "LOGIN"),
    refused: Mapping[str, str] | None = None,
    size_limit_bytes: int = 50_000_000,
) -> AsyncIterator[PostfixPorts]:
    """Run Postfix for as long as the block lasts; ask `why_no_postfix` first.

    refused maps an address to what RCPT gets.
    """
    with tempfile.TemporaryDirectory(prefix="tallypost-postfix-") as name:
        folder = Path(name)
        ports = PostfixPorts(find_free_port(), find_free_port())
        _write_configuration(
            folder,
            ports,
            certificate=certificate,
            relay_port=relay_port,
            refused=refused or {},
            size_limit_bytes=size_limit_bytes,
        )
        judge = _Logins(login, mechanisms)
        logins = await asyncio.start_unix_server(judge.serve, folder / "logins")
        (folder / "logins").chmod(0o666)
        guard = Guard()
        process = _start(folder)
        guard.watch(process.pid, "app")
        try:
            await wait_until(lambda: _listens(ports.plain) and _listens(ports.tls))
            yield ports
        finally:
            await asyncio.to_thread(_stop, process)
            guard.dismiss()
            logins.close()


def _write_configuration(
    folder: Path,
    ports: PostfixPorts,
    *,
    certificate: Certificate,
    relay_port: int,
    refused: Mapping[str, str],
    size_limit_bytes: int,
) -> None:
    owner = pwd.getpwnam("postfix")
    # Its daemons run as another user and look for files from here downwards.
    folder.chmod(stat.S_IRWXU | stat.S_IXGRP | stat.S_IRGRP | stat.S_IXOTH | stat.S_IROTH)
    (folder / "queue" / "pid").mkdir(parents=True)
    for name in ("data", *(f"queue/{name}" for name in _QUEUE_FOLDERS)):
        (folder / name).mkdir()
        os.chown(folder / name, owner.pw_uid, owner.pw_gid)
    rules = ", ".join(f"{{ {address} = {reply} }}" for address, reply in refused.items())
    main = _MAIN.format(
        folder=folder,
        certificate=certificate,
        relay_port=relay_port,
        refused=rules or "{ nobody@invalid = OK }",
        size_limit_bytes=size_limit_bytes,
    )
    (folder / "main.cf").write_text(main)
    (folder / "master.cf").write_text(_MASTER.format(ports=ports))


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _start(folder: Path) -> "Popen[bytes]":
    """The master, as leader of the process group that its daemons belong to.

    `postfix start` and `start-fg` would put it in a session of its own, out of a guard's reach.
    """
    return Popen(
        [str(_PROGRAM), "-d", "-c", str(folder)],
        stdin=DEVNULL,
        stdout=DEVNULL,
        stderr=DEVNULL,
        start_new_session=True,
    )


def _stop(process: "Popen[bytes]") -> None:
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(DEADLINE_S)


class _Logins:
    """Dovecot's side of its protocol, for one login."""

    def __init__(self, login: tuple[str, str], mechanisms: tuple[str, ...]) -> None:
        self._name, self._password = (word.encode() for word in login)
        self._mechanisms = mechanisms

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client, which asks for any number of logins."""
        writer.write(b"VERSION\t1\t1\n")
        for mechanism in self._mechanisms:
            writer.write(f"MECH\t{mechanism}\n".encode())
        writer.write(b"SPID\t1\nCUID\t1\nCOOKIE\t00\nDONE\n")
        asked: dict[bytes, tuple[str, list[bytes]]] = {}
        while line := await reader.readline():
            words = line.rstrip(b"\n").split(b"\t")
            if words[0] == b"AUTH":
                asked[words[1]] = (words[2].decode(), [])
                initial = [word[5:] for word in words if word.startswith(b"resp=")]
                answers = [base64.b64decode(word) for word in initial]
            elif words[0] == b"CONT":
                answers = [base64.b64decode(words[2])]
            else:
                continue
            mechanism, said = asked[words[1]]
            said += answers
            writer.write(self._verdict(words[1], mechanism, said))
        writer.close()

    def _verdict(self, request: bytes, mechanism: str, said: list[bytes]) -> bytes:
        questions = {"PLAIN": [b""], "LOGIN": [b"Username:", b"Password:"]}
        asked = questions.get(mechanism, [_CHALLENGE])
        if len(said) < len(asked):
            question = base64.b64encode(asked[len(said)])
            return b"CONT\t%b\t%b\n" % (request, question)
        digest = hmac.new(self._password, _CHALLENGE, "md5").hexdigest().encode()
        expected = {
            "PLAIN": [b"\0".join((b"", self._name, self._password))],
            "LOGIN": [self._name, self._password],
        }.get(mechanism, [self._name + b" " + digest])
        if said == expected:
            return b"OK\t%b\tuser=%b\n" % (request, self._name)
        return b"FAIL\t%b\tuser=%b\n" % (request, self._name)
