"""What the programs that stand in for other mail systems share: the Inbox, and the knobs."""

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import structlog

from tallypost_core.settings import Secret
from tallypost_domain.db.pools import Pool, create_pool
from tallypost_domain.inbox.service import store_message
from tallypost_providers.errors import StoreOutcomeUnknown
from tallypost_simulators.control_app import ControlApp
from tallypost_simulators.fault_control import FaultBoard, KnobsT, fault_control
from tallypost_simulators.fault_list import FaultT
from tallypost_simulators.keeping import MessageRefused, OutcomeUnknown
from tallypost_telemetry import serving

_POOL_SIZE = 4

log = structlog.get_logger()


async def keep_message(
    pool: Pool, envelope_sender: str, envelope_recipients: Sequence[str], message: bytes
) -> None:
    """Keep a message for the Inbox of the tenant whose email it is; pool logs in as tp_inbox.

    Raises MessageRefused for one that is nobody's, OutcomeUnknown, or else anything: not kept now.
    """
    try:
        is_kept = await store_message(
            pool,
            envelope_sender=envelope_sender,
            envelope_recipients=envelope_recipients,
            message=message,
        )
    except StoreOutcomeUnknown as error:
        raise OutcomeUnknown from error
    if not is_kept:
        log.warning("inbox.not_ours", size_bytes=len(message))
        raise MessageRefused("no email of this installation, or no readable header block")


@asynccontextmanager
async def inbox_pool(url: Secret, app: str) -> AsyncIterator[Pool]:
    """Connections for `keep_message` as long as the block runs; app is their name."""
    pool = await create_pool(url.reveal(), size=_POOL_SIZE, app=app)
    try:
        yield pool
    finally:
        await pool.close()


def control_of(
    board: FaultBoard[KnobsT, FaultT], port: int, token: Secret | None, variable: str
) -> ControlApp | None:
    """The app that turns the knobs; None where the settings name no port for it.

    variable is that of the token. Exits, naming it, where it is missing.
    """
    if not port:
        return None
    if token is None:
        raise SystemExit(f"{variable.removesuffix('TOKEN')}PORT needs {variable}.")
    return fault_control(board, token.reveal())


async def serve_control(control: ControlApp | None, port: int, stop: asyncio.Event) -> None:
    """Serve the knobs until stop is set."""
    if control is None:
        await stop.wait()
    else:
        # Loopback whatever the simulator itself binds: whoever holds the token can stop all mail.
        await serving.serve(control, "127.0.0.1", port, stop)


def stop_on_signals() -> asyncio.Event:
    """An event that SIGTERM or SIGINT sets; of the running loop."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop
