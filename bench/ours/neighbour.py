"""A small tenant beside one with a million emails queued: how long its own email waits."""

from bench import http_load
from bench.anchors import crypto
from bench.context import Context
from bench.http_load import Job
from bench.lines import Line, Outcome
from bench.ours.backlog import make_backlog
from bench.ours.latency import waits_s
from bench.platform import Platform, Sender
from bench.rounds import Rounds, percentile
from bench.sinks import own_sink
from bench.smtp_sink import SinkJob

_LINE = Line(
    name="small-tenant-wait",
    floor=5,
    goal=1,
    unit="s",
    is_ratio=False,
    says="longest time from the request to the arrival, 4 emails a second of one tenant while "
    "another has 1,000,000 queued and 1 worker drains them",
)
LINES = (_LINE,)

_RATE_PER_S = 4.0
_CLIENTS = 4
# More than a worker delivers while the small tenant sends.
_WHOLE_MAILS = 40_000
_SIGNING_S = 0.3
_LOADED_AT_ONCE = 500_000

# Behind the emails that exist as a whole, rows that nobody will reach: claims see all the same.
_LOAD = """
    INSERT INTO send_queue (tenant_id, email_id, lane, due_at)
    SELECT $1,
           (lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint), 12, '0')
            || '7fff8' || lpad(to_hex(n), 15, '0'))::uuid,
           'transactional', now()
    FROM generate_series($2::bigint, $3::bigint) AS n
"""


def run(context: Context) -> list[Outcome]:
    """Queue a backlog, start a worker, and time the emails of another tenant."""
    scale, rounds = context.scale, Rounds()
    rounds.note("rsa-signs", crypto.measure(context.children, _SIGNING_S).rsa_signs)
    with (
        context.cluster.database("neighbour", context.folder) as platform,
        platform.api() as api,
        own_sink(context.children, SinkJob(keeps_ids=True)) as sink,
    ):
        big, small = platform.add_sender("example.com"), platform.add_sender("example.org")
        backlog = make_backlog(context, platform, api, big)
        whole = min(_WHOLE_MAILS, scale.backlog_rows)
        context.say(f"neighbour: queues {scale.backlog_rows} emails")
        backlog.fill(whole)
        _load_rest(platform, big, scale.backlog_rows - whole)
        with platform.workers(1, sink.port):
            answers = http_load.ask(
                context.children,
                Job(
                    port=api.port,
                    token=small.token,
                    sender=small.address,
                    clients=_CLIENTS,
                    requests=scale.small_tenant_mails,
                    rate_per_s=_RATE_PER_S,
                    keeps_ids=True,
                ),
            )
            for wait_s in waits_s(sink, answers):
                rounds.note("small-tenant-s", wait_s)
            delivered = sink.arrivals().taken - answers.requests
    rounds.note("rsa-signs", crypto.measure(context.children, _SIGNING_S).rsa_signs)
    context.report("neighbour", rounds)
    waited_s = rounds.values("small-tenant-s")
    return [
        Outcome(
            line=_LINE.name,
            values=(max(waited_s),),
            is_noisy=rounds.is_noisy("rsa-signs"),
            note=f"{len(waited_s)} emails, median {percentile(waited_s, 50):.3f} s; "
            f"{delivered} of the neighbour's went out meanwhile",
        )
    ]


def _load_rest(platform: Platform, sender: Sender, rows: int) -> None:
    platform.execute("ALTER TABLE send_queue DISABLE TRIGGER ALL")
    for first in range(0, rows, _LOADED_AT_ONCE):
        last = min(rows, first + _LOADED_AT_ONCE) - 1
        platform.execute(_LOAD, sender.tenant_id, first, last)
    platform.execute("ALTER TABLE send_queue ENABLE TRIGGER ALL")
    platform.execute("VACUUM (ANALYZE) send_queue")
