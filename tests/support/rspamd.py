"""rspamd as a judge of messages: DKIM, SPF and DMARC as large mailboxes check them.

Runs the installed program on a configuration of its own, with its stock rules, and asks nobody
but the name server that it is given.
"""

import http.client
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import NamedTuple

from tallypost_cli.guard import Guard
from tallypost_cli.ports import find_free_port

CACHE = Path(__file__).resolve().parents[2] / ".tallypost" / "cache" / "rspamd"
START_LIMIT_S = 60.0
STOP_LIMIT_S = 30.0
ANSWER_LIMIT_S = 30.0

_POLL_S = 0.05
# What asks other hosts, or a Redis; and what learns.
_SWITCHED_OFF = (
    "antivirus", "asn", "bimi", "clickhouse", "dcc", "elastic", "external_services", "fuzzy_check",
    "greylist", "history_redis", "mx_check", "neural", "p0f", "ratelimit", "rbl", "replies",
    "reputation", "rspamd_update", "surbl", "url_redirector",
)  # fmt: skip
_SETTINGS = """
.include "$CONFDIR/common.conf"
options {{
    .include "$CONFDIR/options.inc"
    # Of two blocks of one name rspamd would read the first: this one replaces.
    .include(priority=10) "{folder}/override.d/options.inc"
}}
logging {{
    type = "file";
    filename = "{folder}/rspamd.log";
    level = "info";
}}
worker "normal" {{
    bind_socket = "127.0.0.1:{port}";
    count = 1;
}}
"""
_OPTIONS = """
pidfile = "{folder}/rspamd.pid";
tempdir = "{folder}";
control_socket = "{folder}/control.sock mode=0600";
# Compiled rules take ten seconds the first time.
hs_cache_dir = "{cache}/";
# No address is trusted, wherever the message says that it comes from.
local_addrs = [];
dns {{
    nameserver = ["127.0.0.1:{dns_port}"];
    timeout = 5s;
}}
"""


class Verdict(NamedTuple):
    """What rspamd says about one message."""

    action: str
    """`no action`, `add header`, `reject` and so on."""
    score: float
    symbols: dict[str, float]
    """Each rule that fired, and what it adds to the score."""


class Rspamd:
    """A running rspamd."""

    def __init__(self, port: int) -> None:
        self._port = port

    def judge(self, message: bytes, *, envelope_sender: str, recipient: str, ip: str) -> Verdict:
        """The verdict on a message as if it had just come from a server at ip."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=ANSWER_LIMIT_S)
        try:
            connection.request(
                "POST",
                "/checkv2",
                body=message,
                headers={
                    "IP": ip,
                    "From": envelope_sender,
                    "Rcpt": recipient,
                    "Helo": "mail." + envelope_sender.rpartition("@")[2],
                },
            )
            answer = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        symbols = {name: symbol["score"] for name, symbol in answer["symbols"].items()}
        return Verdict(answer["action"], answer["score"], symbols)


def find_rspamd() -> str | None:
    """Where the program is, if installed; often in a folder that only root searches."""
    return shutil.which("rspamd") or shutil.which("rspamd", path="/usr/sbin:/usr/bin")


@contextmanager
def running_rspamd(folder: Path, dns_port: int) -> Iterator[Rspamd]:
    """Run rspamd for as long as the block lasts; what it writes goes to folder."""
    program = find_rspamd()
    assert program is not None, "ask find_rspamd() first"
    port = find_free_port()
    settings = folder / "rspamd.conf"
    settings.write_text(_SETTINGS.format(folder=folder, port=port))
    overrides = folder / "override.d"
    overrides.mkdir()
    CACHE.mkdir(parents=True, exist_ok=True)
    options = _OPTIONS.format(folder=folder, cache=CACHE, dns_port=dns_port)
    (overrides / "options.inc").write_text(options)
    for module in _SWITCHED_OFF:
        (overrides / f"{module}.conf").write_text("enabled = false;\n")
    # The host's own changes to the stock rules stay out: they lie in LOCAL_CONFDIR.
    variables = [
        f"--var={name}={folder}" for name in ("LOCAL_CONFDIR", "DBDIR", "RUNDIR", "LOGDIR")
    ]
    command = [program, "--no-fork", "--insecure", "--config", str(settings), *variables]
    guard = Guard()
    process = Popen(
        command,
        stdin=DEVNULL,
        stdout=DEVNULL,
        stderr=DEVNULL,
        cwd=folder,
        start_new_session=True,
    )
    guard.watch(process.pid, "app")
    try:
        _wait_until_ready(port, process, folder)
        yield Rspamd(port)
    finally:
        process.terminate()
        process.wait(STOP_LIMIT_S)
        guard.dismiss()


def _wait_until_ready(port: int, process: "Popen[bytes]", folder: Path) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while not _answers(port):
        log = folder / "rspamd.log"
        assert process.poll() is None, log.read_text() if log.exists() else "rspamd has ended"
        assert time.monotonic() < deadline, "rspamd does not answer"
        time.sleep(_POLL_S)


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_LIMIT_S)
    try:
        connection.request("GET", "/ping")
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()
