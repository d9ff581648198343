"""Customers' programs: they send at a steady pace and repeat with the same key until answered."""

import asyncio
import math
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import aiohttp
from msgspec import Struct

from tests.faults.plans import Plan
from tests.support.side_process import Answers

_IN_FLIGHT = 32
_TIMEOUT_S = 15.0
_PAUSE_S = 0.3
# After the last send was due.
_GIVE_UP_AFTER_S = 120.0
# Every so often an answered request comes again, as from a client that lost the answer.
_REPEAT_EVERY = 10


class Request(Struct, frozen=True):
    """One request and what came of it."""

    number: int
    began_s: float
    """On the monotonic clock."""
    took_s: float
    status: int
    """0 where no answer came."""


class Report(Struct):
    """What the clients saw."""

    ids: defaultdict[int, set[str]]
    """The ids of all positive answers to each send."""
    requests: list[Request]
    refusals: Counter[str]
    """Answers and silences that a client takes for a reason to try again."""
    unhelpful: Counter[str]
    """Answers that do not tell a client what to do: neither positive, nor 503 with Retry-After,
    nor that the same request is under way."""
    unanswered: int
    """Sends that nobody acknowledged in all the time."""


class _Clients:
    def __init__(self, plan: Plan, url: str, duration_s: float) -> None:
        self._plan = plan
        self._url = url
        self._duration_s = duration_s
        self._next = 0
        self._give_up_s = math.inf
        self.report = Report(defaultdict(set), [], Counter(), Counter(), 0)

    async def send_all(self, http: aiohttp.ClientSession, started_s: float) -> None:
        self._give_up_s = started_s + self._duration_s + _GIVE_UP_AFTER_S
        async with asyncio.TaskGroup() as senders:
            for _ in range(_IN_FLIGHT):
                senders.create_task(self._send_in_turn(http, started_s))

    async def repeat(self, http: aiohttp.ClientSession, numbers: Sequence[int]) -> None:
        self._give_up_s = time.monotonic() + _GIVE_UP_AFTER_S
        for number in numbers:
            await self._send(http, number)

    async def _send_in_turn(self, http: aiohttp.ClientSession, started_s: float) -> None:
        while (number := self._next) < self._plan.count:
            self._next += 1
            due_s = started_s + number * self._duration_s / self._plan.count
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            await self._send(http, number)
            if number % _REPEAT_EVERY == 0:
                await self._send(http, number)

    async def _send(self, http: aiohttp.ClientSession, number: int) -> None:
        while (refusal := await self._try(http, number)) is not None:
            self.report.refusals[refusal] += 1
            if time.monotonic() > self._give_up_s:
                self.report.unanswered += 1
                return
            await asyncio.sleep(_PAUSE_S)

    async def _try(self, http: aiohttp.ClientSession, number: int) -> str | None:
        began_s, status, answer, has_advice = time.monotonic(), 0, {}, False
        try:
            async with http.post(
                self._url,
                json=self._plan.request(number),
                headers={"idempotency-key": self._plan.key(number)},
            ) as response:
                answer = await response.json()
                # Only a whole answer is one.
                status, has_advice = response.status, "retry-after" in response.headers
        except (aiohttp.ClientError, TimeoutError) as error:
            return type(error).__name__
        finally:
            took_s = time.monotonic() - began_s
            self.report.requests.append(Request(number, began_s, took_s, status))
        if status < 300:
            self.report.ids[number].add(answer["id"])
            return None
        refusal = f"{status} {answer['name']}"
        is_under_way = answer["name"] == "concurrent_idempotent_requests"
        if not is_under_way and not (status == 503 and has_advice):
            self.report.unhelpful[refusal] += 1
        return refusal


@asynccontextmanager
async def serve(plan: Plan, url: str, duration_s: float) -> AsyncIterator[Answers]:
    """Send from the first question on; the last send goes out after duration_s seconds."""
    clients = _Clients(plan, url, duration_s)
    async with aiohttp.ClientSession(
        headers={"authorization": f"Bearer {plan.tenant.live_key.token}"},
        timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S),
        connector=aiohttp.TCPConnector(limit=_IN_FLIGHT),
    ) as http:
        sending: list[asyncio.Task[None]] = []

        def start() -> float:
            started_s = time.monotonic()
            sending.append(asyncio.create_task(clients.send_all(http, started_s)))
            return started_s

        async def finish() -> Report:
            await sending[0]
            return clients.report

        async def repeat(numbers: Sequence[int]) -> Report:
            await clients.repeat(http, numbers)
            return clients.report

        yield {
            "start": start,
            "accepted": lambda: len(clients.report.ids),
            "refusals": lambda: clients.report.refusals,
            "has_ended": lambda: sending[0].done(),
            "finish": finish,
            "repeat": repeat,
        }
