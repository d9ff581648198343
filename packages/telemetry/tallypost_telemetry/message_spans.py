"""Spans of an email on its way through the queue, by OpenTelemetry's names for messaging.

The queue is the platform's own, so `messaging.system` is its name. Accepting is `send email.send`,
a worker's turn is `process email.send`.
"""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from tallypost_telemetry import conventions as names
from tallypost_telemetry import tracing
from tallypost_telemetry.trace_contexts import TraceContext, read_stored

SYSTEM: Final = "tallypost"
DESTINATION: Final = "email.send"


def sending(tenant_id: UUID, mode: str, count: int) -> tracing.Span:
    """Around accepting one request's emails, within the request's own span."""
    if not tracing.current_span():
        return tracing.NO_SPAN
    span = tracing.child(
        f"send {DESTINATION}",
        tracing.Kind.PRODUCER,
        {
            names.MESSAGING_SYSTEM: SYSTEM,
            names.MESSAGING_OPERATION_NAME: "send",
            names.MESSAGING_OPERATION_TYPE: "send",
            names.MESSAGING_DESTINATION_NAME: DESTINATION,
            names.TENANT_ID: str(tenant_id),
            names.MODE: mode,
        },
    )
    if count > 1:
        span.note({names.MESSAGING_BATCH_MESSAGE_COUNT: count})
    return span


def note_accepted(span: tracing.Span, email_ids: Sequence[UUID]) -> None:
    """Note what a request was answered with; a repeat gets the ids of the first one."""
    if span and len(email_ids) == 1:
        span.note({names.MESSAGING_MESSAGE_ID: str(email_ids[0])})


def receiving(
    trace_contexts: Sequence[str], count: int, *, is_first: bool, started_s: float
) -> None:
    """Note one claim of `count` emails that is over, of which those are traced.

    trace_contexts are as stored with the emails. is_first: none of them was tried or sent again
    before, so where it is one, that came alone, the claim stands in its trace. started_s is of
    `clock.monotonic_s`.
    """
    if not trace_contexts:
        return
    origins = read_stored(trace_contexts)
    tracing.following(
        origins,
        f"receive {DESTINATION}",
        tracing.Kind.CLIENT,
        {
            names.MESSAGING_SYSTEM: SYSTEM,
            names.MESSAGING_OPERATION_NAME: "receive",
            names.MESSAGING_OPERATION_TYPE: "receive",
            names.MESSAGING_DESTINATION_NAME: DESTINATION,
            names.MESSAGING_BATCH_MESSAGE_COUNT: count,
        },
        is_child=is_first and not any(origin.is_shared for origin in origins),
        started_s=started_s,
    ).end()


def processing(
    trace_context: str | None,
    email_id: UUID,
    tenant_id: UUID,
    *,
    lane: str,
    attempt: int,
    is_first: bool,
) -> tracing.Span:
    """Around a worker's turn with one email; trace_context is what is stored with it.

    The first attempt of an email that came alone goes on in the trace that it was accepted in, so
    that one trace tells where a mail is. Further attempts, and emails of a batch, each have a trace
    of their own. All are linked to the accepting span. attempt is 1 again for an email that is sent
    again, and that is not its first.
    """
    if trace_context is None or not tracing.is_on():
        return tracing.NO_SPAN
    origins = read_stored([trace_context])
    return tracing.following(
        origins,
        f"process {DESTINATION}",
        tracing.Kind.CONSUMER,
        {
            names.MESSAGING_SYSTEM: SYSTEM,
            names.MESSAGING_OPERATION_NAME: "process",
            names.MESSAGING_OPERATION_TYPE: "process",
            names.MESSAGING_DESTINATION_NAME: DESTINATION,
            names.MESSAGING_MESSAGE_ID: str(email_id),
            names.TENANT_ID: str(tenant_id),
            names.LANE: lane,
            names.ATTEMPT: attempt,
        },
        is_child=is_first and not any(origin.is_shared for origin in origins),
    )


def stored_context(span: tracing.Span, *, is_shared: bool) -> str | None:
    """What is stored with an email that is accepted in this span; None where it is not recorded."""
    context: TraceContext | None = span.context
    return None if context is None else context._replace(is_shared=is_shared).stored()
