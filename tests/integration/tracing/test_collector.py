"""A collector that is away, refuses or keeps silent: nobody's request or email notices."""

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from structlog.testing import capture_logs

from tallypost_cli.ports import find_free_port
from tallypost_core.settings.groups import TracingSettings
from tallypost_telemetry import database_spans, metrics, span_recording, tracing
from tallypost_telemetry.span_recording import CountingExporter, traces_url
from tallypost_telemetry.trace_contexts import TraceContext
from tests.integration.tracing.conftest import traced_site
from tests.integration.tracing.test_traces import until_sent
from tests.support.database import Database, SeededTenant
from tests.support.otlp_sink import Behaviour, OTLPSink
from tests.support.worker import eventually

WAITING = [TraceContext("a" * 32, "b" * 16).stored()]


def not_sent() -> float:
    """Spans so far that the collector did not take."""
    name, labels = "tallypost_spans_exported_total", {"result": "failed"}
    return metrics.REGISTRY.get_sample_value(name, labels) or 0.0


class BrokenExporter(SpanExporter):
    """Sends nothing."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Fail."""
        return SpanExportResult.FAILURE


@pytest.mark.parametrize("behaviour", ["refuse", "hang"])
async def test_emails_are_taken_and_delivered_while_the_collector_fails(
    database: Database,
    tenant: SeededTenant,
    redis_url: str,
    tmp_path: Path,
    collector: OTLPSink,
    behaviour: Behaviour,
) -> None:
    collector.behaviour = behaviour
    failed = not_sent()
    async with traced_site(database, tmp_path, redis_url, collector) as site:
        await until_sent(database, tenant, await site.send(tenant))
        await eventually(collector.asked.is_set)
        await until_sent(database, tenant, await site.send(tenant))
        await eventually(lambda: not_sent() > failed)
    assert collector.spans() == []


async def test_emails_are_taken_and_delivered_without_a_collector_at_its_address(
    database: Database,
    tenant: SeededTenant,
    redis_url: str,
    tmp_path: Path,
) -> None:
    nobody = OTLPSink(find_free_port())
    failed = not_sent()
    async with traced_site(database, tmp_path, redis_url, nobody) as site:
        await until_sent(database, tenant, await site.send(tenant))
        await eventually(lambda: not_sent() > failed)


def test_the_end_of_a_process_does_not_wait_for_a_collector_that_keeps_silent(
    collector: OTLPSink,
) -> None:
    collector.behaviour = "hang"
    before = {*threading.enumerate()}
    with tracing.running(TracingSettings(endpoint=collector.url), "test"):
        database_spans.calling("accept_emails", WAITING, 1).end()
    begun = {thread.name for thread in {*threading.enumerate()} - before}
    assert span_recording.CLOSING in begun, "the end waited until the collector was given up"


def test_what_was_recorded_last_is_sent_at_the_end(collector: OTLPSink) -> None:
    with tracing.running(TracingSettings(endpoint=collector.url), "test"):
        for _ in range(300):
            database_spans.calling("accept_emails", WAITING, 1).end()
    assert len(collector.spans()) == 300


def test_a_collector_that_is_away_is_logged_once_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s = [1_000_000.0]
    monkeypatch.setattr(span_recording, "monotonic_s", lambda: now_s[0])
    exporter = CountingExporter(BrokenExporter())
    with capture_logs() as lines:
        for _ in range(30):
            exporter.export([])
        assert len(lines) == 1
        now_s[0] += span_recording.LOG_EVERY_S
        exporter.export([])
    assert [line["event"] for line in lines] == ["traces.not_sent"] * 2


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://collector.test:4318", "http://collector.test:4318/v1/traces"),
        ("http://collector.test:4318/", "http://collector.test:4318/v1/traces"),
        ("https://collector.test/otlp", "https://collector.test/otlp/v1/traces"),
        ("https://collector.test/v1/traces", "https://collector.test/v1/traces"),
    ],
)
def test_a_base_address_and_that_of_traces_mean_the_same(endpoint: str, url: str) -> None:
    assert traces_url(endpoint) == url
