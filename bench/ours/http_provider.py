"""Delivering by a provider's HTTP API, against the bare client that it is reached with.

Both post to the same sink, each from one process: ours one email after the other, the bare client
the body that the adapter makes of one of them, again and again. What is compared is what a process
gets done in a second of its own processor time: ours claims, builds, records and bills besides.
"""

from bench import compare
from bench.anchors import bare_http
from bench.context import Context
from bench.lines import Line, Outcome
from bench.ours.backlog import make_backlog
from bench.ours.drain import drain, size_for
from bench.rounds import Rounds
from bench.sinks import http_sink

_LINE = Line(
    name="http-provider-vs-aiohttp",
    floor=0.12,
    goal=0.20,
    says="delivered by SendGrid's API in a second of the worker's CPU / requests of bare aiohttp",
)
LINES = (_LINE,)

_CONNECTIONS = 25
_MICROSECONDS = 1e6


def run(context: Context) -> list[Outcome]:
    """Measure ours and the bare client in turn."""
    rounds = Rounds()
    with (
        context.cluster.database("http", context.folder) as platform,
        platform.api() as api,
        http_sink(context.children) as sink,
    ):
        backlog = make_backlog(context, platform, api, platform.add_sender("example.com"))
        url = f"http://127.0.0.1:{sink.port}"
        settings = {
            "TALLYPOST_PROVIDERS": "sendgrid",
            "TALLYPOST_SENDGRID_API_KEY": "sample",
            "TALLYPOST_SENDGRID_ENDPOINT": url,
            "TALLYPOST_SENDGRID_CONNECTIONS": str(_CONNECTIONS),
        }
        with platform.workers(1, sink.port, **settings) as workers:
            pilot = drain(context, platform, backlog, sink, workers, context.scale.pilot_mails)
            count = size_for(context, pilot.rate)
            job = bare_http.PostJob(f"{url}/v3/mail/send", count, _CONNECTIONS)
            for _ in context.rounds("http"):
                bare = bare_http.measure(context.children, job)
                rounds.note("aiohttp-rate", bare.rate)
                rounds.note("aiohttp", _MICROSECONDS / bare.cpu_us)
                drained = drain(context, platform, backlog, sink, workers, count)
                rounds.note("rate", drained.rate)
                if drained.cpu_us:
                    rounds.note("ours", _MICROSECONDS / drained.cpu_us)
    context.report("http", rounds)
    return [compare.ratio(_LINE, rounds, "ours", "aiohttp")]
