"""A mail server at the far end that nobody here wrote: Postfix's smtp-sink.

It is a process of its own and writes every message to a file.
"""

import os
import pwd
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from tallypost_cli.guard import Guard
from tallypost_cli.ports import find_free_port
from tests.support.programs import wait_until

SMTP_SINK = shutil.which("smtp-sink") or shutil.which("smtp-sink", path="/usr/sbin")
"""Where Postfix's smtp-sink is; None where it is not installed."""

_START_WITHIN_S = 20.0
_STOP_WITHIN_S = 10.0
# Headers that smtp-sink puts before a message; its Received takes three lines and comes last.
_DUMP_HEAD = re.compile(
    rb"\A(?:X-(?:Client|Helo|Mail|Rcpt)-[^\n]*\n)+Received: [^\n]*\n\t[^\n]*\n\t[^\n]*\n"
)
_RCPT = re.compile(rb"^X-Rcpt-Args: <([^>]*)>", re.MULTILINE)
_MAIL = re.compile(rb"^X-Mail-Args: <([^>]*)>", re.MULTILINE)


class Delivered(Struct, frozen=True):
    """One message as it reached the far end."""

    envelope_sender: str
    envelope_recipients: tuple[str, ...]
    message: bytes
    """With CRLF line ends, as it was on the wire."""


class PostfixSink:
    """A running smtp-sink; `port` is where, `read` what came."""

    def __init__(self, port: int, folder: Path) -> None:
        self.port = port
        self._folder = folder

    def count(self) -> int:
        """Messages that came so far; one that is just coming counts."""
        return len(list(self._folder.iterdir()))

    def clear(self) -> None:
        """Forget what came so far."""
        for path in self._folder.iterdir():
            path.unlink()

    def read(self) -> Iterator[Delivered]:
        """All messages, in no order."""
        for path in self._folder.iterdir():
            yield _read_dump(path.read_bytes())


@contextmanager
def postfix_sink() -> Iterator[PostfixSink]:
    """Run smtp-sink; its messages are gone afterwards. SMTP_SINK must not be None."""
    port = find_free_port()
    with tempfile.TemporaryDirectory(prefix="tallypost-test-sink-") as name:
        # Relative names, so that an unprivileged process need not search the folders above.
        command = [str(SMTP_SINK), "-d", "message.", f"127.0.0.1:{port}", "256"]
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(name, nobody.pw_uid, nobody.pw_gid)
            command[1:1] = ["-u", nobody.pw_name]
        process = subprocess.Popen(command, cwd=name, stdin=subprocess.DEVNULL)
        guard = Guard()
        guard.watch(process.pid, "app")
        try:
            wait_until(lambda: _listens(port), within_s=_START_WITHIN_S, what="smtp-sink listens")
            yield PostfixSink(port, Path(name))
        finally:
            process.terminate()
            process.wait(_STOP_WITHIN_S)
            guard.dismiss()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _read_dump(dump: bytes) -> Delivered:
    head = _DUMP_HEAD.match(dump)
    assert head is not None, "smtp-sink wrote a file of another form"
    sender = _MAIL.search(head[0])
    # smtp-sink ends lines with a bare line feed and adds an empty line at the end.
    body = dump[head.end() :].removesuffix(b"\n")
    return Delivered(
        envelope_sender=sender[1].decode("ascii") if sender else "",
        envelope_recipients=tuple(found.decode("ascii") for found in _RCPT.findall(head[0])),
        message=body.replace(b"\n", b"\r\n"),
    )
