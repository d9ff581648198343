"""The message that goes on the wire: built, then signed, for many emails at once in threads."""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple
from weakref import WeakKeyDictionary

from tallypost_providers.dkim import signature_fields
from tallypost_providers.errors import EmailNotBuildable
from tallypost_providers.mime import write_message
from tallypost_providers.types import OutgoingEmail

DEFAULT_THREADS = 2

# An email of 10 kB takes 0.1 ms of Python and 0.25 ms of RSA; a trip to a thread and back takes
# about 0.1 ms. Eight emails make the trip cheap and do not wait long for each other.
_EMAILS_AT_ONCE = 8
_LARGE_BYTES = 256 * 1024


class _Order(NamedTuple):
    email: OutgoingEmail
    size_bytes: int
    message: "asyncio.Future[bytes]"


_renderers: "WeakKeyDictionary[asyncio.AbstractEventLoop, Renderer]" = WeakKeyDictionary()


def render(email: OutgoingEmail) -> bytes:
    """The email as signed MIME bytes, for providers that take raw MIME and do not sign.

    A pure function: the same email gives the same bytes in any process.
    Raises EmailNotBuildable, and its kind SigningKeyInvalid.
    """
    written = write_message(email)
    signatures = signature_fields(written.fields, written.body, email.dkim_keys, email.created_at)
    return b"".join((signatures, written.head, *written.body))


async def render_async(email: OutgoingEmail) -> bytes:
    """As `render`, in the threads of the running loop's own Renderer.

    Calls that are made at the same time share their trips to a thread.
    """
    loop = asyncio.get_running_loop()
    renderer = _renderers.get(loop)
    if renderer is None:
        renderer = _renderers[loop] = Renderer()
    return await renderer.render(email)


class Renderer:
    """Renders in a few threads, so that the event loop goes on and a second core signs.

    RSA, most of the work, runs without the interpreter's lock. Emails that wait go to a thread
    together, a large one goes alone, and where there are several threads one is left for small
    ones. Belongs to the event loop that calls it first.
    """

    def __init__(self, threads: int = DEFAULT_THREADS) -> None:
        """Starts no thread before the first email."""
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="render")
        self._idle_threads = threads
        self._large_at_most = max(1, threads - 1)
        self._large_at_work = 0
        self._large: deque[_Order] = deque()
        self._small: deque[_Order] = deque()
        self._is_turn_of_large = False
        self._is_dispatch_due = False
        self._is_closed = False

    async def render(self, email: OutgoingEmail) -> bytes:
        """One email; raises as the function `render` does."""
        return await self._order(email)

    async def render_many(self, emails: Sequence[OutgoingEmail]) -> list[bytes | EmailNotBuildable]:
        """A message for each email, in their order, or the reason why there is none."""
        outcomes = await asyncio.gather(*map(self._order, emails), return_exceptions=True)
        messages: list[bytes | EmailNotBuildable] = []
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not isinstance(outcome, EmailNotBuildable):
                raise outcome
            messages.append(outcome)
        return messages

    def close(self) -> None:
        """Give the threads back; emails that still wait are cancelled, later ones refused."""
        self._is_closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        for order in (*self._large, *self._small):
            order.message.cancel()

    def _order(self, email: OutgoingEmail) -> "asyncio.Future[bytes]":
        if self._is_closed:
            raise RuntimeError("the renderer is closed")
        loop = asyncio.get_running_loop()
        order = _Order(email, _size_bytes(email), loop.create_future())
        (self._large if order.size_bytes > _LARGE_BYTES else self._small).append(order)
        # Not at once: other tasks may add theirs in this turn of the loop.
        if not self._is_dispatch_due:
            self._is_dispatch_due = True
            loop.call_soon(self._dispatch)
        return order.message

    def _dispatch(self) -> None:
        self._is_dispatch_due = False
        loop = asyncio.get_running_loop()
        while self._idle_threads and (orders := self._take()):
            emails = [order.email for order in orders]
            try:
                work = loop.run_in_executor(self._pool, _render_each, emails)
            except RuntimeError as error:
                # The system gives no thread. Whoever waits must hear of it.
                _answer(orders, [error] * len(orders))
                continue
            is_large = orders[0].size_bytes > _LARGE_BYTES
            self._idle_threads -= 1
            self._large_at_work += is_large
            work.add_done_callback(partial(self._finish, orders, is_large))

    def _take(self) -> list[_Order]:
        """The next load for one thread; none where nothing waits that may go now."""
        _drop_cancelled(self._large)
        _drop_cancelled(self._small)
        may_be_large = bool(self._large) and self._large_at_work < self._large_at_most
        if may_be_large and (self._is_turn_of_large or not self._small):
            self._is_turn_of_large = False
            return [self._large.popleft()]
        self._is_turn_of_large = True
        orders: list[_Order] = []
        share = min(_EMAILS_AT_ONCE, -(-len(self._small) // self._idle_threads))
        size_bytes = 0
        while self._small and len(orders) < share and size_bytes <= _LARGE_BYTES:
            orders.append(self._small.popleft())
            size_bytes += orders[-1].size_bytes
        return orders

    def _finish(
        self,
        orders: Sequence[_Order],
        is_large: bool,
        work: "asyncio.Future[list[bytes | Exception]]",
    ) -> None:
        self._idle_threads += 1
        self._large_at_work -= is_large
        if work.cancelled():
            for order in orders:
                order.message.cancel()
            return
        _answer(orders, work.result())
        self._dispatch()


def _render_each(emails: Iterable[OutgoingEmail]) -> list[bytes | Exception]:
    outcomes: list[bytes | Exception] = []
    for email in emails:
        try:
            outcomes.append(render(email))
        # The wrapper around a task: whatever it is, it is the answer for this email alone, and
        # raised where that was asked for.
        except Exception as error:
            outcomes.append(error)
    return outcomes


def _answer(orders: Sequence[_Order], outcomes: Sequence[bytes | Exception]) -> None:
    for order, outcome in zip(orders, outcomes, strict=True):
        if order.message.done():
            continue  # Whoever asked gave up meanwhile.
        if isinstance(outcome, Exception):
            order.message.set_exception(outcome)
        else:
            order.message.set_result(outcome)


def _drop_cancelled(orders: deque[_Order]) -> None:
    while orders and orders[0].message.done():
        orders.popleft()


def _size_bytes(email: OutgoingEmail) -> int:
    attached = sum([len(attachment.body) for attachment in email.attachments])
    return attached + len(email.html or "") + len(email.text or "")
