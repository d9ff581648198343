"""One handover, at the edge to code that may be a plugin's: it gets an answer, and in time.

A provider of another distribution is asked in a task of its own, which costs 15 to 25 microseconds.
A timeout around the call costs 6; but it bounds no code that passes over a cancellation, and code
that cancels the task which it runs in would end a delivery. Providers of ours are asked without
either: the contract suite holds them to their time.
"""

import asyncio
from typing import Final

import structlog

from tallypost_providers.base import same_for_all
from tallypost_providers.errors import EmailNotBuildable, ProviderBusy
from tallypost_providers.types import Outcome, OutgoingEmail, Provider, SendResult
from tallypost_worker.settlements import storable

GRACE_S: Final = 1.0
"""How far a provider may overrun its time. It is less than `heartbeat.LEASE_MARGIN_S`, so that what
came of it can still be recorded."""

_OURS = "tallypost_providers"

log = structlog.get_logger()


class Handovers:
    """The handovers of a worker process."""

    def __init__(self) -> None:
        # A loop holds its tasks by weak references only.
        self._left_alone: set[asyncio.Task[SendResult]] = set()

    async def hand_over(
        self, provider: Provider, outgoing: OutgoingEmail, timeout_s: float
    ) -> SendResult:
        """What the provider says; raises only what says that nothing has left.

        One that breaks, or does not come back in time, has said nothing, which is AMBIGUOUS.
        """
        if _is_ours(provider):
            return await _ask(provider, outgoing, timeout_s)
        call = asyncio.create_task(_ask(provider, outgoing, timeout_s))
        bound_s = timeout_s + GRACE_S
        try:
            await asyncio.wait((call,), timeout=bound_s)
        except asyncio.CancelledError:
            self._leave_alone(call)
            # It tidies up before others close what it uses.
            await asyncio.wait((call,), timeout=GRACE_S)
            raise
        if not call.done():
            self._leave_alone(call)
            log.error("delivery.provider_overran", provider=provider.name, bound_s=bound_s)
            return same_for_all(
                outgoing,
                Outcome.AMBIGUOUS,
                phase="overrun",
                detail="the provider did not come back in time and was left alone",
                evidence={"waited_s": f"{bound_s:.1f}"},
            )
        if call.cancelled():
            # By its own code: nobody else knows it.
            return _crashed(provider, outgoing, None)
        return call.result()

    def _leave_alone(self, call: asyncio.Task[SendResult]) -> None:
        """End a call, or at least hear nothing more of it: it may pass over being cancelled."""
        self._left_alone.add(call)
        call.add_done_callback(self._forget)
        call.cancel()

    def _forget(self, call: asyncio.Task[SendResult]) -> None:
        self._left_alone.discard(call)
        if not call.cancelled():
            # Looked at, so that asyncio does not log it with all that it says.
            call.exception()


def is_cancellation(error: BaseException) -> bool:
    """Whether the task that runs is being cancelled and this is how it hears of it.

    A CancelledError may also come out of a call that waited for something which was cancelled.
    """
    task = asyncio.current_task()
    is_asked_to_end = task is not None and task.cancelling() > 0
    return isinstance(error, asyncio.CancelledError) and is_asked_to_end


async def _ask(provider: Provider, outgoing: OutgoingEmail, timeout_s: float) -> SendResult:
    try:
        return storable(await provider.send(outgoing, timeout_s), outgoing)
    except (EmailNotBuildable, ProviderBusy):
        raise
    except (Exception, SystemExit, asyncio.CancelledError) as error:
        if is_cancellation(error):
            raise
        return _crashed(provider, outgoing, error)


def _crashed(
    provider: Provider, outgoing: OutgoingEmail, error: BaseException | None
) -> SendResult:
    # What it did before it broke is unknown.
    log.error("delivery.provider_crashed", provider=provider.name, exc_info=error)
    return same_for_all(outgoing, Outcome.AMBIGUOUS, phase="crashed")


def _is_ours(provider: Provider) -> bool:
    return type(provider).__module__.partition(".")[0] == _OURS
