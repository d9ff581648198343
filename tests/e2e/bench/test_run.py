"""The bench runs from end to end and says what it found; the numbers are nobody's business here."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.parts import choose

ROOT = Path(__file__).resolve().parents[3]
PARTS = ["accept", "delivery", "latency"]
WITHIN_S = 280
LINE = re.compile(
    r"bench ([a-z0-9-]+) measured=(\S+) ratio=\S+ floor=\S+ goal=\S+ "
    r"(PASS|FLOOR|BELOW|ABSENT)( NOISY)?"
)


@pytest.mark.slow
def test_it_ends_with_a_number_for_every_line_whose_anchor_is_here() -> None:
    command = [sys.executable, "-m", "bench", "--scale", "tiny", "--only", ",".join(PARTS)]
    finished = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=WITHIN_S, check=False
    )
    expected = [line.name for _, lines in choose(PARTS) for line in lines]
    last = finished.stdout.splitlines()[-len(expected) :]
    found = [LINE.fullmatch(line) for line in last]
    assert all(found), finished.stdout + finished.stderr
    results = {match[1]: (match[2], match[3]) for match in found if match is not None}
    assert list(results) == expected
    # A part that broke is BELOW without a number.
    missing = [name for name, (value, verdict) in results.items() if value == "-"]
    assert all(results[name][1] == "ABSENT" for name in missing), finished.stdout
    is_below = any(verdict == "BELOW" for _, verdict in results.values())
    assert finished.returncode == int(is_below)


def test_a_name_that_does_not_exist_is_refused_before_anything_starts() -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "bench", "--only", "no-such-line"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode != 0
    assert "no-such-line" in finished.stderr
    assert finished.stdout == ""
