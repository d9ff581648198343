"""The groups of settings; an app's Struct picks those that it needs.

A group's name is the field's name in the app's Struct: `redis: RedisSettings` reads
`TALLYPOST_REDIS_URL`. Meta's `extra={"check": ...}` names a function that raises ValueError where a
value does not mean anything, so that this too is found at the start.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from tallypost_core.crypto.key_ring import KeyRing
from tallypost_core.settings.checks import require_address
from tallypost_core.settings.loader import Secret


class LogSettings(Struct, frozen=True):
    """How a process logs."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="Least level that is shown.")
    ] = "info"
    format: Annotated[
        Literal["json", "console"],
        Meta(description="json for machines, console for a person at a terminal."),
    ] = "json"


class TracingSettings(Struct, frozen=True):
    """Where a process sends its traces, and how many."""

    endpoint: Annotated[
        str | None,
        Meta(
            description="Address of an OpenTelemetry collector that takes OTLP over HTTP, with or "
            "without /v1/traces at its end. Unset, nothing is traced.",
            extra={"check": require_address},
        ),
    ] = None
    sample_ratio: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="Share of the requests that are traced. One that comes with a traceparent "
            "goes by that instead.",
        ),
    ] = 0.05


class APIListenSettings(Struct, frozen=True):
    """Where the public API listens."""

    port: Annotated[int, Meta(ge=0, le=65535, description="Port of the public API.")] = 8000
    host: Annotated[str, Meta(description="Address that the public API binds.")] = "127.0.0.1"


class ConsoleListenSettings(Struct, frozen=True):
    """Where the console listens and how people reach it."""

    port: Annotated[int, Meta(ge=0, le=65535, description="Port of the console.")] = 8001
    host: Annotated[str, Meta(description="Address that the console binds.")] = "127.0.0.1"
    url: Annotated[
        str,
        Meta(
            description="Address in people's browsers. Session cookies are Secure and __Host- "
            "where it starts with https:."
        ),
    ] = "http://localhost:8001"
    demo_url: Annotated[
        str | None,
        Meta(
            description="Address of the controller of `tallypost demo`, which sets it. Unset, "
            "there is no demo."
        ),
    ] = None
    demo_token: Annotated[
        Secret | None, Meta(description="What the demo's controller takes as a bearer token.")
    ] = None


class TemplatesListenSettings(Struct, frozen=True):
    """Where the recipient-facing app listens."""

    port: Annotated[int, Meta(ge=0, le=65535, description="Port of the templates app.")] = 8002
    host: Annotated[str, Meta(description="Address that the templates app binds.")] = "127.0.0.1"


class BillingListenSettings(Struct, frozen=True):
    """Where the billing app listens."""

    port: Annotated[int, Meta(ge=0, le=65535, description="Port of the billing app.")] = 8003
    host: Annotated[str, Meta(description="Address that the billing app binds.")] = "127.0.0.1"


class WorkerListenSettings(Struct, frozen=True):
    """Where the worker answers health checks."""

    port: Annotated[
        int, Meta(ge=0, le=65535, description="Port of the worker's health and metrics.")
    ] = 8004
    host: Annotated[str, Meta(description="Address that the worker binds.")] = "127.0.0.1"


class BouncesListenSettings(Struct, frozen=True):
    """Where the bounces app answers health checks."""

    port: Annotated[
        int, Meta(ge=0, le=65535, description="Port of the bounces app's health and metrics.")
    ] = 8005
    host: Annotated[str, Meta(description="Address that the bounces app binds.")] = "127.0.0.1"


class RedisSettings(Struct, frozen=True):
    """Redis."""

    url: Annotated[Secret, Meta(description="redis:// address, version 6.2 or later.")]


class APIRedisSettings(Struct, frozen=True):
    """Redis."""

    url: Annotated[
        Secret | None,
        Meta(
            description="For the API: where its rate limits are counted. Unset, each of its "
            "processes counts by itself."
        ),
    ] = None


