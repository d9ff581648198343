"""One of several processes that accept the same requests at the same time.

`python -m tests.integration.emails.racer JOB` accepts one email for each tenant and key, or `count`
without keys for each tenant, all at once, and prints what came of each as JSON.
"""

import asyncio
import json
import random
import sys
from pathlib import Path
from uuid import UUID

import msgspec
from msgspec import Struct

from tallypost_core.errors import AppError
from tallypost_core.object_store import FolderStore
from tallypost_domain.db.pools import create_pool
from tallypost_domain.db.sessions import create_engine, create_session_maker
from tallypost_domain.emails.accept import DEFAULT_LIMITS, Acceptor
from tallypost_domain.emails.types import Idempotency, Sender
from tests.support.database import PEPPERS
from tests.support.emails import new_email


class Job(Struct, frozen=True):
    """What to do."""

    accept_url: str
    api_url: str
    folder: str
    seed: int
    tenants: list[tuple[str, str, str]]
    """Tenant, API key and domain."""
    keys: list[str | None]


async def race(job: Job) -> dict[str, str]:
    """The answers, by tenant and key, or by number where there are no keys."""
    pool = await create_pool(job.accept_url, size=DEFAULT_LIMITS.connections, app="racer")
    engine = create_engine(job.api_url, app="racer")
    accept = Acceptor(pool, create_session_maker(engine), FolderStore(Path(job.folder)), PEPPERS)

    async def ask(tenant: tuple[str, str, str], key: str | None) -> str:
        sender = Sender(UUID(tenant[0]), UUID(tenant[1]), "live", None)
        idempotency = Idempotency("POST /emails", key, b"a" * 32) if key is not None else None
        try:
            answer = await accept.accept(sender, new_email(from_=f"hello@{tenant[2]}"), idempotency)
        except AppError as error:
            return error.code
        return str(answer.ids[0])

    questions = [(tenant, key) for tenant in job.tenants for key in job.keys]
    random.Random(job.seed).shuffle(questions)  # noqa: S311 - an order, not a secret.
    answers = await asyncio.gather(*(ask(*question) for question in questions))
    await accept.close()
    await pool.close()
    await engine.dispose()
    return {
        f"{tenant[0]} {key if key is not None else f'{job.seed}-{number}'}": answer
        for number, ((tenant, key), answer) in enumerate(zip(questions, answers, strict=True))
    }


def main() -> None:
    """Do the job of the first argument."""
    job = msgspec.json.decode(sys.argv[1], type=Job)
    sys.stdout.write(json.dumps(asyncio.run(race(job))))


if __name__ == "__main__":
    main()
