"""One experiment: what it breaks, what it sends meanwhile, and what came of it."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import TypeVar
from uuid import UUID

from msgspec import Struct

from tests.faults.backlog import Loader, running_loader
from tests.faults.clients import Clients, running_clients
from tests.faults.plans import STREAMS, Plan
from tests.faults.progress import Progress
from tests.faults.stage import Links, Stage
from tests.faults.verdicts import Sent, judge, read_records
from tests.support.counting_sink import Arrived, CountingSink, merge
from tests.support.database import SeededTenant
from tests.support.platform import Platform
from tests.support.provider_sinks import ProviderSink

T = TypeVar("T")

_SETTLED_WITHIN_S = 240.0
_LOOK_EVERY_S = 0.25
# Rows that somebody or something will still work on by itself.
_IS_UNSETTLED = """
    SELECT count(*) FROM (
        SELECT FROM send_queue WHERE state IN ('waiting', 'claimed', 'handing_over') LIMIT 1
    ) unsettled
"""
# Short waits, and as many as every outage needs.
RETRY_SCHEDULE_S = "1,1,2,2,5,5,5,5,5,5,5,5"


class Bound(Struct, frozen=True):
    """Something measured, and what it must not exceed or fall short of."""

    what: str
    measured: float
    limit: float
    is_at_most: bool

    @property
    def is_kept(self) -> bool:
        """True where the promise holds."""
        return self.measured <= self.limit if self.is_at_most else self.measured >= self.limit

    def __str__(self) -> str:
        side = "at most" if self.is_at_most else "at least"
        return f"{self.what}: {self.measured:.3g}, {side} {self.limit:.3g} is promised"


class Outcome(Struct, frozen=True):
    """How an experiment ended."""

    line: str
    """The experiment in one line."""
    broken: Sequence[str]
    """The promises that it found broken; bounds on time only at full scale."""
    measured: Sequence[str]
    """What was measured beside the counts."""


class Run:
    """An experiment under way: a platform, its wires and the world's mail servers."""

    def __init__(
        self,
        name: str,
        stage: Stage,
        platform: Platform,
        links: Links,
        progress: Progress,
        stack: ExitStack,
        *,
        is_full: bool,
    ) -> None:
        self.name = name
        self.platform = platform
        self.links = links
        self.progress = progress
        self._stage = stage
        self._stack = stack
        self._is_full = is_full
        self._clients: list[Clients] = []
        self._sent: list[Sent] = []
        self._healed_at_s: float | None = None
        self._recovery_s: float | None = None
        self._refused_emails: frozenset[UUID] = frozenset()
        self._is_doubt_forbidden = False
        self._broken: list[str] = []
        self._bounds: list[Bound] = []
        self._loader: Loader | None = None

    @property
    def sink(self) -> CountingSink:
        """The world's mail servers."""
        return self._stage.sink

    @property
    def apis(self) -> Mapping[str, ProviderSink]:
        """The providers with an API, by their names."""
        return self._stage.apis

    def arrived(self) -> Arrived:
        """Every copy that came, whichever way."""
        return merge(end.arrived() for end in (self.sink, *self.apis.values()))

    def pick(self, *, small: T, full: T) -> T:
        """What fits the scale of this run."""
        return full if self._is_full else small

    def send(
        self,
        count: int,
        duration_s: float,
        *,
        name: str = "mail",
        tenant: SeededTenant | None = None,
        streams: tuple[str, ...] = STREAMS,
        most_recipients: int = 3,
        gone_every: int = 0,
    ) -> Clients:
        """Let clients send through the API over duration_s seconds, from now on."""
        plan = Plan(
            name=name,
            tenant=tenant or self.platform.tenant,
            count=count,
            streams=streams,
            most_recipients=most_recipients,
            gone_every=gone_every,
        )
        clients = self._stack.enter_context(
            running_clients(plan, self.platform.api_url, duration_s)
        )
        self._clients.append(clients)
        self.progress.watch(lambda: f"{name} {clients.progress()}")
        return clients

    def load(
        self,
        count: int,
        *,
        name: str,
        tenant: SeededTenant | None = None,
        streams: tuple[str, ...] = STREAMS,
    ) -> None:
        """Queue emails of one recipient each; returns once all are acknowledged."""
        if self._loader is None:
            self._loader = self._stack.enter_context(running_loader(self.platform.database))
        plan = Plan(
            name=name,
            tenant=tenant or self.platform.tenant,
            count=count,
            streams=streams,
            most_recipients=1,
        )
        self._sent.append(Sent(plan, self._loader.load(plan)))

    def note_healed(self) -> None:
        """From now on nothing is broken any more."""
        self._healed_at_s = time.monotonic()

    def note_refused_emails(self, email_ids: Iterable[str]) -> None:
        """The far end refused these for good, each as a whole."""
        self._refused_emails = frozenset(map(UUID, email_ids))

    def forbid_doubt(self) -> None:
        """Nothing of this experiment may leave an email in doubt."""
        self._is_doubt_forbidden = True

    def forbid_restarts(self) -> None:
        """Settle; no program may have ended until then: what is broken is not theirs."""
        self.settle()
        restarted = [program.name for program in self.platform.programs if program.starts > 1]
        self.require("no program restarts", not restarted, ", ".join(restarted))

    def require(self, promise: str, is_kept: object, found: object = "") -> None:
        """A promise of this experiment alone; found is what speaks against it."""
        if not is_kept:
            self._broken.append(f"{promise} ({found})" if found != "" else promise)

    def at_most(self, what: str, measured: float, limit: float) -> None:
        """A bound that is judged at full scale."""
        self._bounds.append(Bound(what, measured, limit, is_at_most=True))

    def at_least(self, what: str, measured: float, limit: float) -> None:
        """A bound that is judged at full scale."""
        self._bounds.append(Bound(what, measured, limit, is_at_most=False))

    def settle(self) -> float:
        """Wait until the clients have their answers and the platform has nothing left to do.

        Touches nothing. Returns the seconds since the last fault was over, or since the last send
        was due where that is later; called again, what it returned at first.
        """
        self.progress.say("waits until nothing is left to do")
        for clients in self._clients:
            clients.finish()
        deadline_s = time.monotonic() + _SETTLED_WITHIN_S
        while self.platform.count(_IS_UNSETTLED):
            assert time.monotonic() < deadline_s, "there is work left that nobody does"
            time.sleep(_LOOK_EVERY_S)
        if self._recovery_s is None:
            since_s = [clients.planned_end_s for clients in self._clients]
            if self._healed_at_s is not None:
                since_s.append(self._healed_at_s)
            now_s = time.monotonic()
            self._recovery_s = max(0.0, now_s - max(since_s, default=now_s))
        return self._recovery_s

    def conclude(self, recovery_s: float) -> Outcome:
        """Judge what was acknowledged, once nothing is left to do."""
        for clients in self._clients:
            clients.repeat_some()
            report = clients.report
            self.require("every send is answered", not report.unanswered, report.unanswered)
            self.require(
                "a refusal says when to try again", not report.unhelpful, dict(report.unhelpful)
            )
            if report.refusals:
                self.progress.say(f"{clients.plan.name}: clients saw {dict(report.refusals)}")
        sent = [*self._sent, *(Sent(clients.plan, clients.answers) for clients in self._clients)]
        verdict = judge(sent, read_records(self.platform), self.arrived())
        broken = verdict.broken_promises(refused_emails=self._refused_emails)
        if self._is_doubt_forbidden:
            in_doubt = (verdict.duplicated, verdict.unconfirmed)
            self.require("no email is in doubt", in_doubt == (0, 0), in_doubt)
        return Outcome(
            line=verdict.line(self.name, recovery_s),
            broken=[
                *(f"{promise}: {number}" for promise, number in broken.items()),
                *self._broken,
                *(str(bound) for bound in self._bounds if self._is_full and not bound.is_kept),
            ],
            measured=[str(bound) for bound in self._bounds],
        )


