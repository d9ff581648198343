"""Memory of an API process and a worker under load, and how it grows over 100,000 emails."""

import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from bench.anchors import crypto
from bench.children import Child, pss_mb
from bench.context import Context
from bench.errors import Failed
from bench.http_load import Job
from bench.lines import Line, Outcome
from bench.ours.backlog import make_backlog
from bench.platform import API, Sender
from bench.rounds import Rounds
from bench.sinks import Sink, counting_sink

_API = Line(
    name="memory-api",
    floor=150,
    goal=100,
    unit="MB",
    is_ratio=False,
    says="most memory (PSS) of one API process under load, 32 clients",
)
_WORKER = Line(
    name="memory-worker",
    floor=120,
    goal=80,
    unit="MB",
    is_ratio=False,
    says="most memory (PSS) of one worker under load",
)
_API_GROWTH = Line(
    name="memory-growth-api",
    floor=15,
    goal=5,
    unit="%",
    is_ratio=False,
    says="growth of the API's memory over 100,000 emails",
)
_WORKER_GROWTH = Line(
    name="memory-growth-worker",
    floor=15,
    goal=5,
    unit="%",
    is_ratio=False,
    says="growth of a worker's memory over 100,000 emails",
)
LINES = (_API, _WORKER, _API_GROWTH, _WORKER_GROWTH)

_CLIENTS = 32
_SAMPLE_EVERY_S = 0.05
# Growth is from the second tenth of the emails to the last: in the first one caches fill.
_TENTHS = 10
_SIGNING_S = 0.3


class Sample(Struct, frozen=True):
    """Memory at one moment, and how much was done by then."""

    done: float
    memory_mb: float


def run(context: Context) -> list[Outcome]:
    """Accept and deliver together while the memory of both processes is watched."""
    rounds, scale = Rounds(), context.scale
    rounds.note("rsa-signs", crypto.measure(context.children, _SIGNING_S).rsa_signs)
    with (
        context.cluster.database("memory", context.folder) as platform,
        platform.api() as api,
        counting_sink(context.children) as sink,
    ):
        sender = platform.add_sender("example.com")
        make_backlog(context, platform, api, sender)
        with platform.workers(1, sink.port) as (worker,):
            of_api, of_worker = _watch(context, api, sender, worker, sink)
        accepted = platform.count("SELECT count(*) FROM emails") - scale.history_mails
    rounds.note("rsa-signs", crypto.measure(context.children, _SIGNING_S).rsa_signs)
    is_noisy = rounds.is_noisy("rsa-signs")
    delivered = of_worker[-1].done
    return [
        _outcome(_API, most_mb(of_api), is_noisy, "while it accepted"),
        _outcome(_WORKER, most_mb(of_worker), is_noisy, "while it delivered"),
        _outcome(_API_GROWTH, growth_percent(of_api), is_noisy, f"{accepted} emails accepted"),
        _outcome(
            _WORKER_GROWTH, growth_percent(of_worker), is_noisy, f"{delivered:.0f} emails delivered"
        ),
    ]


def most_mb(samples: Sequence[Sample]) -> float:
    """The most memory that was seen."""
    return max(sample.memory_mb for sample in samples)


def growth_percent(samples: Sequence[Sample]) -> float:
    """How much more memory the last tenth of the work took than the second, in percent.

    Raises Failed where there are too few samples to tell.
    """
    tenth = samples[-1].done / _TENTHS
    early = [s.memory_mb for s in samples if tenth <= s.done <= 2 * tenth]
    late = [s.memory_mb for s in samples if s.done >= (_TENTHS - 1) * tenth]
    if not tenth or not early:
        raise Failed("too few samples to tell whether memory grows")
    return 100 * (statistics.median(late) / statistics.median(early) - 1)


def _outcome(line: Line, value: float, is_noisy: bool, note: str) -> Outcome:
    return Outcome(line=line.name, values=(value,), is_noisy=is_noisy, note=note)


def _watch(
    context: Context, api: API, sender: Sender, worker: Child, sink: Sink
) -> tuple[list[Sample], list[Sample]]:
    """Samples of the API for as long as it accepts, and of the worker until all is delivered."""
    scale = context.scale
    job = Job(
        port=api.port,
        token=sender.token,
        sender=sender.address,
        clients=_CLIENTS,
        seconds=scale.memory_limit_s / 2,
        requests=scale.memory_mails,
    )
    command = [sys.executable, "-m", "bench.http_load", msgspec.json.encode(job).decode()]
    of_api: list[Sample] = []
    of_worker: list[Sample] = []
    started_s = time.monotonic()
    with context.children.running("http_load", command, stdout=subprocess.DEVNULL) as clients:
        while True:
            api.child.require_running()
            worker.require_running()
            elapsed_s = time.monotonic() - started_s
            done = sink.arrivals().done
            if clients.process.poll() is None:
                # It accepts at an even rate, so time stands for emails.
                of_api.append(Sample(elapsed_s, pss_mb([api.child.pid])))
            elif clients.process.returncode != 0:
                raise Failed(f"the API refused:\n{clients.log_tail()}")
            of_worker.append(Sample(done, pss_mb([worker.pid])))
            if done >= scale.memory_mails or elapsed_s > scale.memory_limit_s:
                return of_api, of_worker
            time.sleep(_SAMPLE_EVERY_S)
