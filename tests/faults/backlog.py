"""Queues many emails quickly: through the product's own acceptor, without HTTP before it."""

import asyncio
import datetime as dt
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from uuid import UUID

import msgspec

from tallypost_domain.emails.accept import Acceptor
from tallypost_domain.emails.validation import EmailRequest, validate
from tests.faults.plans import Plan
from tests.support.database import Database
from tests.support.emails import acceptor, live_sender
from tests.support.side_process import Answers, SideProcess, side_process

_BATCH = 100
_IN_FLIGHT = 8


class Loader:
    """Accepts plans; `running_loader` starts it."""

    def __init__(self, process: SideProcess) -> None:
        self._process = process

    def load(self, plan: Plan) -> dict[int, set[UUID]]:
        """Accept every send of a plan, and return the ids by number."""
        ids: list[UUID] = self._process.ask("load", plan)
        return {number: {id_} for number, id_ in enumerate(ids)}


@contextmanager
def running_loader(database: Database) -> Iterator[Loader]:
    """An acceptor in a process of its own."""
    with side_process("loader", _serve, database) as process:
        yield Loader(process)


@asynccontextmanager
async def _serve(database: Database) -> AsyncIterator[Answers]:
    with tempfile.TemporaryDirectory(prefix="tallypost-test-") as folder:
        async with acceptor(database, Path(folder)) as accept:

            async def load(plan: Plan) -> list[UUID]:
                return await _load(accept, plan)

            yield {"load": load}


async def _load(accept: Acceptor, plan: Plan) -> list[UUID]:
    sender = live_sender(plan.tenant)
    now = dt.datetime.now(dt.UTC)
    batches = [
        range(first, min(plan.count, first + _BATCH)) for first in range(0, plan.count, _BATCH)
    ]
    ids: dict[int, tuple[UUID, ...]] = {}
    waiting = iter(batches)

    async def load_in_turn() -> None:
        for numbers in waiting:
            emails = [
                validate(msgspec.convert(plan.request(number), EmailRequest), now=now)
                for number in numbers
            ]
            acceptance = await accept.accept_batch(sender, emails, strict=True)
            ids[numbers.start] = acceptance.ids

    async with asyncio.TaskGroup() as loaders:
        for _ in range(_IN_FLIGHT):
            loaders.create_task(load_in_turn())
    return [id_ for batch in batches for id_ in ids[batch.start]]
