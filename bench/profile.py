"""`python -m bench.profile`: says where the time of an API process and of a worker goes under load.

Leaves a flame graph and the raw stacks of each in `.bench/profiles` and prints the functions that
took most. py-spy reads the processes from outside, which Linux allows to root only.
"""

import argparse
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from bench import installs
from bench.children import ROOT, Child
from bench.context import Context
from bench.environment import CACHE, opened
from bench.errors import Absent, Failed
from bench.http_load import Job
from bench.ours.backlog import Backlog, make_backlogs
from bench.ours.delivery import ALGORITHMS, SETTINGS
from bench.ours.drain import OPEN_ROWS, drain
from bench.platform import API, Sender
from bench.scales import FULL
from bench.sinks import counting_sink

_PACKAGES = ("py-spy==0.4.1",)
_SAMPLES_PER_S = 250
_GRACE_S = 60.0
_CLIENTS = 32
_BATCH, _BATCH_CLIENTS = 100, 4
_WORKERS = 2
# Both recordings, one after the other, and what starting them takes.
_LOAD_FACTOR = 2.5
_TOP = 25


def main() -> None:
    """Parse the command line and profile; ends with status 1 where that is not possible."""
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description=__doc__)
    parser.add_argument(
        "--seconds", type=int, default=10, help="how long each process is watched (10)"
    )
    seconds = parser.parse_args().seconds
    folder = CACHE / "profiles"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with opened(FULL) as context:
            spy = _require_spy(context)
            _profile(context, spy, folder, seconds)
    except (Absent, Failed) as error:
        raise SystemExit(str(error)) from error


def top(stacks: str) -> tuple[Counter[str], Counter[str]]:
    """Samples in which a function itself ran, and in which it was on the stack, by function.

    stacks has a line for each stack, outermost function first, and how often it was seen.
    """
    own: Counter[str] = Counter()
    inclusive: Counter[str] = Counter()
    for line in stacks.splitlines():
        frames, _, count = line.rpartition(" ")
        names = [_without_line(frame) for frame in frames.split(";") if frame]
        if names:
            own[names[-1]] += int(count)
            inclusive.update(dict.fromkeys(names, int(count)))
    return own, inclusive


def _without_line(frame: str) -> str:
    """`name (file.py:12)` without the number: a function is one, wherever it was."""
    name, separator, number = frame.removesuffix(")").rpartition(":")
    return f"{name})" if separator and number.isdigit() else frame


def _require_spy(context: Context) -> Path:
    python = installs.require_python_packages(context.children, CACHE / "py-spy", _PACKAGES)
    return Path(python).with_name("py-spy")


def _profile(context: Context, spy: Path, folder: Path, seconds: int) -> None:
    with (
        context.cluster.database("profile", context.folder) as platform,
        platform.api() as api,
        counting_sink(context.children) as sink,
    ):
        senders = {
            name: platform.add_sender(f"{name}.example.com", algorithms)
            for name, algorithms in ALGORITHMS.items()
        }
        backlogs = make_backlogs(context, platform, api, [*senders.values()])

        def record(scene: str, child: Child) -> None:
            _record(context, spy, scene, child, folder, seconds)

        with platform.workers(1, sink.port, **SETTINGS) as (worker,):
            for name, backlog in zip(senders, backlogs, strict=True):
                context.say(f"profile: a worker delivers a backlog, {name}")
                pilot = drain(context, platform, backlog, sink, [worker], context.scale.pilot_mails)
                _fill(backlog, int(pilot.rate * seconds * _LOAD_FACTOR))
                record(f"worker-{name}", worker)
                worker.wait_until(
                    lambda: platform.count(OPEN_ROWS) == 0,
                    within_s=_GRACE_S,
                    what="the backlog is gone",
                )
        with platform.workers(_WORKERS, sink.port) as workers:
            context.say("profile: the whole path, API and two workers")
            # Twice the time, because two processes are watched.
            with _loading(context, api, senders["rsa"], 2 * seconds):
                record("whole-api", api.child)
                record("whole-worker", workers[0])
        for scene, emails in (("api-single", 1), ("api-batch", _BATCH)):
            context.say(f"profile: the API takes {emails} emails a request")
            with _loading(context, api, senders["unsigned"], seconds, emails=emails):
                record(scene, api.child)


@contextmanager
def _loading(
    context: Context, api: API, sender: Sender, seconds: int, *, emails: int = 1
) -> Iterator[None]:
    job = Job(
        port=api.port,
        token=sender.token,
        sender=sender.address,
        clients=_CLIENTS if emails == 1 else _BATCH_CLIENTS,
        seconds=seconds * _LOAD_FACTOR,
        emails=emails,
    )
    command = [sys.executable, "-m", "bench.http_load", msgspec.json.encode(job).decode()]
    with context.children.running("http_load", command, stdout=subprocess.DEVNULL) as clients:
        yield
        clients.require_running()


def _fill(backlog: Backlog, count: int) -> None:
    backlog.fill(count)
    backlog.kick()


def _record(
    context: Context, spy: Path, scene: str, child: Child, folder: Path, seconds: int
) -> None:
    raw, graph = folder / f"{scene}.txt", folder / f"{scene}.svg"
    for path, form in ((raw, "raw"), (graph, "flamegraph")):
        context.children.run(
            "py-spy",
            [
                str(spy),
                *("record", "--pid", str(child.pid), "--duration", str(seconds)),
                *("--rate", str(_SAMPLES_PER_S), "--format", form, "--output", str(path)),
            ],
            within_s=seconds + _GRACE_S,
        )
    own, inclusive = top(raw.read_text(encoding="utf-8"))
    total = sum(own.values())
    if not total:
        raise Failed(f"py-spy saw {child.name} do nothing")
    print(f"\n{scene}: {total} samples of running threads; {graph.relative_to(ROOT)}")
    for title, counts in (("itself", own), ("with what it called", inclusive)):
        print(f"  share of time, {title}")
        _print_shares(counts.most_common(_TOP), total)


def _print_shares(counts: Iterable[tuple[str, int]], total: int) -> None:
    for name, count in counts:
        print(f"    {100 * count / total:5.1f}%  {name}")


if __name__ == "__main__":
    main()
