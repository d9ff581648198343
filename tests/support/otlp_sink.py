"""A collector of traces in the test's process: OTLP over HTTP, by OpenTelemetry's own types."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

from msgspec import Struct
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage
from opentelemetry.proto.trace.v1.trace_pb2 import Status

TRACES_PATH = "/v1/traces"

Behaviour = Literal["take", "refuse", "hang"]


class ReceivedSpan(Struct, frozen=True, kw_only=True):
    """One span as it arrived."""

    service: str
    name: str
    kind: str
    """`SERVER`, `PRODUCER` …"""
    trace_id: str
    span_id: str
    parent_id: str | None
    links: frozenset[tuple[str, str]]
    """Trace and span of each."""
    attributes: dict[str, object]
    has_failed: bool

    @property
    def place(self) -> tuple[str, str]:
        """Its trace and span, as a link has them."""
        return self.trace_id, self.span_id

    def is_child_of(self, other: "ReceivedSpan") -> bool:
        """True where the other is its parent, in the same trace."""
        return (self.trace_id, self.parent_id) == other.place


class OTLPSink:
    """A running collector; `behaviour` may be changed while it runs."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.behaviour: Behaviour = "take"
        self.asked = threading.Event()
        """Set once anything was sent, whatever became of it."""
        self.released = threading.Event()
        """Ends what hangs."""
        self.bodies: list[bytes] = []
        """Decompressed, as they arrived."""

    def spans(self, name: str | None = None) -> list[ReceivedSpan]:
        """All spans so far, or those of one name."""
        received = [span for body in [*self.bodies] for span in _read(body)]
        return [span for span in received if name is None or span.name == name]

    def take(self, path: str, body: bytes) -> int:
        """The status that a request gets."""
        self.asked.set()
        if self.behaviour == "hang":
            self.released.wait()
        if path != TRACES_PATH:
            return 404
        if self.behaviour != "take":
            return 503
        self.bodies.append(body)
        return 200


@contextmanager
def otlp_sink() -> Iterator[OTLPSink]:
    """A collector that listens while the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            self.send_response(sink.take(self.path, body))
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    sink = OTLPSink(server.server_port)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="otlp-sink")
    thread.start()
    try:
        yield sink
    finally:
        sink.released.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _read(body: bytes) -> Iterator[ReceivedSpan]:
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        service = _attributes(resource.resource)["service.name"]
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield _read_span(str(service), span)


def _read_span(service: str, span: SpanMessage) -> ReceivedSpan:
    return ReceivedSpan(
        service=service,
        name=span.name,
        kind=SpanMessage.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex() or None,
        links=frozenset((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
        attributes=_attributes(span),
        has_failed=span.status.code == Status.STATUS_CODE_ERROR,
    )


def _attributes(owner: object) -> dict[str, object]:
    # The generated classes have no common type.
    return {
        pair.key: getattr(pair.value, pair.value.WhichOneof("value"))
        for pair in owner.attributes  # type: ignore[attr-defined]
    }
