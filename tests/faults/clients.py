"""Customers' programs that send at a steady pace and repeat with the same key until answered."""

import threading
import time
from collections import Counter, defaultdict
from concurrent.futures import Future, ThreadPoolExecutor
from uuid import UUID

import httpx

from tests.support.platform import Platform

_THREADS = 8
_TIMEOUT_S = 15.0
_PAUSE_S = 0.3
_GIVE_UP_AFTER_S = 180.0
# Every so often an answered request comes again, as from a client that lost the answer.
_REPEAT_EVERY = 10
_MAX_RECIPIENTS = 3


class Clients:
    """A stream of sends, each with an idempotency key of its own; number n goes out at n · pace."""

    def __init__(self, platform: Platform, name: str, count: int, duration_s: float) -> None:
        """name makes keys and recipients of this stream its own."""
        self.name = name
        self.count = count
        self.answers: defaultdict[int, set[UUID]] = defaultdict(set)
        """The ids of all positive answers to each send."""
        self.refusals: Counter[str] = Counter()
        """Answers and silences that a client takes for a reason to try again."""
        self._url = f"{platform.api_url}/emails"
        self._headers = {"authorization": f"Bearer {platform.tenant.live_key.token}"}
        self._sender = f"hello@{platform.tenant.domain}"
        self._duration_s = duration_s
        self._started_s = 0.0
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(_THREADS)
        self._running: list[Future[None]] = []
        self._ended = threading.Event()

    @property
    def planned_end_s(self) -> float:
        """When the last send goes out if nothing holds it up, on the monotonic clock."""
        return self._started_s + self._duration_s

    def start(self) -> None:
        """Begin to send."""
        self._started_s = time.monotonic()
        self._running = [self._threads.submit(self._send_every, n) for n in range(_THREADS)]
        self._threads.shutdown(wait=False)
        threading.Thread(target=self._note_end, daemon=True).start()

    def sending_for(self, seconds: float) -> bool:
        """Wait that long, less where all is sent before; True while there is more to send."""
        return not self._ended.wait(seconds)

    def finish(self) -> None:
        """Wait until every send has an answer; raises what went wrong in a client."""
        for thread in self._running:
            thread.result()

    def repeat_all(self) -> None:
        """Send everything once more, with the same keys."""
        with httpx.Client(timeout=_TIMEOUT_S, headers=self._headers) as client:
            for number in range(self.count):
                self._send(client, number)

    def recipients(self, number: int) -> list[str]:
        """Who gets a copy of send `number`; nobody gets two sends."""
        return [
            f"{self.name}-{number}-{position}@recipient.test"
            for position in range(1 + number % _MAX_RECIPIENTS)
        ]

    def _note_end(self) -> None:
        for thread in self._running:
            thread.exception()
        self._ended.set()

    def _send_every(self, first: int) -> None:
        with httpx.Client(timeout=_TIMEOUT_S, headers=self._headers) as client:
            for number in range(first, self.count, _THREADS):
                due_s = self._started_s + number * self._duration_s / self.count
                time.sleep(max(0.0, due_s - time.monotonic()))
                self._send(client, number)
                if number % _REPEAT_EVERY == 0:
                    self._send(client, number)

    def _send(self, client: httpx.Client, number: int) -> None:
        give_up_s = time.monotonic() + _GIVE_UP_AFTER_S
        while (refusal := self._try(client, number)) is not None:
            with self._lock:
                self.refusals[refusal] += 1
            assert time.monotonic() < give_up_s, f"send {number} was never accepted: {refusal}"
            time.sleep(_PAUSE_S)

    def _try(self, client: httpx.Client, number: int) -> str | None:
        request = {
            "from": self._sender,
            "to": self.recipients(number),
            "subject": f"{self.name} {number}",
            "text": f"Sample text of send {number}.",
        }
        key = {"idempotency-key": f"{self.name}-{number}"}
        try:
            answer = client.post(self._url, json=request, headers=key)
        except httpx.TransportError as error:
            return type(error).__name__
        if answer.is_success:
            with self._lock:
                self.answers[number].add(UUID(answer.json()["id"]))
            return None
        name = answer.json()["name"]
        assert answer.status_code >= 500 or name == "concurrent_idempotent_requests", answer.text
        return f"{answer.status_code} {name}"
