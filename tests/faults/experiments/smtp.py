"""The world's mail servers refuse, break off, keep silent or speak slowly."""

from tallypost_simulators.smtp_faults import Fault
from tests.faults.clients import Clients
from tests.faults.plans import GONE
from tests.faults.runs import Experiment, Run
from tests.support.programs import wait_until

_LATENCY_S = 0.002
_GOES_ON_WITHIN_S = 60.0
_REFUSED_AT_END = "554 5.7.1 refused for a test"


def _mix(run: Run) -> None:
    refused = run.pick(small=3, full=30)
    run.sink.misbehave(
        Fault(phase="rcpt", reply="550 5.1.1 no such user", pattern=f"^{GONE}"),
        Fault(phase="rcpt", reply="450 4.2.1 try again later", probability=0.03),
        Fault(phase="mail", reply="451 4.3.0 try again later", probability=0.02),
        Fault(phase="mail", reply="421 4.3.2 shutting down", probability=0.01),
        Fault(phase="data", reply="451 4.3.0 try again later", probability=0.01),
        Fault(phase="body", action="drop", probability=0.02),
        Fault(phase="final", reply="452 4.3.1 try again later", probability=0.02),
        Fault(phase="final", action="drop", probability=0.02),
        Fault(phase="final", reply=_REFUSED_AT_END, probability=0.05, times=refused),
        latency_s=_LATENCY_S,
    )
    clients = run.send(
        run.pick(small=200, full=6_000), run.pick(small=3.0, full=40.0), gone_every=20
    )
    clients.finish()
    run.settle()
    run.note_refused_emails(run.sink.refused())


def _hang(run: Run) -> None:
    run.sink.misbehave(latency_s=_LATENCY_S)
    clients = run.send(run.pick(small=200, full=4_000), run.pick(small=3.0, full=40.0))
    clients.sending_for(1.0)
    for phase in ("connect", "mail", "data", "body", "final"):
        run.sink.misbehave(
            Fault(phase=phase, action="hang", times=run.pick(small=1, full=3)),
            Fault(phase="final", action="drip", drip_s=0.1, probability=0.02),
            latency_s=_LATENCY_S,
        )
        clients.sending_for(run.pick(small=0.1, full=3.0))
        _wait_for_more(run, clients)
    # Slow bytes in both directions, for every worker.
    wires = [run.links[worker.name, "smtp"] for worker in run.platform.workers]
    for wire in wires:
        wire.drip(200)
    clients.sending_for(run.pick(small=1.0, full=5.0))
    for wire in wires:
        wire.mend()
    run.sink.misbehave()
    run.note_healed()
    run.forbid_restarts()


def _wait_for_more(run: Run, clients: Clients) -> None:
    taken = run.sink.taken()
    wait_until(
        lambda: run.sink.taken() > taken or not clients.sending_for(0),
        within_s=_GOES_ON_WITHIN_S,
        what="mail goes on by other connections",
    )


EXPERIMENTS = (
    Experiment(name="smtp-mixed", play=_mix),
    Experiment(
        name="smtp-hang", play=_hang, settings={"TALLYPOST_DELIVERY_HANDOVER_TIMEOUT_S": "3"}
    ),
)
