"""The programs as production runs them, tracing everything."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec import Struct

from tallypost_cli.ports import find_free_port
from tallypost_simulators.smtp_faults import Faults
from tallypost_simulators.smtp_reception import ReceivedMessage
from tallypost_simulators.smtp_sink import SMTPSink
from tests.integration.api.test_process import environment as api_environment
from tests.support.database import Database
from tests.support.programs import Program
from tests.support.worker import worker_environment


class Processes(Struct, frozen=True):
    """The API and a worker as production runs them, each with a log of its own."""

    api: Program
    worker: Program
    api_url: str
    worker_url: str
    faults: Faults
    received: list[ReceivedMessage]

    def logs(self) -> str:
        """All that the two wrote, on either stream."""
        return "".join(p.log_path.read_text(encoding="utf-8") for p in (self.api, self.worker))


@asynccontextmanager
async def processes(
    database: Database, folder: Path, redis_url: str, collector_url: str
) -> AsyncIterator[Processes]:
    """Run them until the block ends."""
    received: list[ReceivedMessage] = []
    faults = Faults()

    async def keep(message: ReceivedMessage) -> None:
        received.append(message)

    async with SMTPSink(keep, faults=faults) as sink:
        api_port, worker_port = find_free_port(), find_free_port()
        objects = folder / "objects"
        shared = {
            "TALLYPOST_TRACING_ENDPOINT": collector_url,
            "TALLYPOST_TRACING_SAMPLE_RATIO": "1",
            "TALLYPOST_LOG_LEVEL": "debug",
        }
        variables = api_environment(database, objects, api_port) | shared
        api = Program("api", "tallypost_api", variables, api_port, folder)
        variables = shared | worker_environment(
            database,
            redis_url=redis_url,
            objects=objects,
            smtp_port=sink.port,
            TALLYPOST_WORKER_PORT=str(worker_port),
        )
        worker = Program("worker", "tallypost_worker", variables, worker_port, folder)
        api_url, worker_url = (f"http://127.0.0.1:{port}" for port in (api_port, worker_port))
        running = Processes(api, worker, api_url, worker_url, faults, received)
        try:
            for program in (api, worker):
                program.start()
                await asyncio.to_thread(program.wait_until_ready)
            yield running
        finally:
            for program in (api, worker):
                await asyncio.to_thread(program.stop)
