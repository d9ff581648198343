"""The usual way to send mail from Python: a job in ARQ for each, EmailMessage, aiosmtplib.

The worker is `arq bench.peers.arq_app.Settings`; `python -m bench.peers.arq_app COUNT` enqueues.
"""

import asyncio
import os
import sys
from email.message import EmailMessage
from typing import Any, ClassVar

import aiosmtplib
from arq import create_pool
from arq.connections import RedisSettings

from bench import mail

CONCURRENCY = 50

URL_VARIABLE = "BENCH_ARQ_REDIS"
PORT_VARIABLE = "BENCH_ARQ_SMTP_PORT"

_HTML = mail.html()


async def send_mail(context: dict[str, Any], recipient: str, subject: str) -> None:
    """The job: build a message and hand it over on a kept connection."""
    message = EmailMessage()
    message["From"] = "hello@example.com"
    message["To"] = recipient
    message["Subject"] = subject
    message.set_content(_HTML, subtype="html")
    connections: asyncio.LifoQueue[aiosmtplib.SMTP] = context["connections"]
    client = await connections.get()
    try:
        if not client.is_connected:
            await client.connect()
        await client.send_message(message)
    finally:
        connections.put_nowait(client)


async def open_connections(context: dict[str, Any]) -> None:
    """Before the first job: one client for each that can run at once."""
    context["connections"] = asyncio.LifoQueue()
    port = int(os.environ[PORT_VARIABLE])
    for _ in range(CONCURRENCY):
        client = aiosmtplib.SMTP(hostname="127.0.0.1", port=port, use_tls=False, start_tls=False)
        context["connections"].put_nowait(client)


class Settings:
    """What `arq` reads."""

    functions: ClassVar = [send_mail]
    on_startup = open_connections
    max_jobs = CONCURRENCY
    keep_result = 0
    redis_settings = RedisSettings.from_dsn(os.environ.get(URL_VARIABLE, "redis://127.0.0.1"))


async def _enqueue(count: int) -> None:
    pool = await create_pool(Settings.redis_settings)
    for number in range(count):
        await pool.enqueue_job("send_mail", f"r{number}@example.net", f"Receipt {number}")
    await pool.aclose()


if __name__ == "__main__":
    asyncio.run(_enqueue(int(sys.argv[1])))
