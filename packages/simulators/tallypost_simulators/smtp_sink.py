"""An SMTP server that takes every message: the outside world of tests, benches and local use.

A message is handed on before it is acknowledged, so nothing that a client was told is lost.
Bytes are kept as they came, and a bare line feed ends neither a line nor a message.
"""

import asyncio
from collections import Counter
from types import TracebackType
from typing import Self

from tallypost_simulators.smtp_connection import Connection
from tallypost_simulators.smtp_faults import Faults
from tallypost_simulators.smtp_reception import OnMessage, Reception
from tallypost_simulators.smtp_session import SMTPSession

MAX_SIZE_BYTES = 64 * 1024 * 1024


class SMTPSink:
    """The server; `async with SMTPSink(on_message) as sink` runs it, `sink.port` is where.

    on_message is awaited before the 250. Where it raises, the client gets 451, after
    MessageRefused 554, and after OutcomeUnknown no reply: the connection ends. Without it
    messages are dropped once counted. With is_counting `counts` tells how many copies of an
    email came for a recipient, and nothing else is kept. Any recipient is accepted.
    """

    def __init__(
        self,
        on_message: OnMessage | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        faults: Faults | None = None,
        is_counting: bool = False,
        max_size_bytes: int = MAX_SIZE_BYTES,
    ) -> None:
        """port 0 takes a free one. Larger messages are refused at MAIL, else at their end."""
        self.faults = faults or Faults()
        self._host = host
        self._wanted_port = port
        self._reception = Reception(
            self.faults, max_size_bytes, on_message, is_counting=is_counting
        )
        self._sessions: set[Connection] = set()
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """The port that the sink listens on; it must be running."""
        if self._server is None:
            raise RuntimeError("the sink is not running")
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def taken(self) -> int:
        """Messages taken so far."""
        return self._reception.taken

    @property
    def open_sessions(self) -> int:
        """Connections that are open now."""
        return len(self._sessions)

    @property
    def counts(self) -> Counter[tuple[str, str]]:
        """Copies taken for each (X-Tallypost-Email-Id, recipient); empty unless counting."""
        return self._reception.counts

    async def start(self) -> None:
        """Listen; raises OSError where the port is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: SMTPSession(self._reception, self._sessions), self._host, self._wanted_port
        )

    async def stop(self) -> None:
        """Hang up on everybody. A message not yet acknowledged counts as not taken."""
        if self._server is None:
            return
        self._server.close()
        await asyncio.gather(*(session.stop() for session in [*self._sessions]))
        await self._server.wait_closed()
        self._server = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()
