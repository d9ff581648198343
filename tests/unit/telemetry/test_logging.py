"""Logs: one JSON object a line, with context, libraries included, and redacted."""

import asyncio
import json
import logging as standard_logging
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from tallypost_core.settings.groups import LogSettings
from tallypost_telemetry import logging

Read = Callable[[], list[dict[str, Any]]]

ADDRESS = "jane@example.com"


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Leaves the logging of the test session as it was."""
    root = standard_logging.getLogger()
    before = (root.handlers, root.level, sys.excepthook, threading.excepthook)
    structlog.contextvars.clear_contextvars()
    yield
    standard_logging.captureWarnings(capture=False)
    root.handlers, root.level, sys.excepthook, threading.excepthook = before
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def read(capsys: pytest.CaptureFixture[str]) -> Read:
    """Sets up JSON logs of everything; reads what was logged since the last time."""
    logging.configure(LogSettings(level="debug"), "sample")
    return lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_event_is_one_json_object_with_its_fields(read: Read) -> None:
    structlog.get_logger().info("email.sent", provider="smtp", duration_s=0.25)
    (line,) = read()
    assert line.pop("at").endswith("Z")
    assert line == {
        "event": "email.sent",
        "level": "info",
        "app": "sample",
        "provider": "smtp",
        "duration_s": 0.25,
    }


def test_line_breaks_in_values_do_not_make_new_lines(read: Read) -> None:
    structlog.get_logger().info("event", text='a\nb\r\n{"event":"forged"}\u2028c')
    (line,) = read()
    assert line["text"] == 'a\nb\r\n{"event":"forged"}\u2028c'


async def test_context_reaches_every_line_of_its_task_only(read: Read) -> None:
    async def handle(request_id: str) -> None:
        structlog.contextvars.bind_contextvars(request_id=request_id)
        await asyncio.sleep(0)
        structlog.get_logger().info("handled")
        standard_logging.getLogger("library").info("handled too")

    await asyncio.gather(handle("one"), handle("two"))
    structlog.get_logger().info("outside")
    lines = [line for line in read() if line.get("logger") != "asyncio"]
    assert sorted(line["request_id"] for line in lines[:-1]) == ["one", "one", "two", "two"]
    assert "request_id" not in lines[-1]


@pytest.mark.parametrize("name", ["litestar", "arq.worker", "asyncio", "anything"])
def test_library_logs_arrive_in_the_same_form(read: Read, name: str) -> None:
    standard_logging.getLogger(name).warning("took %d tries", 3)
    (line,) = read()
    assert (line["event"], line["level"], line["logger"], line["app"]) == (
        "took 3 tries",
        "warning",
        name,
        "sample",
    )


@pytest.mark.parametrize(
    "name", ["sqlalchemy.engine.Engine", "uvicorn.error", "botocore.endpoint", "mail.log"]
)
def test_talkative_libraries_are_heard_from_warnings_on(read: Read, name: str) -> None:
    logger = standard_logging.getLogger(name)
    logger.debug("parameters: %s", "of a statement")
    logger.info("parameters: %s", "of a statement")
    assert read() == []
    logger.warning("trouble")
    assert [line["event"] for line in read()] == ["trouble"]


def test_lower_levels_than_the_setting_are_not_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logging.configure(LogSettings(level="warning"), "sample")
    structlog.get_logger().info("quiet")
    standard_logging.getLogger("library").info("quiet")
    assert capsys.readouterr().err == ""
    structlog.get_logger().warning("loud")
    assert "loud" in capsys.readouterr().err


def test_configuring_again_does_not_double_lines(read: Read) -> None:
    logging.configure(LogSettings(level="info"), "other")
    structlog.get_logger().info("once")
    standard_logging.getLogger("library").info("once")
    assert [line["app"] for line in read()] == ["other", "other"]


def fail() -> None:
    raise ValueError(f"cannot send to {ADDRESS}")


@pytest.mark.parametrize("output", ["json", "console"])
def test_exception_has_its_traceback_but_no_address(
    capsys: pytest.CaptureFixture[str], output: str
) -> None:
    logging.configure(LogSettings(format="json" if output == "json" else "console"), "sample")
    for logger in (structlog.get_logger(), standard_logging.getLogger("library")):
        try:
            fail()
        except ValueError:
            logger.exception("it.failed")
        text = capsys.readouterr().err
        assert "Traceback (most recent call last)" in text
        assert "ValueError: cannot send to [address]" in text
        assert "it.failed" in text
        assert ADDRESS not in text


def test_field_message_and_arguments_are_redacted(read: Read) -> None:
    structlog.get_logger().info("sent", to=ADDRESS)
    standard_logging.getLogger("library").info("to %s", ADDRESS)
    assert [line.get("to", line["event"]) for line in read()] == ["[address]", "to [address]"]


def test_console_format_is_for_people_and_without_colour_in_a_pipe(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logging.configure(LogSettings(format="console"), "sample")
    structlog.get_logger().info("email.sent", provider="smtp")
    text = capsys.readouterr().err
    assert "email.sent" in text
    assert "provider=smtp" in text
    assert "\x1b" not in text


def test_warning_of_python_is_logged(read: Read) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        standard_logging.captureWarnings(capture=True)
        warnings.warn("soon gone", DeprecationWarning, stacklevel=1)
        standard_logging.captureWarnings(capture=False)
    (line,) = read()
    assert line["logger"] == "py.warnings"
    assert "soon gone" in line["event"]


def test_failed_thread_is_logged(read: Read) -> None:
    thread = threading.Thread(target=fail, name="sample thread")
    thread.start()
    thread.join()
    (line,) = read()
    assert (line["event"], line["thread"]) == ("thread.crashed", "sample thread")
    assert "cannot send to [address]" in line["exception"]


def run_script(script: str) -> subprocess.CompletedProcess[str]:
    prelude = (
        "from tallypost_core.settings.groups import LogSettings\n"
        "from tallypost_telemetry import logging\n"
        "import os, structlog\n"
        "logging.configure(LogSettings(), 'sample')\n"
    )
    return subprocess.run(
        [sys.executable, "-c", prelude + script], capture_output=True, text=True, check=False
    )


def test_crash_of_the_process_is_one_redacted_line() -> None:
    result = run_script(f"raise ValueError('cannot send to {ADDRESS}')")
    assert result.returncode == 1
    (line,) = map(json.loads, result.stderr.splitlines())
    assert (line["event"], line["level"]) == ("process.crashed", "critical")
    assert "ValueError: cannot send to [address]" in line["exception"]
    assert ADDRESS not in result.stderr


def test_reader_that_went_away_does_not_stop_the_work() -> None:
    script = (
        "reader, writer = os.pipe()\n"
        "os.dup2(writer, 2); os.close(writer); os.close(reader)\n"
        "structlog.get_logger().info('nobody reads this')\n"
        "print('still working')\n"
    )
    assert run_script(script).stdout == "still working\n"
