"""Delivering to a server that is far away and refuses some: 50 to 200 ms, 5 % of recipients.

What is possible there is arithmetic: each connection takes a mail in two round trips, so that many
connections have a ceiling that no processor raises.
"""

from bench.anchors import crypto
from bench.context import Context
from bench.lines import Line, Outcome
from bench.ours.backlog import make_backlog
from bench.rounds import Rounds
from bench.sinks import OwnSink, own_sink, wait_for_arrivals
from bench.smtp_sink import SinkJob

_LINE = Line(
    name="delivery-slow-sink",
    floor=0.5,
    goal=0.8,
    says="answered a second by a sink 50 to 200 ms away that refuses 5 %, 1 worker, "
    "100 connections / what two round trips a mail allow",
)
LINES = (_LINE,)

_CONNECTIONS = 100
_LEAST_DELAY_S = 0.05
_MOST_DELAY_S = 0.2
_REFUSED_SHARE = 0.05
_ROUND_TRIPS = 2
_MOST_ROUNDS = 3
_WITHIN_S = 90.0
_SIGNING_S = 0.3

CEILING_PER_S = _CONNECTIONS / (_ROUND_TRIPS * (_LEAST_DELAY_S + _MOST_DELAY_S) / 2)

# The refused that may be tried again are due after this run.
_SETTINGS = {
    "TALLYPOST_DELIVERY_CONCURRENCY": str(_CONNECTIONS),
    "TALLYPOST_SMTP_CONNECTIONS": str(_CONNECTIONS),
    "TALLYPOST_DELIVERY_RETRY_SCHEDULE_S": "3600",
}


def run(context: Context) -> list[Outcome]:
    """Measure in up to three rounds: waiting is what takes the time here."""
    rounds = Rounds()
    job = SinkJob(
        least_delay_s=_LEAST_DELAY_S, most_delay_s=_MOST_DELAY_S, refused_share=_REFUSED_SHARE
    )
    with (
        context.cluster.database("slow_sink", context.folder) as platform,
        platform.api() as api,
        own_sink(context.children, job) as sink,
    ):
        backlog = make_backlog(context, platform, api, platform.add_sender("example.com"))
        with platform.workers(1, sink.port, **_SETTINGS) as workers:
            for number in range(1, min(_MOST_ROUNDS, context.scale.rounds) + 1):
                context.say(f"slow-sink: round {number}")
                rounds.note("rsa-signs", crypto.measure(context.children, _SIGNING_S).rsa_signs)
                sink.reset()
                backlog.fill(context.scale.slow_mails)
                backlog.kick()
                expected = context.scale.slow_mails + 1
                wait_for_arrivals(sink, expected, within_s=_WITHIN_S, senders=workers)
                _note(rounds, sink)
    context.report("slow-sink", rounds)
    return [
        Outcome(
            line=_LINE.name,
            measured=rounds.median("answered"),
            values=tuple(rate / CEILING_PER_S for rate in rounds.values("answered")),
            is_noisy=rounds.is_noisy("rsa-signs"),
            note=f"the ceiling is {CEILING_PER_S:.0f}/s",
        )
    ]


def _note(rounds: Rounds, sink: OwnSink) -> None:
    arrivals = sink.arrivals()
    rounds.note("answered", arrivals.rate)
    rounds.note("taken", arrivals.taken)
    if arrivals.refused:
        rounds.note("refused", arrivals.refused)
