"""Sends sample emails: so many a second, and bursts on demand.

What could not be sent, for whatever reason, is counted and told. It is not sent again: the next
email is as good.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

import structlog

from tallypost_cli.demo.journal import Journal
from tallypost_cli.demo.samples import SampleEmail, SampleWriter
from tallypost_cli.demo.state import DEFAULT_RATE_PER_S, TrafficState
from tallypost_core.clock import monotonic_s
from tallypost_simulators.control_app import ControlRefused

Send = Callable[[str, Sequence[SampleEmail]], Awaitable[None]]
"""Sends emails, all or none, with a key; raises NotAccepted."""

_BATCH = 100
_BATCHES_IN_FLIGHT = 4
_IN_FLIGHT = 32
# Several of the largest bursts; more would only fill memory.
_MAX_WAITING = 20_000
_TICK_S = 0.05
_REPORT_EVERY_S = 5.0

log = structlog.get_logger()


class NotAccepted(Exception):
    """The API did not take emails; the text is a word or two that name the reason."""


class Traffic:
    """The demo's senders; `run` sends until it is cancelled.

    At most 32 emails of the steady traffic and 4 batches of bursts are under way at a time.
    """

    def __init__(self, send: Send, writer: SampleWriter, journal: Journal) -> None:
        self._send = send
        self._writer = writer
        self._journal = journal
        self._rate_per_s = DEFAULT_RATE_PER_S
        self._bursts: asyncio.Queue[int] = asyncio.Queue()
        self._waiting = 0
        self._under_way = 0
        self._accepted = 0
        self._failed = 0
        self._failures: Counter[str] = Counter()

    @property
    def state(self) -> TrafficState:
        """How much is sent, and was."""
        return TrafficState(
            rate_per_s=self._rate_per_s,
            is_on=self._rate_per_s > 0,
            accepted=self._accepted,
            failed=self._failed,
        )

    def set_rate(self, rate_per_s: float) -> None:
        """Send so many emails a second from now on."""
        self._rate_per_s = rate_per_s

    def burst(self, count: int) -> None:
        """Send emails as fast as they are taken, in batches.

        Raises ControlRefused while too many of earlier bursts still wait.
        """
        if self._waiting + count > _MAX_WAITING:
            raise ControlRefused(
                f"{self._waiting} emails of earlier bursts still wait to be accepted; try again "
                "in a few seconds."
            )
        self._waiting += count
        for start in range(0, count, _BATCH):
            self._bursts.put_nowait(min(_BATCH, count - start))

    def drop_waiting(self) -> None:
        """Forget what is left of the bursts; batches under way go on."""
        while not self._bursts.empty():
            self._waiting -= self._bursts.get_nowait()

    async def run(self) -> None:
        """Send until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._send_steadily(tasks))
            for _ in range(_BATCHES_IN_FLIGHT):
                tasks.create_task(self._send_bursts())
            tasks.create_task(self._report_failures())

    async def _send_steadily(self, tasks: asyncio.TaskGroup) -> None:
        due = 0.0
        before_s = monotonic_s()
        while True:
            await asyncio.sleep(_TICK_S)
            now_s = monotonic_s()
            # What an API that is away would have got is not made up for.
            due = min(due + self._rate_per_s * (now_s - before_s), max(1.0, self._rate_per_s))
            before_s = now_s
            while due >= 1 and self._under_way < _IN_FLIGHT:
                due -= 1
                self._under_way += 1
                tasks.create_task(self._send_one())

    async def _send_one(self) -> None:
        try:
            await self._try_to_send(1)
        finally:
            self._under_way -= 1

    async def _send_bursts(self) -> None:
        while True:
            count = await self._bursts.get()
            await self._try_to_send(count)
            self._waiting -= count

    async def _try_to_send(self, count: int) -> None:
        try:
            account = self._writer.choose_account()
            emails = [self._writer.write(account) for _ in range(count)]
            await self._send(account.key, emails)
        except NotAccepted as error:
            self._note_failure(str(error), count)
        except Exception as error:
            # The edge of these tasks: what nobody thought of must not end the traffic unseen.
            reason = f"an unexpected {type(error).__name__}, which is logged"
            if reason not in self._failures:
                log.exception("demo.traffic_failed")
            self._note_failure(reason, count)
        else:
            self._accepted += count

    def _note_failure(self, reason: str, count: int) -> None:
        self._failed += count
        self._failures[reason] += count

    async def _report_failures(self) -> None:
        while True:
            await asyncio.sleep(_REPORT_EVERY_S)
            for reason, count in self._failures.items():
                self._journal.note(f"{count} sample emails were not accepted: {reason}.")
            self._failures.clear()
