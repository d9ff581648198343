"""Accepting: one API process, clients that post 10 kB as fast as they are answered."""

from bench import compare, http_load
from bench.anchors import no_database, pgbench
from bench.context import Context
from bench.http_load import Answers, Job
from bench.lines import Line, Outcome
from bench.ours.backlog import make_backlog
from bench.platform import API, Sender
from bench.rounds import Rounds, percentile

_VS_TWO_ROWS = Line(
    name="accept-vs-pgbench-10kb",
    floor=0.25,
    goal=0.40,
    says="accepted a second, 32 clients, 1 process / pgbench inserts of 10 kB and a recipient",
)
_VS_SINGLE_ROW = Line(
    name="accept-vs-pgbench-1row",
    floor=0.13,
    goal=0.20,
    says="accepted a second, 32 clients, 1 process / pgbench inserts of one row",
)
_VS_NO_DATABASE = Line(
    name="accept-vs-no-database",
    floor=0.30,
    goal=0.45,
    says="accepted a second, 32 clients, 1 process / our endpoint without limit and database",
)
_P99 = Line(
    name="accept-p99-vs-p50",
    floor=6,
    goal=3,
    unit="ms",
    says="99th percentile of the answers' time / median, 32 clients",
)
_BATCH_SHARED = Line(
    name="batch-vs-single",
    floor=4,
    goal=8,
    says="recipients a second in strict batches of 2 x 50 with a body each 50 / single emails",
)
_BATCH = Line(
    name="batch-100-vs-single",
    floor=1.2,
    goal=2,
    says="recipients a second in strict batches of 100 emails with a body each / single emails",
)
LINES = (_VS_TWO_ROWS, _VS_SINGLE_ROW, _VS_NO_DATABASE, _P99, _BATCH_SHARED, _BATCH)

_CLIENTS = 32
_BATCH_CLIENTS = 4
_WARM_UP_REQUESTS = 300


def run(context: Context) -> list[Outcome]:
    """Measure ours and the anchors in turn; fails where any answer is not 200."""
    children, scale, rounds = context.children, context.scale, Rounds()
    with (
        context.cluster.database("accept", context.folder) as platform,
        context.cluster.empty_database("anchors") as anchors_url,
        platform.api() as api,
    ):
        sender = platform.add_sender("example.com")
        make_backlog(context, platform, api, sender)
        pgbench.prepare(anchors_url)
        with no_database.running(children, sender.token) as bare_port:
            bare = API(api.child, bare_port)
            for target in (api, bare):
                _post(context, target, sender, _CLIENTS, requests=_WARM_UP_REQUESTS)
            for _ in context.rounds("accept"):
                rounds.note(
                    "pgbench-10kb", pgbench.two_row_rate(children, anchors_url, scale.anchor_s)
                )
                rounds.note(
                    "pgbench-1row", pgbench.single_row_rate(children, anchors_url, scale.anchor_s)
                )
                answers = _post(context, bare, sender, _CLIENTS, seconds=scale.anchor_s)
                _note(rounds, "no-database", answers)
                _measure(context, rounds, api, sender)
    context.report("accept", rounds)
    return [
        compare.ratio(_VS_TWO_ROWS, rounds, "accept-c32", "pgbench-10kb"),
        compare.ratio(_VS_SINGLE_ROW, rounds, "accept-c32", "pgbench-1row"),
        compare.ratio(_VS_NO_DATABASE, rounds, "accept-c32", "no-database"),
        Outcome(
            line=_P99.name,
            measured=rounds.median("accept-c32-p99-ms"),
            values=rounds.ratios("accept-c32-p99-ms", "accept-c32-p50-ms"),
            is_noisy=rounds.is_noisy("pgbench-10kb", "no-database"),
        ),
        compare.ratio(_BATCH_SHARED, rounds, "batch-2x50", "accept-c32"),
        compare.ratio(_BATCH, rounds, "batch-100", "accept-c32"),
    ]


def _measure(context: Context, rounds: Rounds, api: API, sender: Sender) -> None:
    seconds = context.scale.accept_s
    _note(rounds, "accept-c32", _post(context, api, sender, _CLIENTS, seconds=seconds))
    for clients in (1, 64):
        answers = _post(context, api, sender, clients, seconds=seconds / 2)
        _note(rounds, f"accept-c{clients}", answers)
    for name, emails, recipients in (("batch-2x50", 2, 50), ("batch-100", 100, 1)):
        answers = _post(
            context,
            api,
            sender,
            _BATCH_CLIENTS,
            seconds=seconds / 2,
            emails=emails,
            recipients=recipients,
        )
        _note(rounds, name, answers)


def _note(rounds: Rounds, name: str, answers: Answers) -> None:
    rounds.note(name, answers.rate)
    for percent in (50, 99):
        rounds.note(f"{name}-p{percent}-ms", percentile(answers.latencies_s, percent) * 1000)


def _post(
    context: Context,
    target: API,
    sender: Sender,
    clients: int,
    *,
    seconds: float = 30.0,
    requests: int = 10_000_000,
    emails: int = 1,
    recipients: int = 1,
) -> Answers:
    return http_load.ask(
        context.children,
        Job(
            port=target.port,
            token=sender.token,
            sender=sender.address,
            clients=clients,
            seconds=seconds,
            requests=requests,
            emails=emails,
            recipients=recipients,
        ),
    )
