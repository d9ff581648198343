"""Checks an SMTP relay: opens one session as a handover does, and tells how far it went."""

import asyncio
import socket
from collections.abc import Awaitable, Callable

from tallypost_core.settings.providers import SMTPSettings
from tallypost_providers.account_checks import CheckList, CheckStep, Watch
from tallypost_providers.smtp_connection import SMTPConnection
from tallypost_providers.smtp_deadlines import Budget
from tallypost_providers.smtp_failures import HandoverStopped, Reply, Silence
from tallypost_providers.smtp_guard import LOOK_UP, HostGuard
from tallypost_providers.smtp_opening import list_steps

Open = Callable[[Budget, Watch], Awaitable[SMTPConnection]]


async def check_relay(
    open_session: Open, settings: SMTPSettings, host: str, guard: HostGuard | None, timeout_s: float
) -> tuple[CheckStep, ...]:
    """The steps of opening a session; a relay without TLS or login has no step for that."""
    steps = CheckList((LOOK_UP, *list_steps(settings)))
    budget = Budget(timeout_s)
    try:
        if guard is None:
            # A guard takes this step by itself.
            await _look_up(host, settings.port, budget)
            steps.pass_(LOOK_UP)
        connection = await open_session(budget, steps.pass_)
    except HandoverStopped as stop:
        return steps.fail(_describe(stop))
    await _take_leave(connection, budget)
    return steps.result()


async def _look_up(host: str, port: int, budget: Budget) -> None:
    try:
        async with asyncio.timeout(budget.left_s("connect")):
            await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except TimeoutError as error:
        note = "the host's name was not answered for in time"
        raise HandoverStopped("connect", Silence.TIMEOUT, note) from error
    except OSError as error:
        note = "the host's name has no address"
        raise HandoverStopped("connect", Silence.REFUSED, note) from error


async def _take_leave(connection: SMTPConnection, budget: Budget) -> None:
    try:
        async with asyncio.timeout(budget.left_s("final")):
            await connection.quit()
    except TimeoutError:
        # Everything is known; `quit` has hung up on its way out.
        pass


def _describe(stop: HandoverStopped) -> str:
    if isinstance(stop.signal, Reply):
        return f"{stop.signal.code} {stop.signal.text}"
    return stop.note
