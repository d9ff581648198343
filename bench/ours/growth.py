"""Inserting into tables that have grown, against inserting into almost empty ones."""

import time

from bench import compare
from bench.context import Context
from bench.lines import Line, Outcome
from bench.ours.backlog import QUEUE, Backlog, make_backlog
from bench.platform import Platform, connected
from bench.rounds import Rounds
from tallypost_domain.db.pools import Connection

_LINE = Line(
    name="insert-grown-vs-few",
    floor=0.7,
    goal=0.9,
    says="emails inserted a second, 100 in a transaction, beside 10,000,000 rows of finished "
    "emails in the same partition / beside few",
)
LINES = (_LINE,)

_AT_ONCE = 100
_GROWN_AT_ONCE = 250_000
# Finished emails keep neither content nor a place in the queue.
_WITHOUT = ("email_contents", *QUEUE)


def run(context: Context) -> list[Outcome]:
    """Grow one of two databases, then insert into both in turn."""
    rounds, scale = Rounds(), context.scale
    with (
        context.cluster.database("few", context.folder) as few,
        context.cluster.database("grown", context.folder) as grown,
    ):
        backlogs = {"few": _backlog(context, few), "grown": _backlog(context, grown)}
        for first in range(0, scale.grown_rows, _GROWN_AT_ONCE):
            context.say(f"growth: {first} of {scale.grown_rows} emails")
            backlogs["grown"].fill(min(_GROWN_AT_ONCE, scale.grown_rows - first), without=_WITHOUT)
        for _ in context.rounds("growth"):
            for name, platform in (("few", few), ("grown", grown)):
                rate = _rate(platform, backlogs[name], scale.anchor_s)
                rounds.note(name, rate)
    context.report("growth", rounds)
    return [
        compare.ratio(_LINE, rounds, "grown", "few", f"with {scale.grown_rows} finished emails")
    ]


def _backlog(context: Context, platform: Platform) -> Backlog:
    with platform.api() as api:
        return make_backlog(context, platform, api, platform.add_sender("example.com"))


def _rate(platform: Platform, backlog: Backlog, seconds: float) -> float:
    async def insert(connection: Connection) -> float:
        # The first finds the connection's caches cold.
        await backlog.insert(connection, _AT_ONCE)
        inserted = 0
        started_s = now_s = time.perf_counter()
        while now_s - started_s < seconds:
            await backlog.insert(connection, _AT_ONCE)
            inserted += _AT_ONCE
            now_s = time.perf_counter()
        return inserted / (now_s - started_s)

    return connected(platform.superuser_url, insert)
