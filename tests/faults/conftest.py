"""One platform for all experiments of a module, and their summaries at the end of the run."""

from collections.abc import Iterator

import pytest

from tests.support.platform import Platform, running_platform
from tests.support.platform import pytest_runtest_makereport as pytest_runtest_makereport
from tests.support.sinks import CountingSink, counting_sink

# Before each reply: a handover takes a third of a second, so that a kill finds several under way.
_LATENCY_S = 0.05
_RETRY_SCHEDULE_S = "1,1,2,2,5,5,5,5,5,5"

_LINES = pytest.StashKey[list[str]]()


@pytest.fixture(scope="module")
def sink() -> Iterator[CountingSink]:
    """A mail server that counts copies."""
    with counting_sink(latency_s=_LATENCY_S) as running:
        yield running


@pytest.fixture(scope="module")
def platform(sink: CountingSink) -> Iterator[Platform]:
    """A platform with two workers."""
    with running_platform(
        smtp_port=sink.port, workers=2, TALLYPOST_DELIVERY_RETRY_SCHEDULE_S=_RETRY_SCHEDULE_S
    ) as running:
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
