"""Nothing acknowledged is lost, and no duplicate is unlisted, whatever is broken meanwhile.

Each experiment breaks something while clients send, leaves it to heal by itself and then counts.
Here it is small, and nothing is said about time; `make faults` carries it out at full scale.
"""

import re
import sys
from pathlib import Path

import pytest

from tests.faults.catalogue import EXPERIMENTS
from tests.faults.progress import Progress
from tests.faults.runs import run_experiment
from tests.faults.stage import Stage

_PAGE = Path(__file__).parents[2] / "docs" / "faults.md"


# Left to `make test-full` for their time. What stays breaks an app, the database and the providers;
# the tests of the demo kill a worker and flush Redis.
_SLOW = {
    "keys-revoked",
    "smtp-hang",
    "smtp-mixed",
    "redis-flushed",
    "redis-down",
    "workers-killed",
    "credentials-revoked",
    "partition-worker-smtp",
    "partition-worker-postgres",
    "partition-api-postgres",
    "all-restarted",
    "fair-share",
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in _SLOW else [])
        for name, experiment in EXPERIMENTS.items()
        if experiment.is_in_tests
    ],
)
def test_nothing_is_lost_and_no_duplicate_is_unlisted(
    stage: Stage, name: str, report_lines: list[str]
) -> None:
    outcome = run_experiment(EXPERIMENTS[name], stage, Progress(sys.stdout), is_full=False)
    report_lines.append(outcome.line)
    assert list(outcome.broken) == []


def test_the_page_about_faults_names_every_experiment_and_no_other() -> None:
    named = re.findall(r"^\| `([a-z-]+)` \|", _PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert named == list(EXPERIMENTS)
