"""A transport writes once in a turn of the loop, and loses and reorders nothing."""

import asyncio
from typing import cast

from tallypost_core.joined_writes import JoinedWrites


class Written:
    """A transport that notes what is done with it."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.is_closed = False

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def get_write_buffer_size(self) -> int:
        return 0

    def write_eof(self) -> None:
        self.writes.append(b"<end>")

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


async def test_all_connections_write_one_after_the_other_at_the_end_of_a_turn() -> None:
    order: list[str] = []

    class Ordered(Written):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def write(self, data: bytes) -> None:
            order.append(self.name)

    async def work(joining: JoinedWrites) -> None:
        joining.write(b"question")
        order.append("work")

    async with asyncio.TaskGroup() as group:
        for name in ("first", "second"):
            group.create_task(work(joined(Ordered(name))))
    assert order == ["work", "work", "first", "second"]


async def test_a_write_that_fails_keeps_back_no_other() -> None:
    class Broken(Written):
        def write(self, data: bytes) -> None:
            raise OSError("broken")

    failures: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: failures.append(context["exception"]))
    transport = Written()
    joined(Broken()).write(b"lost")
    joined(transport).write(b"kept")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert transport.writes == [b"kept"]
    assert [str(failure) for failure in failures] == ["broken"]


async def test_what_waits_counts_as_not_yet_gone() -> None:
    transport = Written()
    joining = joined(transport)
    joining.write(b"12345")
    assert joining.get_write_buffer_size() == 5
    await asyncio.sleep(0)
    assert joining.get_write_buffer_size() == 0


async def test_nothing_overtakes_what_waits() -> None:
    transport = Written()
    joining = joined(transport)
    joining.write(b"one, ")
    joining.writelines([b"two, ", b"three"])
    joining.write_eof()
    assert transport.writes == [b"one, two, three", b"<end>"]


async def test_only_what_the_transport_was_given_counts_as_written() -> None:
    transport = Written()
    joining = joined(transport)
    joining.write(b"12345")
    assert joining.written_bytes == 0
    await asyncio.sleep(0)
    assert joining.written_bytes == 5
    joining.write(b"never")
    transport.is_closed = True
    await asyncio.sleep(0)
    assert joining.written_bytes == 5
