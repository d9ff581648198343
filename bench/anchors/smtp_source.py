"""Postfix's smtp-source into the same sink: how fast mail can be handed over here at all."""

from pathlib import Path

from bench import mail
from bench.children import Children
from bench.errors import Absent
from bench.sinks import Sink, find_postfix_tool, wait_for_arrivals

SESSIONS = 10

_WITHIN_S = 60.0
_LEAST_MAILS = 100


def require() -> str:
    """Where smtp-source is; raises Absent where Postfix is not installed."""
    program = find_postfix_tool("smtp-source")
    if program is None:
        raise Absent("smtp-source is not installed; it comes with Postfix")
    return program


def inject(children: Children, port: int, count: int) -> None:
    """Send our message `count` times over SESSIONS kept connections; returns when it is taken.

    Raises Absent without Postfix.
    """
    children.run(
        "smtp-source",
        [
            require(),
            *("-s", str(SESSIONS), "-m", str(count), "-d"),
            *("-f", "hello@example.com", "-t", "somebody@example.net"),
            *("-F", str(_message_file(children.folder)), f"127.0.0.1:{port}"),
        ],
        within_s=_WITHIN_S,
    )


def rate(children: Children, sink: Sink, seconds: float, guess: float) -> float:
    """Mails a second between the first and the last arrival; guess sets how many are sent."""
    count = max(_LEAST_MAILS, int(guess * seconds))
    sink.reset()
    inject(children, sink.port, count)
    return wait_for_arrivals(sink, count, within_s=_WITHIN_S, senders=[]).rate


def _message_file(folder: Path) -> Path:
    """Our message in a file, with the line ends that smtp-source wants."""
    path = folder / "message.eml"
    if not path.exists():
        text = mail.message("hello@example.com", "somebody@example.net")
        path.write_bytes(text.replace(b"\r\n", b"\n"))
    return path
