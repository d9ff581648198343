"""PostgreSQL crashes and starts again, or stays away for longer than a lease lasts."""

import time

from tests.faults.experiments.far_end import be_slow
from tests.faults.runs import Experiment, Run

_FIRST_FAULT_AFTER_S = 1.0


def _crash(run: Run) -> None:
    be_slow(run)
    clients = run.send(run.pick(small=200, full=4_000), run.pick(small=3.0, full=40.0))
    postgres = run.platform.postgres
    for _ in range(run.pick(small=1, full=4)):
        clients.sending_for(_FIRST_FAULT_AFTER_S)
        postgres.kill()
        time.sleep(1.0)
        postgres.start()
        clients.sending_for(run.pick(small=0.5, full=4.0))
    # In order: connections are told so, and what was under way is rolled back.
    postgres.stop()
    time.sleep(run.pick(small=1.0, full=40.0))
    postgres.start()
    run.note_healed()
    run.forbid_restarts()
    refusals = clients.report.refusals
    run.require(
        "clients get 503 while PostgreSQL is away",
        any(refusal.startswith("503 ") for refusal in refusals),
        dict(refusals),
    )


EXPERIMENTS = (Experiment(name="postgres-crashed", play=_crash),)
