"""Trace contexts as callers send them, and as they are stored."""

import pytest

from tallypost_telemetry.trace_contexts import (
    TraceContext,
    read_stored,
    read_traceparent,
    trace_id_of,
)

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CONTEXT = TraceContext(TRACE_ID, SPAN_ID)


@pytest.mark.parametrize(
    ("flags", "is_sampled"), [("00", False), ("01", True), ("02", False), ("03", True)]
)
def test_a_callers_header_says_where_it_is_and_whether_it_samples(
    flags: str, *, is_sampled: bool
) -> None:
    caller = read_traceparent(f"00-{TRACE_ID}-{SPAN_ID}-{flags}".encode())
    assert caller is not None
    assert (caller.context, caller.is_sampled) == (CONTEXT, is_sampled)


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    caller = read_traceparent(f"cc-{TRACE_ID}-{SPAN_ID}-01-what-comes-later".encode())
    assert caller is not None
    assert caller.context == CONTEXT


@pytest.mark.parametrize(
    "header",
    [
        "",
        "nonsense",
        f"00-{TRACE_ID}-{SPAN_ID}",
        f"00-{TRACE_ID}-{SPAN_ID}-01-more",
        f"ff-{TRACE_ID}-{SPAN_ID}-01",
        f"00-{'0' * 32}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"00-{TRACE_ID.upper()}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{SPAN_ID}-0x",
        f"00-{TRACE_ID}-{SPAN_ID}-01é",
    ],
)
def test_a_malformed_header_is_as_good_as_none(header: str) -> None:
    assert read_traceparent(header.encode()) is None


@pytest.mark.parametrize("is_shared", [False, True])
def test_what_is_stored_is_read_back(*, is_shared: bool) -> None:
    context = TraceContext(TRACE_ID, SPAN_ID, is_shared)
    assert read_stored([context.stored()]) == [context]
    assert trace_id_of(context.stored()) == TRACE_ID


def test_other_text_is_no_stored_context() -> None:
    assert read_stored([f"00-{TRACE_ID}-{SPAN_ID}-00", "nonsense"]) == []


def test_an_email_that_was_not_sampled_has_no_trace() -> None:
    assert trace_id_of(None) is None
