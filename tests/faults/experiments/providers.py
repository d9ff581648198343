"""Providers fail, hang, refuse our credentials or are all away: mail goes by another one, once."""

import time
from collections import Counter
from collections.abc import Sequence
from typing import TypeVar

from msgspec.structs import replace

from tallypost_simulators.http_faults import HTTPFault
from tallypost_simulators.smtp_faults import Fault
from tests.faults.experiments.handovers import (
    accepted_between,
    count_open_breakers,
    read_handovers,
    waits_s,
)
from tests.faults.experiments.rates import percentile
from tests.faults.experiments.routes import route_by
from tests.faults.runs import Experiment, Run
from tests.support.programs import wait_until
from tests.support.ses import answer

FaultT = TypeVar("FaultT", HTTPFault, Fault)

_PROVIDERS = ("sendgrid", "ses", "smtp")
# Of each answer, as of a provider that is some way off.
_LATENCY_S = 0.03
_FIRST_FAULT_AFTER_S = 1.0
_WITHIN_S = 120.0
# Where most handovers fail, chance alone would use up a dozen attempts of some email.
_LONG_SCHEDULE_S = ",".join(["1"] * 8 + ["3"] * 24)
_MOST_ATTEMPTS = "SELECT coalesce(max(attempt), 0) FROM attempts"
# The account that a second tenant's mail goes by, and whatever of it went by another one.
_NEIGHBOURS_ACCOUNT = "ses"
_ASTRAY = "SELECT count(*) FROM attempts WHERE tenant_id = $1 AND account <> $2"
_DEAD_LETTERS = "SELECT count(*) FROM dead_letters"
_REFUSED = """
    SELECT count(*) FROM attempts
    WHERE account = 'sendgrid' AND phase = 'connect' AND outcome = 'unavailable'
"""
# Of the dozen that the schedule of most experiments has.
_FEW_ATTEMPTS = 6


def _mix(run: Run) -> None:
    run.apis["sendgrid"].misbehave(
        *_of_all(
            (0.30, _sendgrid_error(429, "too many requests", retry_after="1")),
            (0.10, _sendgrid_error(503, "service unavailable")),
            (0.10, HTTPFault(status=502, body=b"<html>Bad Gateway</html>")),
            (0.10, HTTPFault(action="reset_after")),
            (0.05, HTTPFault(action="drop")),
        )
    )
    run.apis["ses"].misbehave(
        *_of_all(
            (0.30, answer(429, "TooManyRequestsException", "Too fast.", retry_after="1")),
            (0.10, answer(503, "ServiceUnavailable", "Later.")),
            (0.10, HTTPFault(status=502, body=b"<html>Bad Gateway</html>")),
            (0.10, HTTPFault(action="reset_after")),
            (0.05, HTTPFault(action="drop")),
        )
    )
    run.sink.misbehave(
        *_of_all(
            (0.30, Fault(phase="mail", reply="450 4.7.0 too many messages")),
            (0.20, Fault(phase="mail", reply="421 4.3.2 shutting down")),
            (0.10, Fault(phase="body", action="drop")),
            (0.05, Fault(phase="final", action="drop")),
        )
    )
    run.send(run.pick(small=40, full=3_000), run.pick(small=1.0, full=40.0))
    run.forbid_restarts()
    ends = {**run.apis, "smtp": run.sink}
    taken = {name: end.taken() for name, end in ends.items()}
    dropped = {name: end.dropped() for name, end in ends.items()}
    repeats = _repeated_messages(run)
    run.progress.say(f"taken {taken}, of them dropped {dropped}; {repeats} messages came again")
    # In small chance may spare one of them.
    run.at_least("messages that the provider dropped that dropped least", min(dropped.values()), 1)
    run.require(
        "no message comes again that was not dropped",
        repeats <= sum(dropped.values()),
        f"{repeats} again, {dropped} dropped",
    )


