"""`python -m tests.faults`: carries out the experiments at full scale and says what they showed.

Ends with code 1 where a promise is broken.
"""

import argparse
import signal
import sys
import time
import traceback
from collections.abc import Sequence

from tests.faults.catalogue import EXPERIMENTS
from tests.faults.leftovers import find_leftovers
from tests.faults.progress import Progress
from tests.faults.runs import run_experiment
from tests.faults.stage import Stage, running_stage

_LIMIT_S = 40 * 60


def main(arguments: Sequence[str]) -> int:
    """Run the experiments that are named, all without a name; returns the exit code."""
    names, is_full = _read(arguments)
    # SIGTERM as Ctrl-C: whoever is stopped ends what it started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    started_s = time.monotonic()
    progress = Progress(sys.stdout)
    lines: list[str] = []
    broken: list[str] = []
    with running_stage() as stage:
        folders = stage.folders
        for name in names:
            lines.append(_carry_out(name, stage, progress, broken, is_full=is_full))
    took_s = time.monotonic() - started_s
    if took_s > _LIMIT_S:
        broken.append(f"all experiments take 40 minutes at most: {took_s:.0f} s")
    broken += [f"nothing is left running: {left}" for left in find_leftovers(folders)]
    progress.show(
        [
            f"took {took_s:.0f} s",
            *lines,
            *(f"broken: {promise}" for promise in broken),
            f"faults: {'FAIL' if broken else 'PASS'}",
        ]
    )
    return 1 if broken else 0


def _read(arguments: Sequence[str]) -> tuple[list[str], bool]:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--only", default="", help="names, with commas between them")
    parser.add_argument("--small", action="store_true", help="as in the tests: counts only")
    given = parser.parse_args(arguments)
    names = [name for name in given.only.split(",") if name] or list(EXPERIMENTS)
    if unknown := sorted(set(names) - set(EXPERIMENTS)):
        parser.error(
            f"no such experiment: {', '.join(unknown)}; there are {', '.join(EXPERIMENTS)}"
        )
    return names, not given.small


def _carry_out(
    name: str, stage: Stage, progress: Progress, broken: list[str], *, is_full: bool
) -> str:
    """Run one experiment, and note what it broke; returns its line."""
    try:
        outcome = run_experiment(EXPERIMENTS[name], stage, progress, is_full=is_full)
    except Exception as error:
        # The edge of one experiment: the others are carried out whatever became of it.
        progress.show(traceback.format_exc().splitlines())
        broken.append(f"{name}: could not be carried out: {error}")
        return f"faults: {name} not carried out"
    progress.show([*outcome.measured, *outcome.broken, outcome.line])
    broken += [f"{name}: {promise}" for promise in outcome.broken]
    return outcome.line


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
