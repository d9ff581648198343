"""A wire between a client and PostgreSQL that the test may cut, and that may lose a commit."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

_COMMIT = re.compile(rb"COMMIT;?\x00")
# A call that is a transaction of its own: it is prepared under a name, and run by a Bind of that.
_CALLS = rb"(?:claim_rows|load_emails|find_suppressed|record_settlements)"
_PREPARE = re.compile(rb"P.{4}(\w+)\x00[^\x00]*" + _CALLS + rb"\(", re.DOTALL)
_RUN = re.compile(rb"B.{4}\x00(\w+)\x00", re.DOTALL)


class Link:
    """Passes bytes on in both directions, on a port of its own.

    While it is cut, connections end and new ones are refused. `lose_commit` lets a commit reach
    the server and cuts the connection before the answer: the client does not learn its fate.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 5432)
        self._url = url
        self._port = 0
        self._is_cut = False
        self._commits_until_loss = 0
        self.lost_commits = 0
        self.refused = 0
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        """The address of the server by way of this link."""
        parts = urlsplit(self._url)
        login, _, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{login}@127.0.0.1:{self._port}"))

    def cut(self) -> None:
        """End every connection, and let none be made."""
        self._is_cut = True
        for writer in [*self._writers]:
            writer.transport.abort()

    def mend(self) -> None:
        """Let connections be made again."""
        self._is_cut = False

    def lose_commit(self, number: int = 1) -> None:
        """Lose the answer to the commit of that number from now on, the next one being 1."""
        self._commits_until_loss = number

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Link"]:
        """Listen for as long as the block lasts."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            self.cut()
            server.close()
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            self.refused += 1
            writer.transport.abort()
            return
        server_reader, server_writer = await asyncio.open_connection(*self._target)
        both = {writer, server_writer}
        self._writers |= both
        is_losing = asyncio.Event()
        directions = [
            asyncio.create_task(self._pass_requests(reader, server_writer, is_losing)),
            asyncio.create_task(self._pass_answers(server_reader, writer, is_losing)),
        ]
        try:
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for direction in directions:
                direction.cancel()
            await asyncio.gather(*directions, return_exceptions=True)
            for open_writer in both:
                open_writer.transport.abort()
            self._writers -= both

    async def _pass_requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_losing: asyncio.Event
    ) -> None:
        calls: set[bytes] = set()
        is_open = False
        while data := await reader.read(65536):
            calls.update(_PREPARE.findall(data))
            is_call = not is_open and bool(calls.intersection(_RUN.findall(data)))
            has_commit = bool(_COMMIT.search(data))
            is_open = (is_open or b"BEGIN" in data) and not (has_commit or b"ROLLBACK" in data)
            if self._commits_until_loss and (has_commit or is_call):
                self._commits_until_loss -= 1
                if not self._commits_until_loss:
                    is_losing.set()
            writer.write(data)
            await writer.drain()

    async def _pass_answers(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_losing: asyncio.Event
    ) -> None:
        while data := await reader.read(65536):
            if is_losing.is_set():
                self.lost_commits += 1
                return
            writer.write(data)
            await writer.drain()
