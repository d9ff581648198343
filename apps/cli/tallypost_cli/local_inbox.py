"""`tallypost local-inbox`: the mail server that stands in for the outside world.

Takes whatever the worker delivers and keeps it for the Inbox of the tenant whose email it is.
Where the settings name a port for it, its faults can be turned while it runs.
"""

import asyncio
import signal
from collections.abc import Mapping

import structlog

from tallypost_core.settings.apps import LocalInboxSettings, load_or_exit
from tallypost_core.settings.groups import LocalSMTPSettings
from tallypost_domain.db.pools import Pool, create_pool
from tallypost_domain.inbox.service import store_message
from tallypost_providers.errors import StoreOutcomeUnknown
from tallypost_simulators.fault_control import fault_control
from tallypost_simulators.smtp_faults import Faults
from tallypost_simulators.smtp_knobs import SMTPKnobs
from tallypost_simulators.smtp_reception import (
    MessageRefused,
    OnMessage,
    OutcomeUnknown,
    ReceivedMessage,
)
from tallypost_simulators.smtp_sink import SMTPSink
from tallypost_telemetry import logging, serving

_POOL_SIZE = 4

log = structlog.get_logger()


def run(environ: Mapping[str, str]) -> None:
    """Serve SMTP until SIGTERM or SIGINT."""
    settings = load_or_exit(LocalInboxSettings, environ)
    logging.configure(settings.log, "local-inbox")
    if settings.inbox.control_port and settings.inbox.control_token is None:
        raise SystemExit("TALLYPOST_INBOX_CONTROL_PORT needs TALLYPOST_INBOX_CONTROL_TOKEN.")

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

    faults = Faults()
    try:
        async with (
            SMTPSink(
                keeper(pool), host=settings.inbox.host, port=settings.inbox.port, faults=faults
            ) as sink,
            asyncio.TaskGroup() as tasks,
        ):
            log.info("inbox.listening", host=settings.inbox.host, port=sink.port)
            tasks.create_task(_serve_control(settings.inbox, faults, stop))
            await stop.wait()
    finally:
        await pool.close()


async def _serve_control(settings: LocalSMTPSettings, faults: Faults, stop: asyncio.Event) -> None:
    if not settings.control_port or settings.control_token is None:
        return
    app = fault_control(SMTPKnobs(faults), settings.control_token.reveal())
    # Loopback whatever the sink itself binds: whoever holds the token can stop all mail.
    await serving.serve(app, "127.0.0.1", settings.control_port, stop)
