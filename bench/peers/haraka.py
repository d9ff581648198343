"""Haraka as a relay: SMTP in, a queue file for each mail, 50 deliveries out; no DKIM."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import installs
from bench.anchors import smtp_source
from bench.children import listens
from bench.context import Context
from bench.peers.peer import Send
from bench.sinks import Sink, wait_for_arrivals
from tallypost_cli.ports import find_free_port

VERSION = "3.3.4"

_START_WITHIN_S = 30.0
_WITHIN_S = 60.0

# Whoever may connect here may relay, and all mail goes to the sink.
_PLUGIN = """
exports.register = function () {{
  this.register_hook('connect', 'may_relay');
  this.register_hook('rcpt', 'any_recipient');
}};
exports.may_relay = (next, connection) => {{ connection.relaying = true; next(); }};
exports.any_recipient = (next) => next(OK);
exports.hook_get_mx = (next) => next(OK, {{ priority: 0, exchange: '127.0.0.1', port: {port} }});
"""
_FILES = {
    "smtp.ini": "listen=127.0.0.1:{own_port}\nnodes=0\nforce_shutdown_timeout=1\n",
    "outbound.ini": "concurrency_max=50\nenable_tls=false\nlocal_mx_ok=true\n",
    "log.ini": "[main]\nlevel=ERROR\n",
    "plugins": "to_sink\n",
    "me": "relay.example.com\n",
}


@contextmanager
def running(context: Context, sink: Sink) -> Iterator[Send]:
    """Run a relay of one process; raises Absent where it cannot be installed."""
    package = installs.require_node_package(
        context.children, context.cache / "haraka", "Haraka", VERSION
    )
    smtp_source.require()
    port = find_free_port()
    folder = context.folder / "haraka"
    _configure(package, folder, port, sink.port)
    command = [str(shutil.which("node")), str(package / "bin" / "haraka"), "-c", str(folder)]
    with context.children.running("haraka", command, cwd=folder) as relay:
        relay.wait_until(lambda: listens(port), within_s=_START_WITHIN_S, what="Haraka listens")

        def send(count: int) -> float:
            sink.reset()
            smtp_source.inject(context.children, port, count)
            return wait_for_arrivals(sink, count, within_s=_WITHIN_S, senders=[relay]).rate

        yield send


def _configure(package: Path, folder: Path, port: int, sink_port: int) -> None:
    for part in ("config", "plugins", "queue"):
        (folder / part).mkdir(parents=True)
    for name, text in _FILES.items():
        (folder / "config" / name).write_text(text.format(own_port=port), encoding="ascii")
    # Without every section of this file it dies at the first connection.
    shutil.copy(package / "config" / "connection.ini", folder / "config")
    plugin = folder / "plugins" / "to_sink.js"
    plugin.write_text(_PLUGIN.format(port=sink_port), encoding="ascii")
