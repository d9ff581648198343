"""The supervisor's decisions that need no process."""

import signal
from pathlib import Path

import pytest

from tallypost_cli import programs
from tallypost_cli.probes import http_probe
from tallypost_cli.supervisor import describe_end, restart_delay_s

_STOP_LIMIT_S = 20.0


def test_the_first_restart_comes_nearly_at_once_and_none_waits_longer_than_five_seconds() -> None:
    delays = [restart_delay_s(failures) for failures in range(1, 100)]
    assert delays[0] <= 0.5
    assert delays == sorted(delays)
    assert max(delays) == 5.0


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "exited with code 0"),
        (3, "exited with code 3"),
        (-signal.SIGKILL, "was killed by SIGKILL"),
        (-63, "was killed by signal 63"),
    ],
)
def test_an_end_is_told_in_words(code: int, words: str) -> None:
    assert describe_end(code) == words


def test_the_patience_with_apps_and_databases_together_is_under_the_limit() -> None:
    app = programs.Program("a", [], {}, Path("/"), http_probe("", 1))
    grace_s = sum(step.grace_s for step in app.stop_steps)
    assert grace_s + programs.DATABASE_GRACE_S + programs.IMMEDIATE_GRACE_S < _STOP_LIMIT_S
