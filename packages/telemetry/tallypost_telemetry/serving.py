"""Serving an ASGI app over HTTP: alone in a process, or beside other tasks of one loop.

uvicorn on httptools, in a process of its own on uvloop. Signals are ours: SIGTERM and SIGINT set
one event, however many arrive, and the process ends by itself with status 0.
"""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator

import structlog
import uvicorn
import uvloop
from structlog.typing import FilteringBoundLogger

from tallypost_telemetry.asgi import ASGIApp
from tallypost_telemetry.http_protocol import HTTPProtocol

STOP_LIMIT_S = 10.0
"""Longest time from the stop event to the end of `serve`."""

# Answers in progress get this much of it; the app's own shut-down has the rest.
_DRAIN_LIMIT_S = 8
# Longer than the 60 s of usual load balancers, which must not pick a connection that we close.
_KEEP_ALIVE_S = 75
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class ServeError(Exception):
    """The port is taken, or the app did not start."""


def run(
    app: ASGIApp,
    host: str,
    port: int,
    *,
    log: FilteringBoundLogger | None = None,
    on_stop: Callable[[], None] | None = None,
) -> None:
    """Serve app until SIGTERM or SIGINT, then finish within STOP_LIMIT_S.

    on_stop is called at the signal, before anything closes: end what would keep connections
    open, and answer that the app is no longer ready. Ends the process as `run_until_signal` does.
    """

    async def main(stop: asyncio.Event) -> None:
        await serve(app, host, port, stop, log=log, on_stop=on_stop)

    run_until_signal(main)


def run_until_signal(main: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Run main on uvloop; the event it gets is set by SIGTERM or SIGINT, and it then returns.

    To be called last: signals are ignored from here to the end of the process. A ServeError ends
    the process with status 1 and its message on standard error.
    """
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_with_signals(main))
    except ServeError as error:
        raise SystemExit(str(error)) from error


async def serve(
    app: ASGIApp,
    host: str,
    port: int,
    stop: asyncio.Event,
    *,
    log: FilteringBoundLogger | None = None,
    on_stop: Callable[[], None] | None = None,
) -> None:
    """Serve app in the running loop until stop is set, then finish within STOP_LIMIT_S.

    Touches no signals. Port 0 takes a free port, which the event `server.listening` names.
    Cancellation stops it in the same way. Raises ServeError where the port is taken or the app
    does not start.
    """
    log = log or structlog.get_logger()
    server = _Server(app, host, port, log)
    serving = asyncio.create_task(server.serve())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set() and on_stop is not None:
            on_stop()
    finally:
        stopping.cancel()
        server.should_exit = True
        await asyncio.wait({serving}, timeout=STOP_LIMIT_S)
        if not serving.done():
            log.error("server.stop_timed_out", limit_s=STOP_LIMIT_S)
            serving.cancel()
    if serving.done():
        serving.result()


class _Server(uvicorn.Server):
    def __init__(self, app: ASGIApp, host: str, port: int, log: FilteringBoundLogger) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                interface="asgi3",
                loop="none",
                http=HTTPProtocol,
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                # Anybody can send a forwarding header. There is no setting yet for proxies to be
                # trusted, so behind one every client has the proxy's address.
                proxy_headers=False,
                server_header=False,
                date_header=True,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=_DRAIN_LIMIT_S,
            )
        )
        self._host = host
        self._port = port
        self._log = log

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        listener = _bind(self._host, self._port)
        self._port = listener.getsockname()[1]
        with contextlib.closing(listener):
            await super().serve(sockets or [listener])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        except SystemExit as error:
            # Raised out of a task, it would tear down the whole loop.
            raise ServeError("the app did not start; its log says why") from error
        self._log.info("server.listening", host=self._host, port=self._port)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._log.info("server.stopping")
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ServeError(f"cannot listen on {host} port {port}: {error.strerror}") from error
    return listener


async def _with_signals(main: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, stop.set)
    try:
        await main(stop)
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
            # A supervisor's SIGTERM after a terminal's SIGINT must not turn a clean end into a
            # killed process.
            signal.signal(number, signal.SIG_IGN)
