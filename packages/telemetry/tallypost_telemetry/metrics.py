"""Every metric of the platform, declared once, behind functions that fix its labels.

Labels are bounded: methods, route templates, status classes, providers, outcomes, lanes, modes.
Never a tenant, an address or an id. Each process counts for itself and is scraped by itself.
"""

from collections.abc import Iterable
from functools import cache

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

REGISTRY = CollectorRegistry()

# A second series for each one, with its birth time, is of no use to anyone here.
disable_created_metrics()  # type: ignore[no-untyped-call]  # The library leaves it untyped.
ProcessCollector(registry=REGISTRY)
GCCollector(registry=REGISTRY)

KNOWN_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
"""The methods that are named; others would make labels of what clients write."""

_FAST_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

_HTTP_REQUEST_DURATION = Histogram(
    "tallypost_http_request_duration_seconds",
    "Time from a request's first byte to the end of its answer.",
    ("method", "route", "status_class"),
    buckets=_FAST_BUCKETS_S,
    registry=REGISTRY,
)
_EMAILS_ACCEPTED = Counter(
    "tallypost_emails_accepted_total",
    "Emails stored and acknowledged.",
    ("mode", "lane"),
    registry=REGISTRY,
)
_HANDOVERS = Counter(
    "tallypost_handovers_total",
    "Recipients handed to a provider, by the outcome it gave.",
    ("provider", "outcome"),
    registry=REGISTRY,
)
_ATTEMPT_DURATION = Histogram(
    "tallypost_attempt_duration_seconds",
    "Time that one handover to a provider took, whatever its outcome.",
    ("provider",),
    buckets=_FAST_BUCKETS_S,
    registry=REGISTRY,
)
_PROVIDER_BUSY = Counter(
    "tallypost_provider_busy_total",
    "Handovers put off because every connection to the provider stayed in use.",
    ("provider",),
    registry=REGISTRY,
)
_FAILOVERS = Counter(
    "tallypost_failovers_total",
    "Handovers that the provider did not take, whose email went on to another account at once.",
    ("provider",),
    registry=REGISTRY,
)
_LOOK_UPS = Counter(
    "tallypost_look_ups_total",
    "Questions to a provider whether it took an email, by what came of them.",
    ("provider", "result"),
    registry=REGISTRY,
)
_FLUSH_DURATION = Histogram(
    "tallypost_accept_flush_duration_seconds",
    "Time that one commit of accepted emails took in the database.",
    buckets=_FAST_BUCKETS_S,
    registry=REGISTRY,
)
_FLUSH_SIZE = Histogram(
    "tallypost_accept_flush_size_emails",
    "Emails of the requests that one commit answered.",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500),
    registry=REGISTRY,
)
_CLAIM_DURATION = Histogram(
    "tallypost_claim_duration_seconds",
    "Time that one claim of due emails took in the database.",
    buckets=_FAST_BUCKETS_S,
    registry=REGISTRY,
)
_CLAIM_SIZE = Histogram(
    "tallypost_claim_size_emails",
    "Emails that one claim took.",
    buckets=(0, 1, 2, 5, 10, 20, 50, 100, 200, 500),
    registry=REGISTRY,
)
_QUEUE_SWEEPS = Counter(
    "tallypost_queue_sweeps_total",
    "Searches for queue rows of dead workers.",
    registry=REGISTRY,
)
_QUEUE_ROWS_FREED = Counter(
    "tallypost_queue_rows_freed_total",
    "Queue rows that sweeps took back from dead workers.",
    registry=REGISTRY,
)
_QUEUE_DUE = Gauge(
    "tallypost_queue_due_emails",
    "Emails that are due and not yet claimed. Each worker reports the same number.",
    ("lane",),
    registry=REGISTRY,
)
_QUEUE_OLDEST_DUE_AGE = Gauge(
    "tallypost_queue_oldest_due_age_seconds",
    "For how long the oldest due email has waited. Each worker reports the same number.",
    ("lane",),
    registry=REGISTRY,
)
_DEAD_LETTERS = Counter(
    "tallypost_dead_letters_total",
    "Recipients given up for a cause not their own.",
    ("cause",),
    registry=REGISTRY,
)
_RETRIES = Counter(
    "tallypost_retries_total",
    "Repeats of an operation inside one process, after a failure that may pass.",
    ("operation",),
    registry=REGISTRY,
)
_DEADLINES_EXCEEDED = Counter(
    "tallypost_deadlines_exceeded_total",
    "Work that was given up because its time was used up.",
    registry=REGISTRY,
)
_BREAKER_CHANGES = Counter(
    "tallypost_breaker_changes_total",
    "Changes of a circuit breaker's state, by the state that it took.",
    ("breaker", "state"),
    registry=REGISTRY,
)
_LIMITER_TAKES = Counter(
    "tallypost_limiter_takes_total",
    "Decisions of the rate limiter, by who counted: the cluster, or this process for its share.",
    ("source",),
    registry=REGISTRY,
)
_BULKHEAD_ENTRIES = Counter(
    "tallypost_bulkhead_entries_total",
    "Requests for a place in a bulkhead, by what came of them.",
    ("bulkhead", "result"),
    registry=REGISTRY,
)
_SINGLE_FLIGHT_CALLS = Counter(
    "tallypost_single_flight_calls_total",
    "Calls of operations that run once for all who ask meanwhile: those that ran, and joined.",
    ("flight", "result"),
    registry=REGISTRY,
)
_SUBSCRIBER_EVENTS = Counter(
    "tallypost_subscriber_events_total",
    "Events that a subscriber handled, that failed and come again, and that were given up.",
    ("subscriber", "result"),
    registry=REGISTRY,
)
_SUBSCRIBER_HANGING = Gauge(
    "tallypost_hanging_subscribers",
    "Whether a subscriber does not come back from an event whose time is over: 1, else 0.",
    ("subscriber",),
    registry=REGISTRY,
)
_SUBSCRIBER_WAITING = Gauge(
    "tallypost_subscriber_waiting_events",
    "Events that wait for a subscriber, over all workers; counted to 100000.",
    ("subscriber",),
    registry=REGISTRY,
)
_SUBSCRIBER_DEAD = Gauge(
    "tallypost_subscriber_dead_events",
    "Events that a subscriber was given up for, over all workers; counted to 100000.",
    ("subscriber",),
    registry=REGISTRY,
)
_SPANS = Counter(
    "tallypost_spans_total",
    "Spans of traces that were finished. Those that are never sent or failed were dropped.",
    registry=REGISTRY,
)
_SPANS_EXPORTED = Counter(
    "tallypost_spans_exported_total",
    "Spans that were sent to the collector, or that it did not take.",
    ("result",),
    registry=REGISTRY,
)
_EGRESS_DURATION = Histogram(
    "tallypost_egress_duration_seconds",
    "Time that one guarded request to the outside took, by its status class or error.",
    ("egress", "result"),
    buckets=_FAST_BUCKETS_S,
    registry=REGISTRY,
)


