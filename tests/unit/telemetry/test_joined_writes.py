"""A transport writes once in a turn of the loop, and loses and reorders nothing."""

import asyncio
from typing import cast

from tallypost_telemetry.joined_writes import JoinedWrites


class Written:
    """A transport that notes what is done with it."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.is_closed = False

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    def get_extra_info(self, name: str) -> str:
        return f"the {name}"


def joined(transport: Written) -> JoinedWrites:
    return JoinedWrites(cast("asyncio.Transport", transport), asyncio.get_running_loop())


async def test_what_comes_in_one_turn_is_one_write() -> None:
    transport = Written()
    joining = joined(transport)
    joining.write(b"head")
    joining.write(b"body")
    assert transport.writes == []
    await asyncio.sleep(0)
    assert transport.writes == [b"headbody"]
    joining.write(b"next")
    await asyncio.sleep(0)
    assert transport.writes == [b"headbody", b"next"]


async def test_much_is_written_at_once() -> None:
    transport = Written()
    joining = joined(transport)
    joining.write(b"head")
    joining.write(bytes(100_000))
    joining.write(b"tail")
    assert transport.writes == [b"head" + bytes(100_000)]
    await asyncio.sleep(0)
    assert transport.writes[1:] == [b"tail"]


async def test_closing_writes_what_is_left_first() -> None:
    transport = Written()
    joining = joined(transport)
    joining.write(b"goodbye")
    joining.close()
    assert transport.writes == [b"goodbye"]
    assert transport.is_closed
    await asyncio.sleep(0)
    assert transport.writes == [b"goodbye"]


async def test_nothing_is_written_to_a_client_that_is_gone() -> None:
    transport = Written()
    joining = joined(transport)
    joining.write(b"late")
    transport.is_closed = True
    await asyncio.sleep(0)
    assert transport.writes == []


async def test_everything_else_is_the_transports_own() -> None:
    assert joined(Written()).get_extra_info("peer") == "the peer"
