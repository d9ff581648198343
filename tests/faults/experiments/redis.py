"""Redis forgets everything, or is away: that costs neither mail nor much speed."""

import time
from collections.abc import Callable

from redis import Redis

from tests.faults.clients import Clients
from tests.faults.experiments.rates import email_times, percentile, rate_between
from tests.faults.runs import Experiment, Run
from tests.support.programs import wait_until

# Each reply of the far end takes this long, as of a real one; it bounds how fast mail goes.
_LATENCY_S = 0.02
_PILOT_S = 2.0
_PILOT_MAILS = 1_500
_STARTED_WITHIN_S = 60.0
# More than what the measurements need, so that the queue never runs dry in one.
_MARGIN = 1.15


def _flush(run: Run) -> None:
    span_s = run.pick(small=1.5, full=20.0)
    every_s = run.pick(small=0.3, full=5.0)
    _send_and_queue(run, 2 * span_s)

    def flush_for(seconds: float) -> None:
        with Redis.from_url(run.platform.redis.url) as connection:
            ends_s = time.monotonic() + seconds
            while (left_s := ends_s - time.monotonic()) > 0:
                connection.flushall()
                time.sleep(min(every_s, left_s))

    before, during = _rates(run, span_s, span_s, flush_for)
    run.note_healed()
    run.forbid_restarts()
    run.at_least("mails a second while flushed, of those before", during / before, 0.5)
    run.require("mail goes on while Redis is flushed", during)


def _stop(run: Run) -> None:
    before_s, away_s = run.pick(small=1.0, full=15.0), run.pick(small=2.0, full=60.0)
    clients = _send_and_queue(run, before_s + away_s)
    wires = [wire for (_, server), wire in run.links.items() if server == "redis"]
    away_since_s = 0.0

    def be_away(seconds: float) -> None:
        nonlocal away_since_s
        away_since_s = time.monotonic()
        run.platform.redis.stop()
        time.sleep(seconds / 2)
        # There again, and silent: whoever asks has to notice by himself.
        for wire in wires:
            wire.pause()
        run.platform.redis.start()
        time.sleep(seconds / 2)

    before, during = _rates(run, before_s, away_s, be_away)
    for wire in wires:
        wire.resume()
    run.note_healed()
    run.forbid_restarts()
    run.require("mail goes on while Redis is away", during)
    took_s = [
        request.took_s
        for request in clients.report.requests
        if away_since_s <= request.began_s < away_since_s + away_s
    ]
    run.at_most("p99 of accepting while Redis is away, s", percentile(took_s, 99), 0.5)
    run.at_least("mails a second while Redis is away, of those before", during / before, 0.8)
    refusals = clients.report.refusals
    run.require("no request is refused while Redis is away", not refusals, dict(refusals))
    # One that starts without Redis has to work as well.
    run.platform.redis.stop()
    run.platform.workers[0].restart()
    run.platform.workers[0].wait_until_ready()
    run.load(run.pick(small=50, full=500), name="later")
    run.settle()
    run.platform.redis.start()


def _send_and_queue(run: Run, measured_s: float) -> Clients:
    """Clients for the whole measurement, and a queue that lasts for it."""
    run.sink.misbehave(latency_s=_LATENCY_S)
    pilot = run.pick(small=200, full=_PILOT_MAILS)
    run.load(pilot, name="pilot")
    wait_until(
        lambda: run.sink.taken() >= pilot // 4,
        within_s=_STARTED_WITHIN_S,
        what="the first mails arrive",
    )
    taken, began_s = run.sink.taken(), time.monotonic()
    wait_until(
        lambda: run.sink.taken() >= pilot * 3 // 4,
        within_s=_STARTED_WITHIN_S,
        what="the pilot's mails arrive",
    )
    rate = (run.sink.taken() - taken) / (time.monotonic() - began_s)
    sends = int(measured_s * run.pick(small=20, full=50))
    queued = max(0, int(rate * measured_s * _MARGIN) - sends)
    run.progress.say(f"about {rate:.0f} mails a second; queues {queued:,}")
    run.load(queued, name="queued")
    return run.send(sends, measured_s)


def _rates(
    run: Run, before_s: float, during_s: float, break_for: Callable[[float], None]
) -> tuple[float, float]:
    """Emails a second before something is broken and while it is."""
    began_s = time.monotonic()
    time.sleep(before_s)
    broken_s = time.monotonic()
    break_for(during_s)
    ended_s = time.monotonic()
    times = email_times(run.sink.arrived())
    before, during = (
        rate_between(times, began_s, broken_s),
        rate_between(times, broken_s, ended_s),
    )
    run.progress.say(f"{before:.0f} mails a second before, {during:.0f} while it was broken")
    return before, during


EXPERIMENTS = (
    Experiment(name="redis-flushed", play=_flush),
    Experiment(name="redis-down", play=_stop),
)
