"""The whole path, HTTP to sink, against other mail systems in the same rounds.

Ours runs while it accepts: from the first request to the last arrival. What favours others stays:
job queues are filled before they start, and nobody else signs, records events or counts usage.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack

from msgspec import Struct

from bench import compare, http_load
from bench.children import Child
from bench.context import Context
from bench.errors import Absent, Failed, brief
from bench.http_load import Job
from bench.lines import Line, Outcome
from bench.ours.backlog import make_backlog
from bench.peers import arq, haraka, post_office, postfix
from bench.peers.peer import Send
from bench.platform import API, Sender
from bench.rounds import Rounds
from bench.sinks import Sink, counting_sink, wait_for_arrivals


class _Peer(Struct, frozen=True):
    name: str
    line: Line
    running: Callable[[Context, Sink], AbstractContextManager[Send]]


_SAYS = "mails a second from HTTP to sink, signed with RSA-2048, 1 API process, 2 workers / "
_PEERS = (
    _Peer(
        "postfix",
        Line(name="whole-vs-postfix", floor=1.5, goal=2.5, says=_SAYS + "Postfix as a relay"),
        postfix.running,
    ),
    _Peer(
        "haraka",
        Line(name="whole-vs-haraka", floor=1.5, goal=2.5, says=_SAYS + "Haraka as a relay"),
        haraka.running,
    ),
    _Peer(
        "post-office",
        Line(
            name="whole-vs-post-office",
            floor=0.75,
            goal=1.25,
            says=_SAYS + "django-post-office, filled before it starts",
        ),
        post_office.running,
    ),
    _Peer(
        "arq",
        Line(
            name="whole-vs-arq",
            floor=2,
            goal=3,
            says=_SAYS + "a job in ARQ for each mail, filled before it starts",
        ),
        arq.running,
    ),
)
LINES = tuple(peer.line for peer in _PEERS)

_CLIENTS = 32
_WORKERS = 2
_WITHIN_S = 120.0


def run(context: Context) -> list[Outcome]:
    """Measure ours and each peer that works here in turn."""
    rounds, reasons = Rounds(), dict[str, str]()
    with ExitStack() as stack:
        platform = stack.enter_context(context.cluster.database("whole", context.folder))
        api = stack.enter_context(platform.api())
        sender = platform.add_sender("example.com")
        make_backlog(context, platform, api, sender)
        sink = stack.enter_context(counting_sink(context.children))
        workers = stack.enter_context(platform.workers(_WORKERS, sink.port))
        context.say("whole: pilot")
        pilot = _send(context, api, sender, sink, workers, context.scale.pilot_mails)
        count = max(context.scale.peer_mails, int(pilot * context.scale.delivery_s))
        sends = _open(context, sink, stack, reasons)
        for _ in context.rounds("whole"):
            rounds.note("ours", _send(context, api, sender, sink, workers, count))
            for name in [*sends]:
                try:
                    rounds.note(name, sends[name](context.scale.peer_mails))
                except Failed as error:
                    # Not ours to repair, and its other rounds would not tell more.
                    reasons[name] = f"did not work: {brief(error)}"
                    context.say(f"whole: goes on without {name}, which {reasons[name]}")
                    del sends[name]
    context.report("whole", rounds)
    return [
        compare.ratio(peer.line, rounds, "ours", peer.name)
        if peer.name in sends
        else compare.absent([peer.line], reasons[peer.name])[0]
        for peer in _PEERS
    ]


def _open(
    context: Context, sink: Sink, stack: ExitStack, reasons: dict[str, str]
) -> dict[str, Send]:
    """The peers that run here, each after one send that nobody counts."""
    sends: dict[str, Send] = {}
    for peer in _PEERS:
        context.say(f"whole: {peer.name} starts")
        try:
            send = stack.enter_context(peer.running(context, sink))
            rate = send(context.scale.pilot_mails)
        except (Absent, Failed) as error:
            reasons[peer.name] = brief(error)
            context.say(f"whole: goes on without {peer.name}: {reasons[peer.name]}")
        else:
            context.say(f"  {peer.name}: {rate:.0f}/s")
            sends[peer.name] = send
    return sends


def _send(
    context: Context, api: API, sender: Sender, sink: Sink, workers: Sequence[Child], count: int
) -> float:
    sink.reset()
    answers = http_load.ask(
        context.children,
        Job(
            port=api.port,
            token=sender.token,
            sender=sender.address,
            clients=_CLIENTS,
            requests=count,
        ),
    )
    expected = answers.requests
    arrivals = wait_for_arrivals(sink, expected, within_s=_WITHIN_S, senders=[*workers])
    if arrivals.taken != expected:
        raise Failed(f"{arrivals.taken} copies of {expected} mails arrived")
    rate = expected / (arrivals.last_s - answers.first_sent_s)
    context.say(f"  ours: {expected} mails accepted {answers.rate:.0f}/s, at the sink {rate:.0f}/s")
    return rate
