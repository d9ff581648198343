"""Postfix as a relay: SMTP in, queue file with fsync, 20 deliveries out; no DKIM, no events."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.anchors import smtp_source
from bench.children import listens
from bench.context import Context
from bench.errors import Absent
from bench.peers.peer import Send
from bench.sinks import Sink, find_postfix_tool, wait_for_arrivals
from tallypost_cli.ports import find_free_port

_START_WITHIN_S = 30.0
_WITHIN_S = 60.0

# Its own folders throughout, so that the system's Postfix is never touched.
_MAIN = """
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = /dev/stdout
mail_owner = postfix
setgid_group = postdrop
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = relay.example.com
mydestination =
mynetworks = 127.0.0.0/8
smtpd_recipient_restrictions = permit_mynetworks, reject
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_peername_lookup = no
smtpd_client_connection_rate_limit = 0
relayhost = [127.0.0.1]:{sink_port}
smtp_dns_support_level = disabled
initial_destination_concurrency = 20
default_destination_concurrency_limit = 20
alias_maps =
alias_database =
biff = no
"""
# Nothing runs in a chroot, whose files only an installation lays out.
_MASTER = """
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


@contextmanager
def running(context: Context, sink: Sink) -> Iterator[Send]:
    """Run a relay of our own; raises Absent where that is not possible."""
    postfix, postconf = (find_postfix_tool(name) for name in ("postfix", "postconf"))
    if postfix is None or postconf is None:
        raise Absent("Postfix is not installed")
    if os.geteuid() != 0:
        raise Absent("Postfix runs for root only")
    children = context.children
    port = find_free_port()
    folder = _configure(context.folder / "postfix", port, sink.port)
    settings = str(folder / "etc")
    programs = children.run(
        "postconf", [postconf, "-c", settings, "-h", "daemon_directory"], within_s=_START_WITHIN_S
    )
    # Makes the folders of its queue.
    children.run("postfix-check", [postfix, "-c", settings, "check"], within_s=_START_WITHIN_S)
    # Its own start would fork, and its end would not be ours to see to.
    master = [str(Path(programs.strip()) / "master"), "-c", settings, "-s"]
    with children.running("postfix", master, cwd=Path("/")) as relay:
        relay.wait_until(lambda: listens(port), within_s=_START_WITHIN_S, what="Postfix listens")

        def send(count: int) -> float:
            sink.reset()
            smtp_source.inject(children, port, count)
            return wait_for_arrivals(sink, count, within_s=_WITHIN_S, senders=[relay]).rate

        yield send


def _configure(folder: Path, port: int, sink_port: int) -> Path:
    for part in ("etc", "queue", "data"):
        (folder / part).mkdir(parents=True)
    shutil.chown(folder / "data", "postfix")
    (folder / "etc" / "main.cf").write_text(_MAIN.format(folder=folder, sink_port=sink_port))
    (folder / "etc" / "master.cf").write_text(_MASTER.format(port=port))
    return folder
