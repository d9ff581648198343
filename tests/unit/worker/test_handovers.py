"""What a handover comes to when its worker ends, or when code that is not ours makes it."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest

from tallypost_providers.base import same_for_all
from tallypost_providers.errors import EmailNotBuildable, ProviderBusy
from tallypost_providers.inbox import InboxProvider
from tallypost_providers.types import Outcome, OutgoingEmail, Provider, SendResult
from tallypost_worker.handovers import Handovers
from tests.integration.worker.loops import FakeProvider
from tests.unit.providers.emails import make_email

Work = Callable[[], Awaitable[None]]


class Plugin(FakeProvider):
    """A provider of another distribution, which does some work before it says that all is well."""

    def __init__(self, work: Work) -> None:
        super().__init__()
        self._work = work

    async def send(self, email: OutgoingEmail, timeout_s: float) -> SendResult:
        await self._work()
        return same_for_all(email, Outcome.ACCEPTED, phase="final")


def plugin(work: Work) -> Provider:
    return Plugin(work)


def ours(work: Work) -> Provider:
    """The Inbox, whose store is told from outside what to do."""

    async def store(_email: OutgoingEmail, _message: bytes) -> None:
        await work()

    return InboxProvider(store)


async def cancels_a_task_of_its_own() -> None:
    task = asyncio.create_task(asyncio.Event().wait())
    task.cancel()
    await task


def raises(error: BaseException) -> Work:
    async def work() -> None:
        raise error

    return work


@pytest.mark.parametrize("make", [plugin, ours])
@pytest.mark.parametrize("work", [cancels_a_task_of_its_own, raises(SystemExit(1))])
async def test_code_that_would_end_its_task_or_the_process_has_said_nothing(
    make: Callable[[Work], Provider], work: Work
) -> None:
    result = await Handovers().hand_over(make(work), make_email(), 5.0)
    assert [entry.outcome for entry in result.recipients] == [Outcome.AMBIGUOUS]


@pytest.mark.parametrize("make", [plugin, ours])
async def test_worker_that_ends_ends_its_handovers_and_waits_until_they_have_tidied_up(
    make: Callable[[Work], Provider],
) -> None:
    begun, has_tidied_up = asyncio.Event(), asyncio.Event()

    async def works() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            has_tidied_up.set()

    handover = asyncio.create_task(Handovers().hand_over(make(works), make_email(), 60.0))
    await begun.wait()
    handover.cancel()
    with pytest.raises(asyncio.CancelledError):
        await handover
    assert has_tidied_up.is_set()


async def test_worker_that_ends_is_not_kept_by_a_plugin_that_will_not_end() -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def goes_on() -> None:
        begun.set()
        while not may_end.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await may_end.wait()

    handover = asyncio.create_task(Handovers().hand_over(Plugin(goes_on), make_email(), 60.0))
    await begun.wait()
    handover.cancel()
    with pytest.raises(asyncio.CancelledError):
        await handover
    may_end.set()


@pytest.mark.parametrize("error", [EmailNotBuildable(), ProviderBusy()])
async def test_what_says_that_nothing_has_left_is_heard_from_a_plugin_too(
    error: Exception,
) -> None:
    with pytest.raises(type(error)):
        await Handovers().hand_over(Plugin(raises(error)), make_email(), 5.0)
