"""What the demo breaks: worker processes and Redis."""

from collections.abc import Collection

from redis.asyncio import Redis
from redis.exceptions import RedisError

from tallypost_cli.supervisor import Supervisor
from tallypost_simulators.control_app import ControlRefused


class Machinery:
    """The processes of one system."""

    def __init__(
        self, supervisor: Supervisor, workers: Collection[str], redis_url: str | None
    ) -> None:
        """workers are names of programs; redis_url is None where Redis is not the embedded one."""
        self._supervisor = supervisor
        self._workers = workers
        self._redis_url = redis_url

    def count_workers(self) -> int:
        """How many workers are ready."""
        return len(self._ready_workers())

    async def kill_worker(self) -> str:
        """Kill a worker that is ready; returns its name. Raises ControlRefused without one."""
        ready = self._ready_workers()
        if not ready:
            raise ControlRefused("No worker is ready; wait until one has been started again.")
        await self._supervisor.crash(ready[0])
        return ready[0]

    async def flush_redis(self) -> None:
        """Delete all that Redis holds; raises ControlRefused where it is not ours to flush."""
        if self._redis_url is None:
            raise ControlRefused("The settings name this Redis, so the demo does not flush it.")
        try:
            async with Redis.from_url(self._redis_url) as client:
                await client.flushall()
        except (OSError, RedisError) as error:
            raise ControlRefused("Redis does not answer; try again.") from error

    def _ready_workers(self) -> list[str]:
        return [name for name in self._supervisor.list_ready() if name in self._workers]
