"""Starts processes that accept the same requests at the same time."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.database import Database, SeededTenant

_ROOT = Path(__file__).resolve().parents[3]
_WITHIN_S = 120.0


class Racer:
    """One process; see `racer`."""

    def __init__(self, job: dict[str, object]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.emails.racer", json.dumps(job)],
            cwd=_ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )

    def answers(self) -> dict[str, str]:
        """What came of each request, once the process has ended: an id, or the code of an error."""
        output, _ = self._process.communicate(timeout=_WITHIN_S)
        assert self._process.returncode == 0
        # Above it stands what was logged.
        answers: dict[str, str] = json.loads(output.splitlines()[-1])
        return answers

    def kill(self) -> None:
        """End it as a crash would, if it has not ended."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


@contextmanager
def racing(
    database: Database,
    folder: Path,
    tenants: Sequence[SeededTenant],
    keys: Sequence[str | None],
    *,
    processes: int,
) -> Iterator[list[Racer]]:
    """Processes that each accept an email for each tenant and key, in an order of their own."""
    racers = [
        Racer(
            {
                "accept_url": database.url("tp_accept"),
                "api_url": database.url("tp_api"),
                "folder": str(folder),
                "seed": seed,
                "tenants": [[str(t.id), str(t.live_key.id), t.domain] for t in tenants],
                "keys": list(keys),
            }
        )
        for seed in range(processes)
    ]
    try:
        yield racers
    finally:
        for racer in racers:
            racer.kill()
