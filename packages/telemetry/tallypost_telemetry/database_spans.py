"""Spans of calls of the database that do a whole step of the queue, by OpenTelemetry's names.

Each such call serves many emails at once. It is linked to all of those that are traced; where that
is one, it stands in its trace.
"""

from collections.abc import Sequence

from tallypost_telemetry import conventions as names
from tallypost_telemetry import tracing
from tallypost_telemetry.trace_contexts import read_stored


def calling(
    procedure: str,
    trace_contexts: Sequence[str],
    batch_size: int,
) -> tracing.Span:
    """Around one call of a function of the database.

    trace_contexts are those of the spans that wait for it, as they are stored; batch_size is how
    many emails it serves.
    """
    if not trace_contexts:
        return tracing.NO_SPAN
    summary = f"SELECT {procedure}"
    return tracing.following(
        read_stored(trace_contexts),
        summary,
        tracing.Kind.CLIENT,
        {
            names.DB_SYSTEM_NAME: "postgresql",
            names.DB_QUERY_SUMMARY: summary,
            names.DB_STORED_PROCEDURE_NAME: procedure,
            names.DB_OPERATION_BATCH_SIZE: batch_size,
        },
        is_child=True,
    )
