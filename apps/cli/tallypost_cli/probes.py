"""Asks a program whether it is ready, in the protocol that it speaks."""

import asyncio
from collections.abc import Awaitable, Callable

Probe = Callable[[int], Awaitable[str | None]]
"""Takes the program's pid; returns None when it is ready, else what keeps it."""

_TIMEOUT_S = 2.0
_READ_BYTES = 4096


def http_probe(host: str, port: int) -> Probe:
    """Ready once GET /health/ready answers 200."""

    async def probe(_pid: int) -> str | None:
        request = f"GET /health/ready HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        answer = await _ask(host, port, request.encode())
        if answer is None:
            return f"port {port} does not answer"
        status = answer.partition(b" ")[2][:3].decode(errors="replace")
        if status == "200":
            return None
        body = answer.partition(b"\r\n\r\n")[2].decode(errors="replace").strip()
        return f"/health/ready answers {status} {body}".strip()

    return probe


def answer_probe(host: str, port: int) -> Probe:
    """Ready once HTTP is answered, whatever it says: for a server that knows no health."""

    async def probe(_pid: int) -> str | None:
        answer = await _ask(host, port, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return None if answer and answer.startswith(b"HTTP/") else f"port {port} does not answer"

    return probe


def smtp_probe(host: str, port: int) -> Probe:
    """Ready once the server greets with 220 (RFC 5321, section 3.1)."""

    async def probe(_pid: int) -> str | None:
        answer = await _ask(host, port, b"")
        return None if answer and answer.startswith(b"220") else f"port {port} does not greet"

    return probe


async def _ask(host: str, port: int, request: bytes) -> bytes | None:
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(request)
                await writer.drain()
                return await reader.read(_READ_BYTES)
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return None
