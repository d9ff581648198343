"""The public API on a real socket, in a thread of the test's process."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import uvloop

from tallypost_api.app import API, create_app
from tallypost_cli.ports import find_free_port
from tallypost_core.settings import Secret, databases, groups
from tallypost_core.settings.apps import APISettings
from tallypost_telemetry import serving
from tests.support.database import PEPPER_SETTING, RING_SETTING, Database

_HOST = "127.0.0.1"
_DEADLINE_S = 30.0
_POLL_S = 0.01


class RunningAPI:
    """An API that serves; `app` is the very object that does."""

    def __init__(self, app: API, port: int) -> None:
        self.app = app
        self.port = port
        self.url = f"http://{_HOST}:{port}"


def api_settings(
    database: Database, objects: Path, *, rate_limit_per_s: float = 10.0
) -> APISettings:
    """Settings of an API on a test's database, with attachments in a folder."""
    return APISettings(
        database=databases.APIDatabaseSettings(
            api_url=Secret(database.url("tp_api")), accept_url=Secret(database.url("tp_accept"))
        ),
        secrets=groups.SecretsSettings(
            key_ring=Secret(RING_SETTING), peppers=Secret(PEPPER_SETTING)
        ),
        objects=groups.ObjectsSettings(url=objects.as_uri()),
        api=groups.APIListenSettings(),
        accept=groups.AcceptSettings(rate_limit_per_s=rate_limit_per_s),
        log=groups.LogSettings(),
    )


@contextmanager
def run_api(settings: APISettings) -> Iterator[RunningAPI]:
    """Serve the API until the end of the block; returns once it answers."""
    app, port = create_app(settings), find_free_port()
    with _Thread(app, port):
        yield RunningAPI(app, port)


class _Thread(threading.Thread):
    def __init__(self, app: API, port: int) -> None:
        super().__init__(name="api")
        self._app = app
        self._port = port
        self._is_built = threading.Event()

    def __enter__(self) -> None:
        self.start()
        deadline = time.monotonic() + _DEADLINE_S
        while not self._answers():
            assert self.is_alive(), "the API did not start"
            assert time.monotonic() < deadline, "the API does not answer"
            time.sleep(_POLL_S)

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self.join(_DEADLINE_S)
        assert not self.is_alive(), "the API did not stop"

    def run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._is_built.set()
        await serving.serve(self._app, _HOST, self._port, self._stopping)

    def _answers(self) -> bool:
        if not self._is_built.is_set():
            return False
        try:
            return httpx.get(f"http://{_HOST}:{self._port}/health/live").status_code == 200
        except httpx.TransportError:
            return False
