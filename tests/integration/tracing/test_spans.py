"""Spans as their callers use them: who is whose parent, what is kept, and what is never made."""

import json
import logging as standard_logging
import sys
import threading
from collections.abc import Iterator

import pytest
import structlog

from tallypost_core.errors import AppError
from tallypost_core.ids import new_id
from tallypost_core.settings.groups import LogSettings, TracingSettings
from tallypost_telemetry import database_spans, logging, message_spans, tracing
from tallypost_telemetry.asgi import Message, Receive, Scope, Send
from tallypost_telemetry.http_spans import RequestSpans
from tallypost_telemetry.trace_contexts import TraceContext
from tests.support.otlp_sink import OTLPSink, ReceivedSpan

FIRST, SECOND = TraceContext("a" * 32, "b" * 16), TraceContext("c" * 32, "d" * 16)
WAITING = [FIRST.stored(), SECOND.stored()]


class Refused(AppError):
    """Refused, with words that nobody is to see."""

    code = "refused"


def settings(collector: OTLPSink, ratio: float = 1.0) -> TracingSettings:
    """That traces go to the test's collector."""
    return TracingSettings(endpoint=collector.url, sample_ratio=ratio)


async def answer_ok(scope: Scope, receive: Receive, send: Send) -> None:
    """An app that answers."""
    scope["path_template"] = "/things/{id}"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def break_down(scope: Scope, receive: Receive, send: Send) -> None:
    """An app that fails with an address in its words."""
    raise LookupError("ada@example.net")


async def request(app: RequestSpans, *headers: tuple[bytes, bytes], method: str = "GET") -> None:
    """One request to an app."""

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(_: Message) -> None:
        """Nobody reads the answer."""

    scope = {"type": "http", "method": method, "path": "/things/7", "headers": list(headers)}
    await app(scope, receive, send)


async def traced(
    collector: OTLPSink,
    app: RequestSpans,
    *headers: tuple[bytes, bytes],
    times: int = 1,
    ratio: float = 1.0,
) -> list[ReceivedSpan]:
    """What a collector gets of requests to an app."""
    with tracing.running(settings(collector, ratio), "test"):
        for _ in range(times):
            await request(app, *headers)
    return collector.spans()


async def test_an_app_that_breaks_down_is_noted_by_the_class_of_its_error(
    collector: OTLPSink,
) -> None:
    with pytest.raises(LookupError):
        await traced(collector, RequestSpans(break_down))
    (span,) = collector.spans()
    assert span.has_failed
    assert span.attributes["error.type"] == "LookupError"
    assert b"ada@" not in b"".join(collector.bodies)


async def test_invented_methods_share_one_name(collector: OTLPSink) -> None:
    with tracing.running(settings(collector), "test"):
        await request(RequestSpans(answer_ok), method="HACK")
    (span,) = collector.spans()
    assert (span.name, span.attributes["http.request.method"]) == ("HTTP /things/{id}", "_OTHER")


async def test_two_traceparents_are_as_good_as_none(collector: OTLPSink) -> None:
    header = (b"traceparent", f"00-{FIRST.trace_id}-{FIRST.span_id}-01".encode())
    (span,) = await traced(collector, RequestSpans(answer_ok), header, header)
    assert span.trace_id != FIRST.trace_id


async def test_callers_that_ask_for_traces_get_a_bounded_number_of_them(
    collector: OTLPSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "monotonic_s", lambda: 1_000_000.0)
    monkeypatch.setattr(tracing, "MAX_ASKED_PER_S", 5)
    header = (b"traceparent", f"00-{FIRST.trace_id}-{FIRST.span_id}-01".encode())
    spans = await traced(collector, RequestSpans(answer_ok), header, times=20, ratio=0.0)
    assert len(spans) == 5


async def test_without_a_collector_there_is_no_span() -> None:
    with tracing.running(TracingSettings(sample_ratio=1.0), "test"):
        assert not tracing.is_on()
        spans = [
            tracing.child("anything", tracing.Kind.CLIENT, {}),
            message_spans.processing(
                FIRST.stored(), new_id(), new_id(), lane="transactional", attempt=1, is_first=True
            ),
            database_spans.calling("accept_emails", WAITING, 2),
        ]
    assert spans == [tracing.NO_SPAN] * 3


def test_a_call_that_many_wait_for_begins_a_trace_that_is_linked_to_all_of_them(
    collector: OTLPSink,
) -> None:
    with (
        tracing.running(settings(collector), "test"),
        database_spans.calling("accept_emails", WAITING, 7),
    ):
        pass
    (span,) = collector.spans()
    assert span.parent_id is None
    assert span.links == {FIRST[:2], SECOND[:2]}
    assert span.attributes["db.operation.batch.size"] == 7


def test_one_of_our_errors_is_noted_by_its_code_and_not_by_its_words(
    collector: OTLPSink,
) -> None:
    with (
        tracing.running(settings(collector), "test"),
        pytest.raises(Refused),
        database_spans.calling("accept_emails", WAITING, 2),
    ):
        raise Refused("ada@example.net")
    (span,) = collector.spans()
    assert (span.has_failed, span.attributes["error.type"]) == (True, "refused")
    assert b"ada@" not in b"".join(collector.bodies)


def test_spans_within_a_block_are_its_children_and_those_after_it_are_not(
    collector: OTLPSink,
) -> None:
    with tracing.running(settings(collector), "test"):
        with database_spans.calling("outer", WAITING, 2):
            tracing.child("inner", tracing.Kind.CLIENT, {}).end()
        assert tracing.child("later", tracing.Kind.CLIENT, {}) is tracing.NO_SPAN
    (outer,), (inner,) = collector.spans("SELECT outer"), collector.spans("inner")
    assert inner.is_child_of(outer)


@pytest.fixture
def _logging_restored() -> Iterator[None]:
    root = standard_logging.getLogger()
    before = (root.handlers, root.level, sys.excepthook, threading.excepthook)
    yield
    standard_logging.captureWarnings(capture=False)
    root.handlers, root.level, sys.excepthook, threading.excepthook = before
    structlog.reset_defaults()


@pytest.mark.usefixtures("_logging_restored")
def test_lines_of_a_recorded_span_carry_its_trace(
    collector: OTLPSink, capsys: pytest.CaptureFixture[str]
) -> None:
    logging.configure(LogSettings(), "sample")
    log = structlog.get_logger()
    with tracing.running(settings(collector), "test"):
        with database_spans.calling("accept_emails", WAITING, 2) as span:
            log.info("within")
        log.info("after")
    within, after = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert span.context is not None
    assert within["trace_id"] == span.context.trace_id
    assert "trace_id" not in after
