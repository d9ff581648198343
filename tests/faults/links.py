"""The wires between the product and its servers, all in one process; a test may break each."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from tests.support.side_process import Answers, SideProcess, side_process
from tests.support.tcp_proxy import Direction, TCPProxy


class Link:
    """One wire, as a test drives it; what the methods do is said at TCPProxy."""

    def __init__(self, port: int, process: SideProcess) -> None:
        self.port = port
        self._process = process

    def pause(self, *directions: Direction) -> None:
        self._tell("pause", *directions)

    def resume(self, *directions: Direction) -> None:
        self._tell("resume", *directions)

    def delay(self, latency_s: float, *directions: Direction) -> None:
        self._tell("delay", latency_s, *directions)

    def drip(self, bytes_per_s: float | None, *directions: Direction) -> None:
        self._tell("drip", bytes_per_s, *directions)

    def cut(self) -> None:
        self._tell("cut")

    def mend(self) -> None:
        self._tell("mend")

    def refuse(self) -> None:
        self._process.ask("refuse", self.port)

    def accept(self) -> None:
        self._process.ask("accept", self.port)

    def close(self) -> None:
        """Take the wire away, with all that goes over it."""
        self._process.ask("close", self.port)

    def _tell(self, method: str, *arguments: object) -> None:
        self._process.ask("tell", self.port, method, arguments)


class Network:
    """Makes wires."""

    def __init__(self, process: SideProcess) -> None:
        self._process = process

    def link(self, target_port: int) -> Link:
        """A wire to a server of this machine."""
        return Link(self._process.ask("open", target_port), self._process)


@contextmanager
def running_network() -> Iterator[Network]:
    """A process for wires; they end with it."""
    with side_process("network", _serve) as process:
        yield Network(process)


@asynccontextmanager
async def _serve() -> AsyncIterator[Answers]:
    proxies: dict[int, TCPProxy] = {}

    async def open_proxy(target_port: int) -> int:
        proxy = TCPProxy(target_port)
        await proxy.start()
        proxies[proxy.port] = proxy
        return proxy.port

    async def close_proxy(port: int) -> None:
        await proxies.pop(port).stop()

    async def refuse(port: int) -> None:
        await proxies[port].refuse()

    async def accept(port: int) -> None:
        await proxies[port].accept()

    def tell(port: int, method: str, arguments: tuple[object, ...]) -> None:
        act: Callable[..., None] = getattr(proxies[port], method)
        act(*arguments)

    try:
        yield {
            "open": open_proxy,
            "close": close_proxy,
            "refuse": refuse,
            "accept": accept,
            "tell": tell,
        }
    finally:
        await asyncio.gather(*(proxy.stop() for proxy in proxies.values()))
