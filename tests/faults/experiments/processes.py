"""Programs are killed, frozen and restarted while mail is sent."""

import random
import time

from tests.faults.experiments.far_end import SLOW_S, be_slow, hold_handovers
from tests.faults.runs import Experiment, Run
from tests.support.programs import Program, wait_until

_FIRST_FAULT_AFTER_S = 1.0
_KILL_EVERY_S = 2.0
_FROZEN_LIMIT_S = 90.0

_LATE = "SELECT count(*) FROM attempts WHERE is_late"
# By a worker that beats no more, until another one sweeps them.
_HELD_BY_FROZEN = """
    SELECT count(*) FROM send_queue q JOIN workers w ON w.id = q.worker_id
    WHERE w.beat_at < now() - interval '10 seconds'
"""


def _kill_workers(run: Run) -> None:
    be_slow(run)
    clients = run.send(run.pick(small=200, full=20_000), run.pick(small=4.0, full=60.0))
    kills = 0
    while clients.sending_for(run.pick(small=1.0, full=_KILL_EVERY_S)):
        kills += _kill_one_of(run.platform.workers, first=kills)
    run.note_healed()
    run.progress.say(f"killed workers {kills} times")
    run.require("workers were killed", kills > 1, kills)


def _kill_api(run: Run) -> None:
    be_slow(run)
    clients = run.send(run.pick(small=150, full=5_000), run.pick(small=4.0, full=45.0))
    kills = 0
    while clients.sending_for(_FIRST_FAULT_AFTER_S):
        kills += run.platform.api.kill()
        run.platform.api.wait_until_ready()
    run.note_healed()
    run.progress.say(f"killed the api {kills} times")
    run.require("clients notice that the api is killed", clients.refusals())


def _restart_all(run: Run) -> None:
    run.sink.misbehave(latency_s=SLOW_S)
    clients = run.send(run.pick(small=150, full=1_000), run.pick(small=4.0, full=20.0))
    clients.sending_for(_FIRST_FAULT_AFTER_S)
    for program in run.platform.programs:
        program.restart()
        program.wait_until_ready()
    run.note_healed()
    # Who is asked to end finishes what is under way, so that nothing is in doubt.
    run.forbid_doubt()


def _freeze_worker(run: Run) -> None:
    be_slow(run)
    clients = run.send(run.pick(small=300, full=4_000), run.pick(small=4.0, full=40.0))
    clients.sending_for(_FIRST_FAULT_AFTER_S)
    frozen = run.platform.workers[0]
    hold_handovers(run)
    frozen.freeze()
    be_slow(run)
    try:
        wait_until(
            lambda: run.platform.count(_HELD_BY_FROZEN),
            within_s=_FROZEN_LIMIT_S,
            what="the frozen worker holds rows",
        )
        wait_until(
            lambda: run.platform.count(_HELD_BY_FROZEN) == 0,
            within_s=_FROZEN_LIMIT_S,
            what="the rows of the frozen worker are taken back",
        )
    finally:
        frozen.thaw()
    run.note_healed()
    wait_until(
        lambda: run.platform.count(_LATE) or frozen.starts > 1,
        within_s=_FROZEN_LIMIT_S,
        what="the worker records its late results",
    )
    run.require("a frozen worker goes on by itself", frozen.starts == 1)
    run.require("late results are recorded as late", run.platform.count(_LATE))
    run.progress.say(f"{run.platform.count(_LATE)} late results are on record")


def _break_in_turn(run: Run) -> None:
    """Whatever the other experiments break one by one, in an order of its own."""
    be_slow(run)
    clients = run.send(run.pick(small=100, full=4_000), run.pick(small=5.0, full=50.0))
    platform, links = run.platform, run.links

    def restart_redis() -> None:
        platform.redis.kill()
        platform.redis.start()

    def crash_postgres() -> None:
        platform.postgres.kill()
        platform.postgres.start()

    def cut_all() -> None:
        for link in links.values():
            link.cut()
        time.sleep(1.0)
        for link in links.values():
            link.mend()

    steps = [
        *(lambda worker=worker: worker.kill() for worker in platform.workers),
        platform.api.kill,
        restart_redis,
        crash_postgres,
        cut_all,
    ]
    chance = random.Random(2)  # noqa: S311 - the same faults in every run.
    chosen = chance.choices(steps, k=run.pick(small=4, full=20))
    clients.sending_for(_FIRST_FAULT_AFTER_S)
    for step in chosen:
        step()
        clients.sending_for(run.pick(small=0.5, full=2.0))
    run.note_healed()


def _kill_one_of(workers: tuple[Program, ...], *, first: int) -> bool:
    """Kill a worker that runs, another one each time where both do."""
    turn = first % len(workers)
    return any(worker.kill() for worker in (*workers[turn:], *workers[:turn]))


EXPERIMENTS = (
    Experiment(name="workers-killed", play=_kill_workers, recovery_limit_s=45.0),
    Experiment(name="api-killed", play=_kill_api, workers=1),
    Experiment(name="all-restarted", play=_restart_all),
    # A second wait for the end of a lease: too long for every change.
    Experiment(name="worker-frozen", play=_freeze_worker, is_in_tests=False),
    # What it does in small, the others do as well.
    Experiment(name="everything", play=_break_in_turn, is_in_tests=False),
)