def _hang(run: Run) -> None:
    before_s, hung_s = run.pick(small=2.0, full=30.0), run.pick(small=6.0, full=300.0)
    after_s = run.pick(small=1.0, full=15.0)
    sends_s = before_s + hung_s + after_s
    _be_well(run)
    neighbour = run.platform.other_tenant
    route_by(run.platform, neighbour, _NEIGHBOURS_ACCOUNT)
    count = int(sends_s * run.pick(small=10, full=20))
    run.send(count, sends_s, name="neighbour", tenant=neighbour)
    clients = run.send(int(sends_s * run.pick(small=20, full=40)), sends_s)
    clients.sending_for(before_s / 3)
    # The first mails find no connection open yet.
    calm_at = time.time()
    clients.sending_for(before_s * 2 / 3)
    hung_at = time.time()
    run.apis["sendgrid"].misbehave(HTTPFault(action="hang"), latency_s=_LATENCY_S)
    wait_until(
        lambda: count_open_breakers(run.platform, "sendgrid") == len(run.platform.workers),
        within_s=_WITHIN_S,
        what="every worker's breaker opens",
    )
    opened_at = time.time()
    clients.sending_for(hung_at + hung_s - opened_at)
    over_at = time.time()
    _be_well(run)
    run.note_healed()
    run.forbid_restarts()
    _judge_hang(run, calm_at, hung_at, opened_at, over_at)
    _judge_neighbour(run, calm_at, hung_at, opened_at, over_at)


def _judge_hang(run: Run, calm_at: float, hung_at: float, opened_at: float, over_at: float) -> None:
    handovers = read_handovers(run.platform, run.platform.tenant)
    stuck = [one for one in accepted_between(handovers, hung_at, opened_at) if not one.was_in_doubt]
    later = waits_s(accepted_between(handovers, opened_at, over_at))
    p95_s = percentile(waits_s(accepted_between(handovers, calm_at, hung_at)), 95)
    in_doubt = sum(one.was_in_doubt for one in handovers)
    run.progress.say(
        f"p95 {p95_s:.3f} s before, {percentile(waits_s(stuck), 95):.1f} s for {len(stuck)} mails "
        f"that had not left until the breakers opened, {percentile(later, 95):.3f} s for "
        f"{len(later)} after that; {in_doubt} mails were in doubt"
    )
    run.at_most("seconds until every worker's breaker is open", opened_at - hung_at, 30.0)
    moved_s = max(waits_s(stuck, since=hung_at))
    run.at_most("seconds until mail that had not left moves", moved_s, 60.0)
    busy = percentile(later, 95) / p95_s
    run.at_most("p95 of mail with the breaker open, of that before", busy, 1.5)


def _judge_neighbour(
    run: Run, calm_at: float, hung_at: float, opened_at: float, over_at: float
) -> None:
    """Whoever's mail goes by another account hardly notices."""
    neighbour = run.platform.other_tenant
    astray = run.platform.count(_ASTRAY, neighbour.id, _NEIGHBOURS_ACCOUNT)
    run.require("a tenant's mail goes by the account that its route names", not astray, astray)
    handovers = read_handovers(run.platform, neighbour)
    p95_s, hanging_s, whole_s = (
        percentile(waits_s(accepted_between(handovers, first_at, last_at)), 95)
        for first_at, last_at in ((calm_at, hung_at), (hung_at, opened_at), (hung_at, over_at))
    )
    run.progress.say(
        f"p95 of another tenant {p95_s:.3f} s before, {hanging_s:.3f} s until the breakers opened, "
        f"{whole_s:.3f} s from the hang on"
    )
    run.at_most("p95 of another tenant until they open, of that before", hanging_s / p95_s, 1.5)
    run.at_most("p95 of another tenant from the hang on, of that before", whole_s / p95_s, 1.5)