Play = Callable[[Run], None]


class Experiment(Struct, frozen=True, kw_only=True):
    """What is broken while mail is sent, and on which platform."""

    name: str
    play: Play
    """Breaks things and mends them; leaves the mail to be judged."""
    workers: int = 2
    settings: dict[str, str] = {}
    """Further variables of the workers."""
    small_settings: dict[str, str] = {}
    """The same in small, in their place or beside them."""
    providers: tuple[str, ...] = ("smtp",)
    """Of the workers, best first."""
    is_in_tests: bool = True
    """Whether it is carried out in small by `make test` too."""
    recovery_limit_s: float | None = None
    """Within what time after the last fault everything is done, at full scale."""


def run_experiment(
    experiment: Experiment, stage: Stage, progress: Progress, *, is_full: bool
) -> Outcome:
    """Carry out an experiment on a platform of its own.

    Raises AssertionError with the platform's logs where it could not be carried out.
    """
    settings = {"TALLYPOST_DELIVERY_RETRY_SCHEDULE_S": RETRY_SCHEDULE_S, **experiment.settings}
    if not is_full:
        settings |= experiment.small_settings
    with (
        stage.platform(experiment.workers, settings, providers=experiment.providers) as (
            platform,
            links,
        ),
        progress.of(experiment.name),
        ExitStack() as stack,
    ):
        run = Run(experiment.name, stage, platform, links, progress, stack, is_full=is_full)
        ends = (stage.sink, *stage.apis.values())
        progress.watch(lambda: f"{sum(end.taken() for end in ends):,} arrived")
        try:
            experiment.play(run)
            recovery_s = run.settle()
            if experiment.recovery_limit_s is not None:
                run.at_most("seconds to recover", recovery_s, experiment.recovery_limit_s)
            outcome = run.conclude(recovery_s)
        except Exception as error:
            error.add_note(platform.logs())
            raise
        if outcome.broken:
            progress.show(platform.logs().splitlines())
        return outcome
