"""One tenant's backlog is not another's: a quiet tenant does not feel it, and equals share."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.faults.clients import Clients
from tests.faults.experiments.rates import arrival_times, jain_index, percentile, rate_between
from tests.faults.runs import Experiment, Run
from tests.support.counting_sink import Arrived
from tests.support.programs import wait_until

_STARTED_WITHIN_S = 60.0
_WARM_UP_S = 2.0
_TENANTS = 50
# Of what is left of the campaign, so that it outlasts what is measured beside it.
_SAFE_SHARE = 0.8
_LEAST_RESETS, _MOST_RESETS = 10, 60


def _noisy_neighbour(run: Run) -> None:
    queued = run.pick(small=600, full=100_000)
    alone = _send_resets(run, "alone", run.pick(small=3, full=30))
    alone.finish()
    with _stopped_workers(run):
        run.load(queued, name="campaign", streams=("bulk",))
    _wait_for_arrivals(run)
    began_s = time.monotonic()
    # Short, so that enough of the campaign is left for resets of which the slowest decides nothing.
    time.sleep(run.pick(small=0.5, full=6.0))
    joined_s = time.monotonic()
    solo = rate_between(arrival_times(run.sink.arrived(), "campaign"), began_s, joined_s)
    left_s = (queued - run.sink.taken()) / max(solo, 1.0)
    resets = max(_LEAST_RESETS, min(_MOST_RESETS, int(left_s * _SAFE_SHARE)))
    beside = _send_resets(run, "beside", run.pick(small=3, full=resets))
    beside.finish()
    ended_s = time.monotonic()
    run.settle()
    arrived = run.sink.arrived()
    campaign = arrival_times(arrived, "campaign")
    shared = rate_between(campaign, joined_s, ended_s)
    idle_p95, busy_p95 = (percentile(_waits_s(c, arrived), 95) for c in (alone, beside))
    run.progress.say(
        f"campaign {solo:.0f} mails a second alone, {shared:.0f} beside the resets; "
        f"resets p95 {idle_p95 * 1000:.0f} ms idle, {busy_p95 * 1000:.0f} ms beside the campaign"
    )
    run.at_most("p95 of a reset beside the campaign, s", busy_p95, 1.0)
    run.at_most("the same, of the p95 when idle", busy_p95 / idle_p95, 2.0)
    run.at_least("mails a second of the campaign, of those alone", shared / max(solo, 1.0), 0.8)
    # Otherwise less was measured than is said.
    run.at_least("seconds that the campaign outlasts the resets", campaign[-1] - ended_s, 0.0)


def _fair_share(run: Run) -> None:
    each = run.pick(small=10, full=400)
    names = [f"tenant{number}" for number in range(_TENANTS)]
    tenants = run.platform.add_tenants([f"{name}.example.com" for name in names])
    with _stopped_workers(run):
        for name, tenant in zip(names, tenants, strict=True):
            run.load(each, name=name, tenant=tenant, streams=("transactional",))
    run.note_healed()
    run.settle()
    arrived = run.sink.arrived()
    times = {name: arrival_times(arrived, name) for name in names}
    everything = sorted(time_s for of_one in times.values() for time_s in of_one)
    # The middle half: at the start and at the end not everybody has mail to send.
    first_s, last_s = everything[len(everything) // 4], everything[len(everything) * 3 // 4]
    shares = [rate_between(of_one, first_s, last_s) for of_one in times.values()]
    run.progress.say(
        f"{sum(shares):.0f} mails a second, {min(shares):.1f} to {max(shares):.1f} each"
    )
    run.at_least("Jain index of 50 equal tenants", jain_index(shares), 0.95)


def _send_resets(run: Run, name: str, count: int) -> Clients:
    """One password reset a second of the quiet tenant."""
    return run.send(
        count,
        float(count),
        name=name,
        tenant=run.platform.other_tenant,
        streams=("transactional",),
        most_recipients=1,
    )


def _waits_s(clients: Clients, arrived: Arrived) -> list[float]:
    """From each request to the arrival of its email."""
    came_at_s = {address: copies.first_at_s for (_, address), copies in arrived.items()}
    began_at_s = {
        request.number: request.began_s
        for request in reversed(clients.report.requests)
        if request.status == 200
    }
    return [
        came_at_s[clients.plan.recipients(number)[0]] - began_s
        for number, began_s in began_at_s.items()
    ]


@contextmanager
def _stopped_workers(run: Run) -> Iterator[None]:
    """No worker runs in the block; all are ready after it."""
    for worker in run.platform.workers:
        worker.stop()
    yield
    for worker in run.platform.workers:
        worker.start()
    for worker in run.platform.workers:
        worker.wait_until_ready()


def _wait_for_arrivals(run: Run) -> None:
    taken = run.sink.taken()
    wait_until(
        lambda: run.sink.taken() > taken, within_s=_STARTED_WITHIN_S, what="the first mails arrive"
    )
    time.sleep(run.pick(small=0.0, full=_WARM_UP_S))


EXPERIMENTS = (
    # In small it counts what its neighbour below counts: all it is about is time.
    Experiment(name="noisy-neighbour", play=_noisy_neighbour, is_in_tests=False),
    Experiment(name="fair-share", play=_fair_share),
)
