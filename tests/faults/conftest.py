"""One stage for all experiments of a test run, and their lines at its end."""

from collections.abc import Iterator

import pytest

from tests.faults.stage import Stage, running_stage

_LINES = pytest.StashKey[list[str]]()


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """The servers that the experiments share."""
    with running_stage() as running:
        yield running


@pytest.fixture
def report_lines(pytestconfig: pytest.Config) -> list[str]:
    """Lines that are shown at the end of the run, whatever is captured."""
    return pytestconfig.stash.setdefault(_LINES, [])


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Show what every experiment came to."""
    lines = config.stash.get(_LINES, [])
    if lines:
        terminalreporter.section("faults")
        for line in lines:
            terminalreporter.write_line(line)
