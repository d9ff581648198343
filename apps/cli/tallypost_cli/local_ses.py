"""`tallypost local-ses`: an Amazon SES on this machine, for the demo.

What it takes is kept for the Inbox, as the local mail server keeps it: as recipients would get it,
but for the signature. Where the settings name a port for it, its faults can be turned while it
runs.
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
from tallypost_core.settings.apps import LocalSESSettings, load_or_exit
from tallypost_domain.db.pools import Pool
from tallypost_simulators.control_app import ControlApp
from tallypost_simulators.http_faults import HTTPFaults
from tallypost_simulators.ses_account import SESAccount
from tallypost_simulators.ses_knobs import ses_board
from tallypost_simulators.ses_messages import TakenMessage
from tallypost_simulators.ses_simulator import OnMessage, SESSimulator
from tallypost_telemetry import logging

log = structlog.get_logger()


def run(environ: Mapping[str, str]) -> None:
    """Serve the API of SES until SIGTERM or SIGINT."""
    settings = load_or_exit(LocalSESSettings, environ)
    logging.configure(settings.log, "local-ses")
    faults, ses = HTTPFaults(), settings.local_ses
    control = control_of(
        ses_board(faults), ses.control_port, ses.control_token, "TALLYPOST_LOCAL_SES_CONTROL_TOKEN"
    )
    asyncio.run(_serve(settings, faults, control))


def keeper(pool: Pool) -> OnMessage:
    """What keeps a message for the Inbox; pool logs in as tp_inbox."""

    async def keep(message: TakenMessage) -> None:
        await keep_message(
            pool, message.envelope_sender, message.recipients, message.as_delivered()
        )

    return keep


async def _serve(
    settings: LocalSESSettings, faults: HTTPFaults, control: ControlApp | None
) -> None:
    stop, ses = stop_on_signals(), settings.local_ses
    async with (
        inbox_pool(settings.database.inbox_url, "tallypost local-ses") as pool,
        SESSimulator(_account(ses.domains), faults=faults, on_message=keeper(pool), port=ses.port),
    ):
        log.info("ses.listening", port=ses.port)
        await serve_control(control, ses.control_port, stop)


def _account(domains: tuple[str, ...]) -> SESAccount:
    account = SESAccount()
    # A demo that runs for hours sends more than a new account may.
    account.max_24_hour_send = -1
    for domain in domains:
        account.add_domain(domain)
    return account
