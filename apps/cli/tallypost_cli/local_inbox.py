"""`tallypost local-inbox`: the mail server that stands in for the outside world.

Takes whatever the worker delivers and keeps it for the Inbox of the tenant whose email it is.
Where the settings name a port for it, its faults can be turned while it runs.
"""

import asyncio
from collections.abc import Mapping

import structlog

from tallypost_cli.stand_ins import (
    control_of,
    inbox_pool,
    keep_message,
    serve_control,
    stop_on_signals,
)
from tallypost_core.settings.apps import LocalInboxSettings, load_or_exit
from tallypost_domain.db.pools import Pool
from tallypost_simulators.control_app import ControlApp
from tallypost_simulators.smtp_faults import Faults
from tallypost_simulators.smtp_knobs import smtp_board
from tallypost_simulators.smtp_reception import OnMessage, ReceivedMessage
from tallypost_simulators.smtp_sink import SMTPSink
from tallypost_telemetry import logging

log = structlog.get_logger()


def run(environ: Mapping[str, str]) -> None:
    """Serve SMTP until SIGTERM or SIGINT."""
    settings = load_or_exit(LocalInboxSettings, environ)
    logging.configure(settings.log, "local-inbox")
    faults, inbox = Faults(), settings.inbox
    control = control_of(
        smtp_board(faults), inbox.control_port, inbox.control_token, "TALLYPOST_INBOX_CONTROL_TOKEN"
    )
    asyncio.run(_serve(settings, faults, control))


def keeper(pool: Pool) -> OnMessage:
    """What keeps a message for the Inbox; pool logs in as tp_inbox."""

    async def keep(message: ReceivedMessage) -> None:
        # Any error that the sink does not know answers 451: the worker delivers again later.
        await keep_message(pool, message.envelope_sender, message.recipients, message.body)

    return keep


async def _serve(settings: LocalInboxSettings, faults: Faults, control: ControlApp | None) -> None:
    stop, inbox = stop_on_signals(), settings.inbox
    async with (
        inbox_pool(settings.database.inbox_url, "tallypost local-inbox") as pool,
        SMTPSink(keeper(pool), host=inbox.host, port=inbox.port, faults=faults) as sink,
    ):
        log.info("inbox.listening", host=inbox.host, port=sink.port)
        await serve_control(control, inbox.control_port, stop)
