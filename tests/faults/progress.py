"""Says what an experiment is doing while it does it."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TextIO

_EVERY_S = 10.0


class Progress:
    """Lines that tell the experiment, the time since its start, and how far it is."""

    def __init__(self, stream: TextIO) -> None:
        """stream gets each line at once."""
        self._stream = stream
        self._name = ""
        self._started_s = time.monotonic()
        self._watched: list[Callable[[], str]] = []

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Speak of this experiment, and say every ten seconds what is watched."""
        self._name, self._started_s, self._watched = name, time.monotonic(), []
        self.say("begins")
        has_ended = threading.Event()
        ticker = threading.Thread(target=self._tick, args=(has_ended,), daemon=True)
        ticker.start()
        try:
            yield
        finally:
            has_ended.set()
            ticker.join()

    def watch(self, describe: Callable[[], str]) -> None:
        """Have something said, until the experiment ends."""
        self._watched.append(describe)

    def say(self, text: str) -> None:
        """One line."""
        self.show([f"{self._name} {time.monotonic() - self._started_s:4.0f} s: {text}"])

    def show(self, lines: Iterable[str]) -> None:
        """Lines as they are."""
        for line in lines:
            self._stream.write(f"{line}\n")
        self._stream.flush()

    def _tick(self, has_ended: threading.Event) -> None:
        while not has_ended.wait(_EVERY_S):
            try:
                found = [describe() for describe in [*self._watched]]
            except RuntimeError:
                # What is watched has ended just now.
                continue
            self.say("; ".join(found))
