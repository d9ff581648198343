"""Delivering a prepared backlog: from the first to the last arrival at a sink."""

from collections.abc import Sequence

from msgspec import Struct

from bench.children import Child, cpu_s
from bench.context import Context
from bench.errors import Failed
from bench.ours.backlog import Backlog
from bench.platform import Platform
from bench.sinks import Sink, wait_for_arrivals

_WITHIN_S = 120.0
_SETTLED_WITHIN_S = 15.0

OPEN_ROWS = "SELECT count(*) FROM send_queue"


class Drained(Struct, frozen=True, kw_only=True):
    """How a backlog went out."""

    rate: float
    """Mails a second between the first and the last arrival."""
    cpu_us: float
    """Processor time of all workers for each mail, in microseconds."""


def drain(
    context: Context,
    platform: Platform,
    backlog: Backlog,
    sink: Sink,
    workers: Sequence[Child],
    count: int,
) -> Drained:
    """Make a backlog visible at once to workers that wait for it, and see it through.

    Raises Failed unless each mail arrived once and the queue is empty afterwards.
    """
    sink.reset()
    backlog.fill(count)
    before_s = sum(cpu_s(worker.pid) for worker in workers)
    backlog.kick()
    # The kick is one more.
    expected = count + 1
    wait_for_arrivals(sink, expected, within_s=_WITHIN_S, senders=[*workers])
    used_s = sum(cpu_s(worker.pid) for worker in workers) - before_s
    for worker in workers:
        worker.wait_until(
            lambda: platform.count(OPEN_ROWS) == 0,
            within_s=_SETTLED_WITHIN_S,
            what="all that arrived is on record",
        )
    arrivals = sink.arrivals()
    if arrivals.taken != expected:
        raise Failed(f"{arrivals.taken} copies of {expected} mails arrived")
    context.say(f"  {count} mails: {arrivals.rate:.0f}/s, {used_s / expected * 1e6:.0f} us each")
    return Drained(rate=arrivals.rate, cpu_us=used_s / expected * 1e6)


def size_for(context: Context, rate: float) -> int:
    """How many mails last about as long as a measurement should."""
    scale = context.scale
    return max(scale.pilot_mails, min(scale.most_mails, int(rate * scale.delivery_s)))
