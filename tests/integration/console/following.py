"""Follows a live page over HTTP, as a browser does (HTML standard, section 9.2)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from msgspec import Struct

from tests.integration.console.running import Browser

_DEADLINE_S = 30.0


class Message(Struct, frozen=True):
    """A part of a page as it is now."""

    id: str
    data: str


class Following:
    """One open stream."""

    def __init__(self, answer: httpx.Response) -> None:
        self.headers = answer.headers
        self._blocks = _read_blocks(answer)

    async def next(self) -> Message | None:
        """The next message, over whatever only says that the stream is alive; None at its end."""
        async with asyncio.timeout(_DEADLINE_S):
            async for block in self._blocks:
                if not block.startswith(":"):
                    return _parse(block)
        return None

    async def until(self, words: str) -> Message:
        """The first message that holds these words."""
        while (message := await self.next()) is not None:
            if words in message.data:
                return message
        raise AssertionError(f"the stream ended without {words!r}")

    async def hear_beat(self) -> None:
        """Wait for something that only says that the stream is alive."""
        async with asyncio.timeout(_DEADLINE_S):
            async for block in self._blocks:
                if block.startswith(":"):
                    return
        raise AssertionError("the stream ended")


@asynccontextmanager
async def follow(
    browser: Browser, path: str, *, last_id: str | None = None
) -> AsyncIterator[Following]:
    """Open a stream; last_id is that of the message that the page has already."""
    headers = {"accept": "text/event-stream"}
    if last_id is not None:
        headers["last-event-id"] = last_id
    async with browser.client.stream("GET", path, headers=headers) as answer:
        assert answer.status_code == 200, f"{path} answers {answer.status_code}"
        # Kept here: where nobody holds it, its generators are closed, and the stream with them.
        following = Following(answer)
        yield following


async def _read_blocks(answer: httpx.Response) -> AsyncIterator[str]:
    rest = ""
    async for text in answer.aiter_text():
        rest += text
        while "\n\n" in rest:
            block, _, rest = rest.partition("\n\n")
            yield block
    assert not rest, "the stream broke off"


def _parse(block: str) -> Message:
    fields = [line.partition(": ") for line in block.split("\n")]
    (id_,) = [value for name, _, value in fields if name == "id"]
    return Message(id_, "\n".join(value for name, _, value in fields if name == "data"))
