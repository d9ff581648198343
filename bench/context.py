"""What every part works with."""

import time
from collections.abc import Iterator
from pathlib import Path

from bench.children import Children
from bench.machine import Memory
from bench.platform import Cluster
from bench.rounds import Rounds
from bench.scales import Scale


class Progress:
    """Tells a person what is under way, one line each, with the time since the start."""

    def __init__(self) -> None:
        self._started_s = time.monotonic()

    def say(self, text: str) -> None:
        """Print a line at once."""
        for line in text.splitlines():
            print(f"[{time.monotonic() - self._started_s:7.1f} s] {line}", flush=True)


class Context:
    """One run: its scale, its servers, its folder."""

    def __init__(
        self, scale: Scale, cluster: Cluster, children: Children, progress: Progress, cache: Path
    ) -> None:
        """cache is where other mail systems are installed."""
        self.scale = scale
        self.cluster = cluster
        self.children = children
        self.progress = progress
        self.cache = cache
        self.memory = Memory()

    @property
    def folder(self) -> Path:
        """For what the run leaves lying about until its end."""
        return self.children.folder

    def say(self, text: str) -> None:
        """Tell a person what is under way."""
        self.progress.say(text)

    def report(self, part: str, rounds: Rounds) -> None:
        """Tell a person all that a part measured."""
        for text in rounds.describe():
            self.say(f"{part}: {text}")

    def rounds(self, part: str) -> Iterator[int]:
        """The numbers of the rounds, each announced as it begins."""
        for number in range(1, self.scale.rounds + 1):
            step_ns = self.memory.walk()
            self.say(f"{part}: round {number} of {self.scale.rounds}, memory {step_ns:.1f}ns")
            yield number
