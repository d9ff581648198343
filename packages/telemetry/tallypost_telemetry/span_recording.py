"""Records spans by OpenTelemetry's SDK and sends them to a collector, behind the process's back.

A thread of its own sends them in batches. What does not fit in its bounded queue is dropped, and a
collector that is away is logged once a minute: work never waits for either.
"""

import logging
import threading
from collections.abc import Sequence
from contextvars import Token
from importlib.metadata import PackageNotFoundError, version
from types import TracebackType
from typing import Final

import structlog
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    format_span_id,
    format_trace_id,
    set_span_in_context,
)
from opentelemetry.trace import Span as SDKSpan

from tallypost_core.clock import monotonic_s
from tallypost_core.ids import new_id
from tallypost_telemetry import conventions, metrics, tracing
from tallypost_telemetry.trace_contexts import TraceContext

TRACES_PATH: Final = "/v1/traces"

CLOSE_LIMIT_S = 1.5
"""Longest time that the end of a process waits for a collector."""
LOG_EVERY_S = 60.0
CLOSING: Final = "traces-closing"
"""Name of the thread that waits for the collector at the end."""

_QUEUE_SPANS = 4096
# Encoding holds up the event loop's thread, so little is encoded at a time.
_BATCH_SPANS = 128
_SEND_EVERY_MS = 1000
_SEND_LIMIT_S = 5.0

log = structlog.get_logger()


class SpanRecorder:
    """Makes the spans of one process."""

    def __init__(self, endpoint: str, app: str) -> None:
        """endpoint is a collector's address, with the path of traces or without."""
        # It logs each failure, with texts of others. Ours says so once a minute.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        exporter = OTLPSpanExporter(
            endpoint=traces_url(endpoint), timeout=_SEND_LIMIT_S, compression=Compression.Gzip
        )
        self._provider = TracerProvider(
            # What is not sampled does not come here.
            sampler=ALWAYS_ON,
            resource=Resource.create(
                {
                    "service.name": f"tallypost-{app}",
                    "service.version": _version(),
                    "service.instance.id": str(new_id()),
                }
            ),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(
                CountingExporter(exporter),
                max_queue_size=_QUEUE_SPANS,
                max_export_batch_size=_BATCH_SPANS,
                schedule_delay_millis=_SEND_EVERY_MS,
            )
        )
        self._tracer = self._provider.get_tracer("tallypost", schema_url=conventions.SCHEMA_URL)

    def start(
        self,
        name: str,
        kind: tracing.Kind,
        *,
        parent: TraceContext | None,
        links: Sequence[TraceContext],
        attributes: tracing.Attributes,
        started_ns: int | None,
    ) -> "RecordedSpan":
        """A span that is recorded; without a parent it begins a trace."""
        # An empty context, because without one the SDK looks for a current span of its own.
        context = Context()
        if parent is not None:
            context = set_span_in_context(NonRecordingSpan(_span_context(parent)), context)
        span = self._tracer.start_span(
            name,
            context,
            SpanKind[kind.name],
            attributes,
            [Link(_span_context(origin)) for origin in links],
            started_ns,
        )
        return RecordedSpan(span)

    def close(self) -> None:
        """Send what is left; returns after CLOSE_LIMIT_S at the latest."""
        # The SDK waits for half a minute, in a call that cannot be told otherwise.
        closing = threading.Thread(target=self._provider.shutdown, name=CLOSING, daemon=True)
        closing.start()
        closing.join(CLOSE_LIMIT_S)


class RecordedSpan(tracing.Span):
    """A span of the SDK."""

    __slots__ = ("_has_failed", "_span", "_token", "context")

    def __init__(self, span: SDKSpan) -> None:
        own = span.get_span_context()
        self.context = TraceContext(format_trace_id(own.trace_id), format_span_id(own.span_id))
        self._span = span
        self._has_failed = False
        self._token: Token[tracing.Span] | None = None

    def __bool__(self) -> bool:
        """True: it is recorded."""
        return True

    def __enter__(self) -> "RecordedSpan":
        self._token = tracing.enter(self)
        return self

    def __exit__(
        self,
        type_: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._token is not None:
            tracing.leave(self._token)
        if error is not None and not self._has_failed:
            self.fail(tracing.error_type(error))
        self.end()

    def note(self, attributes: tracing.Attributes) -> None:
        """Add attributes, by their names in `conventions`."""
        self._span.set_attributes(attributes)

    def rename(self, name: str) -> None:
        """Give it a name that became known later."""
        self._span.update_name(name)

    def fail(self, error_type: str) -> None:
        """Mark it as failed; error_type is a fixed word."""
        self._has_failed = True
        self._span.set_attribute(conventions.ERROR_TYPE, error_type)
        self._span.set_status(StatusCode.ERROR)

    def end(self) -> None:
        """Finish it and let it be sent."""
        self._span.end()
        metrics.record_span()


class CountingExporter(SpanExporter):
    """Counts what is sent and says, now and then, that nothing can be."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._log_again_at_s = 0.0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        has_arrived = result is SpanExportResult.SUCCESS
        metrics.record_span_export("sent" if has_arrived else "failed", len(spans))
        if not has_arrived and monotonic_s() >= self._log_again_at_s:
            self._log_again_at_s = monotonic_s() + LOG_EVERY_S
            log.warning("traces.not_sent", spans=len(spans), again_in_s=LOG_EVERY_S)
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def traces_url(endpoint: str) -> str:
    """Where traces go at a collector."""
    base = endpoint.rstrip("/")
    return base if base.endswith(TRACES_PATH) else base + TRACES_PATH


def _span_context(context: TraceContext) -> SpanContext:
    return SpanContext(
        int(context.trace_id, 16),
        int(context.span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )


def _version() -> str:
    try:
        return version("tallypost")
    except PackageNotFoundError:
        return "unknown"
