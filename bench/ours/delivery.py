"""Delivering: how fast one and two workers take a backlog to a sink that takes everything."""

from collections.abc import Mapping, Sequence

from bench import compare
from bench.anchors import crypto, smtp_source
from bench.children import Child
from bench.context import Context
from bench.errors import Absent
from bench.lines import Line, Outcome
from bench.ours.backlog import Backlog, make_backlogs
from bench.ours.drain import Drained, drain, size_for
from bench.platform import Platform
from bench.rounds import Rounds
from bench.sinks import Sink, counting_sink
from tallypost_providers.dkim import Algorithm

_UNSIGNED = Line(
    name="delivery-unsigned-vs-smtp-source",
    floor=0.35,
    goal=0.50,
    says="delivered a second without DKIM, 1 worker / smtp-source, 10 sessions",
)
_ED25519 = Line(
    name="delivery-ed25519-vs-smtp-source",
    floor=0.28,
    goal=0.40,
    says="delivered a second, signed with Ed25519, 1 worker / smtp-source, 10 sessions",
)
_RSA = Line(
    name="delivery-rsa-vs-smtp-source",
    floor=0.12,
    goal=0.20,
    says="delivered a second, signed with RSA-2048, 1 worker / smtp-source, 10 sessions",
)
_RSA_VS_SIGNS = Line(
    name="delivery-rsa-vs-signs",
    floor=0.40,
    goal=0.55,
    says="delivered a second, signed with RSA-2048, 1 worker / RSA signatures of one process",
)
_TWO_WORKERS = Line(
    name="delivery-2-vs-1-workers",
    floor=1.2,
    goal=1.4,
    says="delivered a second, signed with RSA-2048, 2 workers / 1 worker",
)
_FOUR_WORKERS = Line(
    name="delivery-4-vs-1-workers",
    floor=1.1,
    goal=1.4,
    says="delivered a second, signed with RSA-2048, 4 workers / 1 worker; on two cores no more",
)
LINES = (_UNSIGNED, _ED25519, _RSA, _RSA_VS_SIGNS, _TWO_WORKERS, _FOUR_WORKERS)

_VS_SMTP_SOURCE = {"unsigned": _UNSIGNED, "ed25519": _ED25519, "rsa": _RSA}
ALGORITHMS: Mapping[str, tuple[Algorithm, ...]] = {
    "unsigned": (),
    "ed25519": ("ed25519-sha256",),
    "rsa": ("rsa-sha256",),
}
_FIRST_GUESS_PER_S = 5_000.0
# As one sets a worker for a relay of one's own. The defaults think of a relay that takes no more
# connections than Postfix does by default, and of fewer unconfirmed emails where one is killed.
SETTINGS = {"TALLYPOST_DELIVERY_CONCURRENCY": "200", "TALLYPOST_SMTP_CONNECTIONS": "50"}


def run(context: Context) -> list[Outcome]:
    """Measure ours and the anchors in turn."""
    rounds = Rounds()
    with (
        context.cluster.database("delivery", context.folder) as platform,
        platform.api() as api,
        counting_sink(context.children) as sink,
    ):
        senders = [
            platform.add_sender(f"{name}.example.com", algorithms)
            for name, algorithms in ALGORITHMS.items()
        ]
        made = make_backlogs(context, platform, api, senders)
        backlogs = dict(zip(ALGORITHMS, made, strict=True))
        with platform.workers(1, sink.port, **SETTINGS) as workers:
            _measure(context, rounds, platform, backlogs, sink, workers)
    context.report("delivery", rounds)
    outcomes = [
        compare.ratio(_RSA_VS_SIGNS, rounds, "rsa", "rsa-signs"),
        compare.ratio(_TWO_WORKERS, rounds, "rsa-2-workers", "rsa"),
        compare.ratio(_FOUR_WORKERS, rounds, "rsa-4-workers", "rsa"),
    ]
    if not rounds.values("smtp-source"):
        reason = "smtp-source is not installed; it comes with Postfix"
        return outcomes + compare.absent([*_VS_SMTP_SOURCE.values()], reason)
    return outcomes + [
        compare.ratio(line, rounds, name, "smtp-source") for name, line in _VS_SMTP_SOURCE.items()
    ]


def _measure(
    context: Context,
    rounds: Rounds,
    platform: Platform,
    backlogs: Mapping[str, Backlog],
    sink: Sink,
    workers: Sequence[Child],
) -> None:
    scale = context.scale
    sizes = {}
    for name, backlog in backlogs.items():
        context.say(f"delivery: pilot, {name}")
        pilot = drain(context, platform, backlog, sink, workers, scale.pilot_mails)
        sizes[name] = size_for(context, pilot.rate)
    rates = crypto.measure(context.children, scale.anchor_s / 4, with_messages=True)
    context.say(
        "delivery: messages built a second in one thread: "
        f"unsigned {rates.unsigned:.0f}, Ed25519 {rates.signed_ed25519:.0f}, "
        f"RSA {rates.signed_rsa:.0f}"
    )
    guess = _FIRST_GUESS_PER_S
    for _ in context.rounds("delivery"):
        try:
            guess = smtp_source.rate(context.children, sink, scale.anchor_s, guess)
            rounds.note("smtp-source", guess)
        except Absent as reason:
            context.say(f"delivery: {reason}")
        rounds.note("rsa-signs", crypto.measure(context.children, scale.anchor_s / 2).rsa_signs)
        for name, backlog in backlogs.items():
            drained = drain(context, platform, backlog, sink, workers, sizes[name])
            rounds.note(name, drained.rate)
            _note_cpu(rounds, name, drained)
        more_mails = min(scale.most_mails, 2 * sizes["rsa"])
        for count in (2, 4):
            with platform.workers(count - 1, sink.port, **SETTINGS) as more:
                every = [*workers, *more]
                drained = drain(context, platform, backlogs["rsa"], sink, every, more_mails)
            rounds.note(f"rsa-{count}-workers", drained.rate)
            _note_cpu(rounds, f"rsa-{count}-workers", drained)


def _note_cpu(rounds: Rounds, name: str, drained: Drained) -> None:
    # The system counts in steps of 10 ms: a few mails may take none.
    if drained.cpu_us:
        rounds.note(f"{name}-cpu-us", drained.cpu_us)