# The library looks a child up under a lock, by words that it makes anew; there are few of these.
_duration_of = cache(_ATTEMPT_DURATION.labels)
_handovers_of = cache(_HANDOVERS.labels)


def record_http_request(method: str, route: str, status: int, duration_s: float) -> None:
    """Count one answered request.

    route is the template (`/emails/{email_id}`), never the path; for a request that no route
    takes it is one fixed word. A method outside HTTP's usual ones counts as OTHER.
    """
    _HTTP_REQUEST_DURATION.labels(
        method if method in KNOWN_METHODS else "OTHER", route, f"{status // 100}xx"
    ).observe(duration_s)


def record_accepted(mode: str, lane: str, count: int = 1) -> None:
    """Count emails that were committed and acknowledged."""
    _EMAILS_ACCEPTED.labels(mode, lane).inc(count)


def record_handover(provider: str, outcomes: Iterable[str], duration_s: float) -> None:
    """Count one handover: its duration once, and the outcome of each of its recipients."""
    _duration_of(provider).observe(duration_s)
    for outcome in outcomes:
        _handovers_of(provider, outcome).inc()


def record_provider_busy(provider: str) -> None:
    """Count one handover for which no connection became free in time."""
    _PROVIDER_BUSY.labels(provider).inc()


def record_failover(provider: str) -> None:
    """Count one handover whose email goes on from this provider to another account."""
    _FAILOVERS.labels(provider).inc()


