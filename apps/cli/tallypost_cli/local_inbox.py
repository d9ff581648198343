"""`tallypost local-inbox`: the mail server that stands in for the outside world.

Takes whatever the worker delivers and keeps it for the Inbox of the tenant whose email it is.
"""

import asyncio
import signal
from collections.abc import Mapping

import structlog

from tallypost_core.settings.apps import LocalInboxSettings, load_or_exit
from tallypost_domain.db.pools import Pool, create_pool
from tallypost_domain.inbox.service import store_message
from tallypost_providers.errors import StoreOutcomeUnknown
from tallypost_simulators.smtp_reception import (
    MessageRefused,
    OnMessage,
    OutcomeUnknown,
    ReceivedMessage,
)
from tallypost_simulators.smtp_sink import SMTPSink
from tallypost_telemetry import logging

_POOL_SIZE = 4

log = structlog.get_logger()


def run(environ: Mapping[str, str]) -> None:
    """Serve SMTP until SIGTERM or SIGINT."""
    settings = load_or_exit(LocalInboxSettings, environ)
    logging.configure(settings.log, "local-inbox")

    asyncio.run(_serve(settings))


def keeper(pool: Pool) -> OnMessage:
    """What keeps a message for the Inbox; pool logs in as tp_inbox."""

    async def keep(message: ReceivedMessage) -> None:
        # Any other error answers 451, so that the worker delivers again later.
        try:
            is_kept = await store_message(
                pool,
                envelope_sender=message.envelope_sender,
                envelope_recipients=message.recipients,
                message=message.body,
            )
        except StoreOutcomeUnknown as error:
            raise OutcomeUnknown from error
        if not is_kept:
            log.warning("inbox.not_ours", size_bytes=len(message.body))
            raise MessageRefused("no email of this installation, or no readable header block")

    return keep


async def _serve(settings: LocalInboxSettings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    url = settings.database.inbox_url.reveal()
    pool = await create_pool(url, size=_POOL_SIZE, app="tallypost local-inbox")

    try:
        async with SMTPSink(
            keeper(pool), host=settings.inbox.host, port=settings.inbox.port
        ) as sink:
            log.info("inbox.listening", host=settings.inbox.host, port=sink.port)
            await stop.wait()
    finally:
        await pool.close()