class CLIRedisSettings(Struct, frozen=True):
    """Redis, where the command line may start an embedded one."""

    url: Annotated[
        Secret | None,
        Meta(
            description="redis:// address, version 6.2 or later. Unset, `tallypost up` starts an "
            "embedded server."
        ),
    ] = None


class SecretsSettings(Struct, frozen=True):
    """Keys that protect stored secrets. Write each as name:base64 of 32 bytes, newest first."""

    key_ring: Annotated[
        Secret,
        Meta(
            description="Keys that wrap the tenants' data keys, as name:base64[,name:base64…], "
            "newest first; older ones only unwrap.",
            extra={"check": KeyRing.from_setting},
        ),
    ]
    peppers: Annotated[
        Secret,
        Meta(
            description="Keys of the hashes that API keys and sessions are looked up by, in the "
            "same form as the key ring.",
            extra={"check": KeyRing.from_setting},
        ),
    ]


class ObjectsSettings(Struct, frozen=True):
    """Where attachments over 256 kB are kept."""

    url: Annotated[
        str,
        Meta(description="file:///folder, or s3://bucket/prefix with the usual AWS credentials."),
    ]
    s3_endpoint_url: Annotated[
        str | None, Meta(description="Address of an S3-compatible store other than AWS.")
    ] = None


class AcceptSettings(Struct, frozen=True):
    """Bounds on accepting email."""

    rate_limit_per_s: Annotated[
        float, Meta(gt=0, description="Requests per second of a key that has no limit of its own.")
    ] = 10.0
    processes: Annotated[
        int,
        Meta(
            ge=1,
            description="API processes that share the rate limits. While Redis is away each grants "
            "its share of them.",
        ),
    ] = 1


class DeliverySettings(Struct, frozen=True):
    """How the worker delivers."""

    concurrency: Annotated[
        int,
        Meta(
            ge=1,
            le=1000,
            description="Emails in work at a time in one worker process: waiting for their turn on "
            "a connection, or on the wire; besides, up to twice as many are claimed of "
            "transactional mail and 1.6 times as many of bulk mail. More make a fast relay "
            "faster. Where the process is killed, about as many emails are unconfirmed.",
        ),
    ] = 100
    retry_schedule_s: Annotated[
        tuple[Annotated[float, Meta(gt=0)], ...],
        Meta(
            description="Seconds to wait before each retry. When used up, the email is a dead "
            "letter. The default gives up after about 72 hours."
        ),
    ] = (30, 60, 300, 900, 1800, 3600, 7200, 14400, 28800, 43200, 43200, 57600, 57600)
    handover_timeout_s: Annotated[
        float,
        Meta(gt=0, le=24, description="Longest handover to a provider; shorter than a lease."),
    ] = 20.0
    processes: Annotated[
        int,
        Meta(
            ge=1,
            description="Worker processes that share the rates of provider accounts. While Redis "
            "is away each takes its share; otherwise it has no effect.",
        ),
    ] = 1
    warm_share: Annotated[
        float,
        Meta(
            ge=0,
            le=0.5,
            description="Share of live mail that asks the second account of its route first, so "
            "that it is known to work when the first one fails. 0 leaves it cold.",
        ),
    ] = 0.0


class SubscriberSettings(Struct, frozen=True):
    """How subscribers to events are fed."""

    timeout_s: Annotated[
        float,
        Meta(gt=0, le=20, description="Time that a subscriber gets for one event."),
    ] = 10.0
    retry_schedule_s: Annotated[
        tuple[Annotated[float, Meta(gt=0, le=2_592_000)], ...],
        Meta(
            description="Seconds to wait, on average, before an event comes again to a subscriber "
            "that failed, each at most 30 days. When used up, the event is a dead one for this "
            "subscriber. The default gives up after about 7 hours."
        ),
    ] = (5, 30, 120, 600, 3600, 21600)