def record_look_up(provider: str, result: str) -> None:
    """Count one question about an unconfirmed email; result is `found`, `missing` or `failed`."""
    _LOOK_UPS.labels(provider, result).inc()


def record_claim(size: int, duration_s: float) -> None:
    """Count one claim that took `size` emails; an empty one counts too."""
    _CLAIM_DURATION.observe(duration_s)
    _CLAIM_SIZE.observe(size)


def record_flush(size: int, duration_s: float) -> None:
    """Count one commit that answered requests with `size` emails in all."""
    _FLUSH_DURATION.observe(duration_s)
    _FLUSH_SIZE.observe(size)


def record_sweep(freed_rows: int) -> None:
    """Count one sweep, and the rows that it took back from dead workers."""
    _QUEUE_SWEEPS.inc()
    _QUEUE_ROWS_FREED.inc(freed_rows)


def record_queue_depth(lane: str, due_count: int, oldest_due_age_s: float) -> None:
    """Report what is due in a lane now; 0 and 0 for an idle one."""
    _QUEUE_DUE.labels(lane).set(due_count)
    _QUEUE_OLDEST_DUE_AGE.labels(lane).set(oldest_due_age_s)


def record_dead_letter(cause: str, count: int = 1) -> None:
    """Count recipients that were given up; cause is one of a few fixed words."""
    _DEAD_LETTERS.labels(cause).inc(count)


def record_retry(operation: str) -> None:
    """Count one repeat; operation is a fixed name in the code."""
    _RETRIES.labels(operation).inc()


def record_deadline_exceeded() -> None:
    """Count work that was given up because its time was used up."""
    _DEADLINES_EXCEEDED.inc()


def record_breaker_change(breaker: str, state: str) -> None:
    """Count one change of a breaker's state; breaker is a fixed name, never one of its keys."""
    _BREAKER_CHANGES.labels(breaker, state).inc()


def record_limiter_takes(source: str, count: int) -> None:
    """Count decisions of the rate limiter; source is `cluster` or `local`."""
    _LIMITER_TAKES.labels(source).inc(count)


def record_bulkhead_entry(bulkhead: str, result: str) -> None:
    """Count one request for a place; result is `entered`, `full` or `late`."""
    _BULKHEAD_ENTRIES.labels(bulkhead, result).inc()


def record_single_flight(flight: str, result: str) -> None:
    """Count one call of an operation; result is `ran` or `joined`."""
    _SINGLE_FLIGHT_CALLS.labels(flight, result).inc()


def record_subscriber_event(subscriber: str, result: str) -> None:
    """Count one event for a plugin; result is `handled`, `failed` or `dead`."""
    _SUBSCRIBER_EVENTS.labels(subscriber, result).inc()


def record_subscriber_hanging(subscriber: str, is_hanging: bool) -> None:
    """Report whether a plugin does not come back from an event."""
    _SUBSCRIBER_HANGING.labels(subscriber).set(is_hanging)


def record_subscriber_backlog(subscriber: str, waiting: int, dead: int) -> None:
    """Report how many events wait for a plugin, and how many it was given up for."""
    _SUBSCRIBER_WAITING.labels(subscriber).set(waiting)
    _SUBSCRIBER_DEAD.labels(subscriber).set(dead)


def record_egress(egress: str, result: str, duration_s: float) -> None:
    """Count one guarded request; result is a status class such as `2xx`, or an error's code."""
    _EGRESS_DURATION.labels(egress, result).observe(duration_s)


def record_span() -> None:
    """Count one span that was finished, and is to be sent."""
    _SPANS.inc()


def record_span_export(result: str, count: int) -> None:
    """Count spans that were sent, or not taken; result is `sent` or `failed`."""
    _SPANS_EXPORTED.labels(result).inc(count)


def render() -> bytes:
    """All metrics of this process in Prometheus's text format, of type CONTENT_TYPE."""
    return generate_latest(REGISTRY)
