"""Structured logs of a process: one JSON object a line on standard error.

Code logs by `structlog.get_logger()`: an event name and fields. Request, tenant and job ids come
from `structlog.contextvars`, bound at the edge and cleared after; a line within a recorded span has
its `trace_id`. Libraries that use the standard library's logging end in the same stream, in the
same form.
"""

import contextlib
import json
import logging
import sys
import threading
from types import TracebackType

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from tallypost_core.settings.groups import LogSettings
from tallypost_telemetry.redaction import redact
from tallypost_telemetry.tracing import current_span

# Below warning these log statements with their parameters, request bodies, headers or
# addresses, or repeat what our own events say.
_QUIET_LOGGERS = (
    "aioboto3",
    "aiobotocore",
    "boto3",
    "botocore",
    "httpcore",
    "httpx",
    "mail",
    "sqlalchemy",
    "urllib3",
    "uvicorn",
)


class StandardErrorLogger:
    """Writes lines to whatever standard error is at that moment."""

    def msg(self, line: str) -> None:
        """Write one line in one call, so that lines of several threads do not mix."""
        # A reader that went away must not turn every log line into a failure of the work.
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(line + "\n")
            sys.stderr.flush()

    debug = info = warning = error = critical = msg


def configure(settings: LogSettings, app: str) -> None:
    """Set up all logging of this process; `app` is a field of every line.

    Python's warnings, and the traceback of whatever ends the process or one of its threads, go
    through the same redaction. Calling it again replaces the set-up.
    """
    level: int = getattr(logging, settings.level.upper())
    renderer = _renderer(settings)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_trace_id,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        _AppName(app),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, redact, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: StandardErrorLogger(),
        cache_logger_on_first_use=False,
    )
    _configure_standard_library(level, shared, renderer)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread


def _add_trace_id(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    context = current_span().context
    if context is not None:
        event["trace_id"] = context.trace_id
    return event


class _AppName:
    def __init__(self, app: str) -> None:
        self._app = app

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["app"] = self._app
        return event


class _StandardErrorHandler(logging.Handler):
    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self._logger = StandardErrorLogger()

    def emit(self, record: logging.LogRecord) -> None:
        self._logger.msg(self.format(record))


def _renderer(settings: LogSettings) -> Processor:
    if settings.format == "console":
        return structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            # A traceback with local variables would show what redaction cannot recognise.
            exception_formatter=structlog.dev.plain_traceback,
            timestamp_key="at",
        )
    return structlog.processors.JSONRenderer(serializer=json.dumps)


def _configure_standard_library(level: int, shared: list[Processor], renderer: Processor) -> None:
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            redact,
            renderer,
        ],
    )
    root = logging.getLogger()
    root.handlers = [_StandardErrorHandler(formatter)]
    root.setLevel(level)
    for name in _QUIET_LOGGERS:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    logging.captureWarnings(capture=True)


def _log_uncaught(
    type_: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    if issubclass(type_, KeyboardInterrupt):
        return
    structlog.get_logger().critical("process.crashed", exc_info=(type_, error, traceback))


def _log_uncaught_in_thread(arguments: threading.ExceptHookArgs) -> None:
    if arguments.exc_value is None:
        return
    structlog.get_logger().critical(
        "thread.crashed",
        thread=arguments.thread.name if arguments.thread else None,
        exc_info=(arguments.exc_type, arguments.exc_value, arguments.exc_traceback),
    )
