"""Views that do as a test says, and clients that read them as browsers do."""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from msgspec import Struct

from tallypost_console.live import LiveViews, Reader
from tallypost_core.ids import new_id

DEADLINE_S = 10.0
SOON_S = 0.001
NEVER_S = 3600.0
KEY = ("/emails", "a tenant")


class Shown(Struct, frozen=True):
    """A message as a browser hands it to the page."""

    id: str
    data: str


class ScriptedView:
    """Renders what it is told to, one turn for each; waits where there is nothing more."""

    def __init__(self, *turns: str | BaseException) -> None:
        self.renders = 0
        self._turns: asyncio.Queue[str | BaseException] = asyncio.Queue()
        self.change(*turns)

    def change(self, *turns: str | BaseException) -> None:
        """Render these next."""
        for turn in turns:
            self._turns.put_nowait(turn)

    async def __call__(self) -> str:
        turn = await self._turns.get()
        if isinstance(turn, BaseException):
            raise turn
        self.renders += 1
        return turn


class Client:
    """A browser that reads one stream, as the HTML standard says (section 9.2.6)."""

    def __init__(self, stream: AsyncIterator[bytes]) -> None:
        assert isinstance(stream, AsyncGenerator)
        self._stream = stream
        self.heartbeats = 0

    async def next(self) -> Shown | None:
        """The next message; None at the end. Whatever is a comment is counted."""
        async with asyncio.timeout(DEADLINE_S):
            async for chunk in self._stream:
                # The server writes whole messages, so no line is cut in two.
                message = _parse(chunk.decode())
                if message is not None:
                    return message
                self.heartbeats += 1
        return None

    async def hear_beat(self) -> None:
        """Wait for a comment, which has to come before any message."""
        async with asyncio.timeout(DEADLINE_S):
            assert _parse((await anext(self._stream)).decode()) is None

    async def close(self) -> None:
        """Leave the page."""
        await self._stream.aclose()


def _parse(chunk: str) -> Shown | None:
    assert chunk.endswith("\n\n")
    id_, data = "", ""
    for line in re.split(r"\r\n|\r|\n", chunk):
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "id":
            id_ = value
        elif name == "data":
            data += value + "\n"
    return Shown(id_, data.removesuffix("\n")) if data else None


async def welcome() -> bool:
    return True


async def unwelcome() -> bool:
    return False


def somebody(*, is_welcome: bool = True) -> Reader:
    return Reader(new_id(), welcome if is_welcome else unwelcome)


@asynccontextmanager
async def live_views(heartbeat_s: float = NEVER_S) -> AsyncIterator[LiveViews]:
    """Views that are rendered without a rest; nothing of them is left afterwards."""
    before = asyncio.all_tasks()
    views = LiveViews(interval_s=SOON_S, heartbeat_s=heartbeat_s)
    try:
        yield views
    finally:
        views.close()
        await wait_until_only(before)


async def wait_until_only(tasks: set[asyncio.Task[object]]) -> None:
    """Wait until no other task is left."""
    async with asyncio.timeout(DEADLINE_S):
        while left := asyncio.all_tasks() - tasks:
            await asyncio.wait(left)


async def open_page(
    views: LiveViews,
    view: ScriptedView,
    *,
    reader: Reader | None = None,
    key: object = KEY,
    last_id: str | None = None,
) -> Client:
    """A client that knows that it is live and has read nothing yet."""
    client = Client(views.follow(reader or somebody(), key, view, last_id))
    await client.hear_beat()
    return client


async def read(client: Client) -> str | None:
    message = await client.next()
    return None if message is None else message.data
