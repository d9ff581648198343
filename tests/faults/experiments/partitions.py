"""The network between the product and its servers freezes, is cut, or both."""

import time

from tests.faults.experiments.far_end import be_slow, hold_handovers
from tests.faults.links import Link
from tests.faults.runs import Experiment, Run

_FIRST_FAULT_AFTER_S = 1.0


def _worker_and_postgres(run: Run) -> None:
    be_slow(run)
    clients = run.send(run.pick(small=200, full=4_000), run.pick(small=3.0, full=45.0))
    clients.sending_for(_FIRST_FAULT_AFTER_S)
    wire = run.links["worker-1", "postgres"]
    # At full scale for longer than a lease lasts, so that the other worker takes over what this
    # one delivered and could not record.
    hold_handovers(run)
    wire.pause()
    be_slow(run)
    time.sleep(run.pick(small=1.0, full=40.0))
    wire.resume()
    clients.sending_for(_FIRST_FAULT_AFTER_S)
    _cut(wire, 1.0)
    wire.pause("answers")
    clients.sending_for(run.pick(small=0.5, full=5.0))
    # Statements arrived whose answers never will.
    _cut(wire, 0.0)
    run.note_healed()
    run.forbid_restarts()


def _worker_and_smtp(run: Run) -> None:
    be_slow(run)
    clients = run.send(run.pick(small=200, full=4_000), run.pick(small=3.0, full=35.0))
    clients.sending_for(_FIRST_FAULT_AFTER_S)
    wires = [run.links[worker.name, "smtp"] for worker in run.platform.workers]
    for seconds in (run.pick(small=0.5, full=2.0), run.pick(small=1.0, full=10.0)):
        hold_handovers(run)
        for wire in wires:
            wire.pause("answers")
        be_slow(run)
        clients.sending_for(seconds)
        for wire in wires:
            wire.mend()
        clients.sending_for(_FIRST_FAULT_AFTER_S)
    for _ in range(run.pick(small=1, full=3)):
        for wire in wires:
            wire.cut()
        clients.sending_for(run.pick(small=0.5, full=2.0))
        for wire in wires:
            wire.mend()
        clients.sending_for(_FIRST_FAULT_AFTER_S)
    run.note_healed()


def _api_and_postgres(run: Run) -> None:
    clients = run.send(run.pick(small=200, full=4_000), run.pick(small=3.0, full=40.0))
    clients.sending_for(_FIRST_FAULT_AFTER_S)
    wire = run.links["api", "postgres"]
    for _ in range(run.pick(small=1, full=3)):
        _cut(wire, run.pick(small=0.5, full=3.0))
        clients.sending_for(_FIRST_FAULT_AFTER_S)
        # What was committed is not known to be.
        wire.pause("answers")
        clients.sending_for(run.pick(small=0.3, full=1.0))
        _cut(wire, 0.0)
        clients.sending_for(_FIRST_FAULT_AFTER_S)
    wire.pause()
    time.sleep(run.pick(small=1.0, full=12.0))
    wire.resume()
    run.note_healed()
    run.forbid_restarts()
    run.require("clients notice that the database is away", clients.refusals())


def _cut(wire: Link, seconds: float) -> None:
    wire.cut()
    time.sleep(seconds)
    wire.mend()


EXPERIMENTS = (
    Experiment(name="partition-worker-postgres", play=_worker_and_postgres),
    Experiment(
        name="partition-worker-smtp",
        play=_worker_and_smtp,
        settings={"TALLYPOST_DELIVERY_HANDOVER_TIMEOUT_S": "3"},
    ),
    Experiment(name="partition-api-postgres", play=_api_and_postgres, workers=1),
)
