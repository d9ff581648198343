"""Looks up the hosts that tenants chose, so that no tenant keeps the others from being looked up.

The system's resolver blocks a thread, and one that asks slow name servers cannot be called back.
So each owner has few threads at a time. A thread ends with its look-up, and none is waited for when
the process ends.
"""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Sequence
from functools import partial
from typing import Final
from weakref import WeakKeyDictionary, WeakValueDictionary

from tallypost_providers.errors import ProviderBusy
from tallypost_providers.places import Places
from tallypost_resilience.egress import LookUp

THREADS_OF_ONE_OWNER: Final = 4
"""For all of its accounts and checks together."""

THREADS: Final = 128
"""For all owners: it takes many at once, each with slow name servers, to fill them."""

# Whoever asks has given up by then: no connection may take as long to open.
_LONGEST_WAIT_S: Final = 60.0


def resolver_for(owner: str) -> LookUp:
    """The system's resolver, with the threads that one owner may have.

    A name that the owner has asked for already is not asked for twice. Whoever stops waiting gives
    up its turn, or leaves the look-up to those who still wait.
    """

    async def look_up(host: str) -> Sequence[str]:
        return await _of_this_loop().find(owner, host)

    return look_up


class _Resolver:
    """All look-ups of one loop; a process that serves tenants has one."""

    def __init__(self) -> None:
        self._threads = Places(THREADS)
        # An owner is kept by those who ask and by look-ups under way, and by nothing else.
        self._owners: WeakValueDictionary[str, _Owner] = WeakValueDictionary()

    async def find(self, owner: str, host: str) -> Sequence[str]:
        known = self._owners.get(owner)
        if known is None:
            known = self._owners[owner] = _Owner(self._threads)
        return await known.find(host)


class _Owner:
    """The look-ups of one owner."""

    def __init__(self, threads: Places) -> None:
        self._threads = threads
        self._turns = Places(THREADS_OF_ONE_OWNER)
        self._under_way: dict[str, asyncio.Future[Sequence[str]]] = {}

    async def find(self, host: str) -> Sequence[str]:
        answer = self._under_way.get(host)
        if answer is None:
            await self._take_thread()
            # Somebody else may have begun while this one waited.
            answer = self._under_way.get(host)
            if answer is None:
                answer = self._begin(host)
            else:
                self._give_thread_back()
        return await asyncio.shield(answer)

    async def _take_thread(self) -> None:
        try:
            await self._turns.take(_LONGEST_WAIT_S, is_bulk=False)
            try:
                await self._threads.take(_LONGEST_WAIT_S, is_bulk=False)
            except BaseException:
                self._turns.give_back()
                raise
        except ProviderBusy as error:
            raise TimeoutError from error

    def _give_thread_back(self) -> None:
        self._threads.give_back()
        self._turns.give_back()

    def _begin(self, host: str) -> asyncio.Future[Sequence[str]]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Sequence[str]] = loop.create_future()
        # A daemon: the process may end before the name servers have answered.
        thread = threading.Thread(
            target=_ask, args=(host, loop, answer), name="host-look-up", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:
            self._give_thread_back()
            raise OSError("no thread is left to look the host up") from error
        self._under_way[host] = answer
        answer.add_done_callback(partial(self._end, host))
        return answer

    def _end(self, host: str, answer: asyncio.Future[Sequence[str]]) -> None:
        del self._under_way[host]
        self._give_thread_back()
        if not answer.cancelled():
            # Told to whoever waits; all of them may be gone.
            answer.exception()


_resolvers: WeakKeyDictionary[asyncio.AbstractEventLoop, _Resolver] = WeakKeyDictionary()


def _of_this_loop() -> _Resolver:
    loop = asyncio.get_running_loop()
    known = _resolvers.get(loop)
    if known is None:
        known = _resolvers[loop] = _Resolver()
    return known


def _ask(host: str, loop: asyncio.AbstractEventLoop, answer: asyncio.Future[Sequence[str]]) -> None:
    """What a thread does."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except Exception as error:
        # The edge of this thread; whoever waits acts on it.
        tell = partial(_settle, answer, error)
    else:
        tell = partial(_settle, answer, [str(address[0]) for *_, address in found])
    # The loop may have ended, and with it whoever waited.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(tell)


def _settle(answer: asyncio.Future[Sequence[str]], outcome: "Sequence[str] | Exception") -> None:
    if answer.done():
        return
    if isinstance(outcome, Exception):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)
