"""Idle latency: 25 emails a second, each timed from its request to its arrival at a sink."""

import time

from bench import compare, http_load
from bench.anchors import crypto
from bench.context import Context
from bench.errors import Failed
from bench.http_load import Answers, Job
from bench.lines import Line, Outcome
from bench.ours.backlog import make_backlog
from bench.platform import API, Sender
from bench.rounds import Rounds, percentile
from bench.sinks import OwnSink, own_sink
from bench.smtp_sink import SinkJob

_P50 = Line(
    name="idle-latency-p50",
    floor=25,
    goal=8,
    unit="ms",
    is_ratio=False,
    says="median time from the request to the arrival at a sink, 25 emails a second",
)
_P99 = Line(
    name="idle-latency-p99",
    floor=100,
    goal=30,
    unit="ms",
    is_ratio=False,
    says="99th percentile of the same time",
)
_VS_ACCEPT = Line(
    name="idle-latency-vs-accept",
    floor=6,
    goal=3,
    unit="ms",
    says="median time from the request to the arrival / median time to the answer",
)
LINES = (_P50, _P99, _VS_ACCEPT)

_RATE_PER_S = 25.0
_CLIENTS = 8
_ARRIVED_WITHIN_S = 15.0
_POLL_S = 0.05
_SIGNING_S = 0.3


def run(context: Context) -> list[Outcome]:
    """Measure with one API process and one worker that signs with RSA."""
    rounds = Rounds()
    with (
        context.cluster.database("latency", context.folder) as platform,
        platform.api() as api,
        own_sink(context.children, SinkJob(keeps_ids=True)) as sink,
    ):
        sender = platform.add_sender("example.com")
        make_backlog(context, platform, api, sender)
        with platform.workers(1, sink.port):
            # The first emails find everything cold.
            _post(context, api, sender, sink, seconds=1.0)
            for _ in context.rounds("latency"):
                signs = crypto.measure(context.children, _SIGNING_S).rsa_signs
                rounds.note("rsa-signs", signs)
                answers, waited_s = _post(context, api, sender, sink, context.scale.latency_s)
                for percent in (50, 99):
                    accept_ms = percentile(answers.latencies_s, percent) * 1000
                    rounds.note(f"accept-p{percent}-ms", accept_ms)
                    rounds.note(f"sink-p{percent}-ms", percentile(waited_s, percent) * 1000)
    context.report("latency", rounds)
    return [
        compare.amount(_P50, rounds, "sink-p50-ms", "rsa-signs"),
        compare.amount(_P99, rounds, "sink-p99-ms", "rsa-signs"),
        Outcome(
            line=_VS_ACCEPT.name,
            measured=rounds.median("sink-p50-ms"),
            values=rounds.ratios("sink-p50-ms", "accept-p50-ms"),
            is_noisy=rounds.is_noisy("rsa-signs"),
        ),
    ]


def _post(
    context: Context, api: API, sender: Sender, sink: OwnSink, seconds: float
) -> tuple[Answers, list[float]]:
    """Post at the fixed rate; returns the answers and each email's time to its arrival."""
    sink.reset()
    answers = http_load.ask(
        context.children,
        Job(
            port=api.port,
            token=sender.token,
            sender=sender.address,
            clients=_CLIENTS,
            seconds=seconds,
            rate_per_s=_RATE_PER_S,
            keeps_ids=True,
        ),
    )
    return answers, waits_s(sink, answers)


def waits_s(sink: OwnSink, answers: Answers) -> list[float]:
    """Seconds from each request to the arrival of its email, once all are there.

    Raises Failed where one does not come.
    """
    deadline_s = time.monotonic() + _ARRIVED_WITHIN_S
    while missing := answers.sent.keys() - (arrived := sink.arrivals().arrived).keys():
        if time.monotonic() > deadline_s:
            raise Failed(f"{len(missing)} of {len(answers.sent)} emails did not arrive")
        time.sleep(_POLL_S)
    return [arrived[id_] - sent_s for id_, sent_s in answers.sent.items()]
