"""`python -m bench`: measures, and ends with one line for each goal; `make bench` runs it.

Ends with status 1 where a line is BELOW its floor or the product failed.
"""

import argparse
import signal
import sys
from collections.abc import Sequence

from bench import compare, installs, lines, machine, parts
from bench.context import Context
from bench.environment import opened
from bench.errors import Absent, brief
from bench.lines import Line, Outcome
from bench.scales import QUICK, QUICK_PARTS, SCALES, Scale


def main() -> None:
    """Parse the command line, measure, print, and end with a status."""
    arguments = _parse(sys.argv[1:])
    if arguments.list:
        _print_list()
        return
    try:
        chosen = parts.choose(_names(arguments))
    except parts.UnknownName as error:
        raise SystemExit(f"{error}\n`python -m bench --list` shows the names.") from error
    # An end from outside unwinds like Ctrl-C, so that every process that was started ends too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    results = _measure(SCALES[arguments.scale], chosen)
    for line, outcome in results:
        print(lines.explain(line, outcome))
    print()
    for line, outcome in results:
        print(lines.render(line, outcome))
    if lines.has_failed(lines.judge(line, outcome) for line, outcome in results):
        raise SystemExit(1)


def _parse(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure accepting, delivering and claiming as ratios to what this machine "
        "can do and to other mail systems. Everything runs on loopback, on servers of its own.",
        epilog="docs/performance.md explains the lines.",
    )
    parser.add_argument(
        "--only",
        metavar="NAME[,NAME]",
        default="",
        help="parts or lines to measure; all of them unless given",
    )
    parser.add_argument(
        "--scale",
        choices=sorted(SCALES),
        default="full",
        help="how much is measured: full takes up to 40 minutes, quick a minute, tiny proves "
        "that it runs and means nothing",
    )
    parser.add_argument("--list", action="store_true", help="show parts and lines, and end")
    return parser.parse_args(words)


def _names(arguments: argparse.Namespace) -> list[str]:
    names = [name.strip() for name in arguments.only.split(",") if name.strip()]
    if not names and arguments.scale == QUICK.name:
        return list(QUICK_PARTS)
    return names


def _print_list() -> None:
    for part in parts.PARTS:
        print(part.name)
        for line in part.lines:
            unit = "" if line.is_ratio else line.unit
            bounds = f"floor {lines.number(line.floor)}{unit}, goal {lines.number(line.goal)}{unit}"
            print(f"  {line.name}: {line.says}; {bounds}")


def _measure(
    scale: Scale, chosen: Sequence[tuple[parts.Part, Sequence[Line]]]
) -> list[tuple[Line, Outcome]]:
    steal = machine.Steal()
    results: list[tuple[Line, Outcome]] = []
    with opened(scale) as context:
        context.say(machine.describe(context.cluster.postgres.superuser_url, context.folder))
        context.memory.walk()
        try:
            installs.ensure_postfix(context.children)
        except Absent as error:
            context.say(str(error))
        for part, wanted in chosen:
            outcomes = {outcome.line: outcome for outcome in _run(part, context)}
            results += [(line, outcomes[line.name]) for line in wanted]
        context.say(context.memory.describe())
        stolen = steal.percent()
        context.say("steal: unknown" if stolen is None else f"steal: {stolen:.1f}%")
    return results


def _run(part: parts.Part, context: Context) -> list[Outcome]:
    """A part's outcomes; one that breaks takes its own lines along and no others."""
    context.say(f"{part.name}: begins")
    try:
        return part.run(context)
    except Absent as error:
        context.say(f"{part.name}: {error}")
        return compare.absent(part.lines, str(error))
    except Exception as error:
        # The edge of a part. Whatever broke, the others can still be measured, and the lines say
        # that this one has no number.
        context.say(f"{part.name}: failed: {type(error).__name__}: {error}")
        context.say(context.children.log_tails("api", "worker"))
        return compare.failed(part.lines, brief(error))


if __name__ == "__main__":
    main()