def _revoke(run: Run) -> None:
    before_s, revoked_s = run.pick(small=1.0, full=15.0), run.pick(small=1.0, full=80.0)
    sends_s = before_s + revoked_s + run.pick(small=5.5, full=70.0)
    _be_well(run)
    sendgrid = run.apis["sendgrid"]
    clients = run.send(int(sends_s * run.pick(small=20, full=30)), sends_s)
    clients.sending_for(before_s)
    run.require("the first provider is used", sendgrid.taken())
    revoked_at = time.time()
    sendgrid.turn("is_key_revoked", True)
    clients.sending_for(revoked_s / 2)
    # 403 in place of 401.
    sendgrid.turn("is_suspended", True)
    sendgrid.turn("is_key_revoked", False)
    clients.sending_for(revoked_s / 2)
    taken, restored_at = sendgrid.taken(), time.time()
    sendgrid.turn("is_suspended", False)
    wait_until(
        lambda: sendgrid.taken() > taken,
        within_s=_WITHIN_S,
        what="the provider is used again",
    )
    used_s = time.time() - restored_at
    run.note_healed()
    run.forbid_restarts()
    # A refusal is a statement.
    run.forbid_doubt()
    handovers = read_handovers(run.platform, run.platform.tenant)
    waited_s = waits_s(accepted_between(handovers, revoked_at, restored_at))
    run.progress.say(f"p95 {percentile(waited_s, 95):.3f} s while revoked")
    run.at_most("p99 of mail while the key is revoked, s", percentile(waited_s, 99), 2.0)
    run.at_most("seconds until a restored key is used", used_s, 90.0)


def _be_down(run: Run) -> None:
    _be_well(run)
    clients = run.send(run.pick(small=60, full=2_400), run.pick(small=3.0, full=80.0))
    clients.sending_for(_FIRST_FAULT_AFTER_S)
    wires = [
        run.links[worker.name, name]
        for worker in run.platform.workers
        for name in ("sendgrid", "smtp")
    ]
    for wire in wires:
        wire.refuse()
    ses = run.apis["ses"]
    ses.misbehave(answer(503, "ServiceUnavailable", "Later."), latency_s=_LATENCY_S)
    # At full scale for longer than the whole schedule of retries.
    clients.sending_for(run.pick(small=2.0, full=60.0))
    ses.misbehave(latency_s=_LATENCY_S)
    run.note_healed()
    # The two others stay away.
    run.forbid_restarts()
    refused = run.platform.count(_REFUSED)
    run.require("a refused connection is known as one by which nothing left", refused)
    most = run.platform.count(_MOST_ATTEMPTS)
    run.progress.say(f"no email took more than {most} attempts")
    run.require("attempts are not used up", most <= _FEW_ATTEMPTS, most)
    dead = run.platform.count(_DEAD_LETTERS)
    run.require("no email is a dead letter", not dead, dead)


def _be_well(run: Run) -> None:
    """All take everything, a little later than at once."""
    for far_end in run.apis.values():
        far_end.misbehave(latency_s=_LATENCY_S)
    run.sink.misbehave(latency_s=_LATENCY_S / 3)


def _of_all(*shares: tuple[float, FaultT]) -> Sequence[FaultT]:
    """Faults that each happen to so much of everything; each is only asked where none before it
    happened."""
    left, faults = 1.0, []
    for share, fault in shares:
        faults.append(replace(fault, probability=share / left))
        left -= share
    return faults


def _sendgrid_error(status: int, message: str, **headers: str) -> HTTPFault:
    """An error in the form that SendGrid gives it."""
    return HTTPFault(
        status=status,
        headers={
            "Content-Type": "application/json",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        },
        body=f'{{"errors":[{{"message":"{message}","field":null,"help":null}}]}}'.encode(),
    )


def _repeated_messages(run: Run) -> int:
    """How many messages came for somebody who had the same email already."""
    most: Counter[str] = Counter()
    for (email_id, _), copies in run.arrived().items():
        most[email_id] = max(most[email_id], copies.count)
    return sum(count - 1 for count in most.values())


EXPERIMENTS = (
    Experiment(
        name="providers-mixed",
        play=_mix,
        providers=_PROVIDERS,
        settings={"TALLYPOST_DELIVERY_RETRY_SCHEDULE_S": _LONG_SCHEDULE_S},
    ),
    Experiment(
        name="provider-hangs",
        play=_hang,
        providers=_PROVIDERS,
        small_settings={"TALLYPOST_DELIVERY_HANDOVER_TIMEOUT_S": "2"},
        is_in_tests=False,
    ),
    Experiment(name="credentials-revoked", play=_revoke, providers=_PROVIDERS),
    Experiment(name="providers-down", play=_be_down, providers=_PROVIDERS, is_in_tests=False),
)
