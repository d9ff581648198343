"""A running platform whose live email goes to Postfix's smtp-sink."""

from collections.abc import Iterator

import pytest

from tests.support.platform import Platform, running_platform
from tests.support.platform import pytest_runtest_makereport as pytest_runtest_makereport
from tests.support.sinks import SMTP_SINK, PostfixSink, postfix_sink


@pytest.fixture(scope="module")
def sink() -> Iterator[PostfixSink]:
    """Postfix's smtp-sink, where it is installed."""
    if SMTP_SINK is None:
        pytest.skip("smtp-sink is not installed: apt-get install postfix")
    with postfix_sink() as running:
        yield running


@pytest.fixture(scope="module")
def platform(sink: PostfixSink) -> Iterator[Platform]:
    """The platform of this module's tests."""
    with running_platform(smtp_port=sink.port) as running:
        yield running
