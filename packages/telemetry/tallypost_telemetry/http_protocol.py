"""HTTP answers in one write: uvicorn writes head and body apart.

Each write is a call of the system and wakes the client: a fifth of the time of an API process under
load went there (measured).
"""

import asyncio
from typing import cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tallypost_core.joined_writes import JoinedWrites


class HTTPProtocol(HttpToolsProtocol):
    """uvicorn's protocol on httptools, on a transport that joins its writes."""

    # uvicorn declares the transport that asyncio passes.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin a connection."""
        self._joined = JoinedWrites(transport, self.loop)
        super().connection_made(cast("asyncio.Transport", self._joined))

    def eof_received(self) -> None:
        """Write what is answered so far: after this the event loop closes the transport."""
        self._joined.flush()
        super().eof_received()
