"""A program of the product under a test: started again whenever it ends, as in production."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx

from tallypost_cli.guard import Guard
from tallypost_cli.supervisor import restart_delay_s

_READY_WITHIN_S = 60.0
_STOP_WITHIN_S = 20.0
_POLL_S = 0.05
# As the product's supervisor: who ran this long is not failing in a row.
_STEADY_AFTER_S = 30.0
_LOG_TAIL_LINES = 60


def wait_until(condition: Callable[[], object], *, within_s: float, what: str) -> None:
    """Return once a condition holds; fails after within_s seconds, which only bounds a hang."""
    deadline_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline_s, f"not within {within_s:g} s: {what}"
        time.sleep(_POLL_S)


class Program:
    """One program that is started again whenever it ends, until told to stop."""

    def __init__(
        self, name: str, module: str, environment: Mapping[str, str], port: int, folder: Path
    ) -> None:
        """port is where it answers health checks; its log goes to `folder`."""
        self.name = name
        self.log_path = folder / f"{name}.log"
        self.starts = 0
        """How often a process of it was started so far."""
        self._command = [sys.executable, "-P", "-m", module]
        self._environment = dict(environment)
        self._port = port
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._is_killed = False
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: Guard | None = None
        self._keeper: threading.Thread | None = None

    def start(self) -> None:
        """Start the program and keep it running; `wait_until_ready` tells when it answers."""
        self._stopping.clear()
        self._guard = Guard()
        self._keeper = threading.Thread(
            target=self._keep_running, args=(self._guard,), name=self.name, daemon=True
        )
        self._keeper.start()

    def wait_until_ready(self) -> None:
        """Return once its health check is positive."""
        wait_until(self.is_ready, within_s=_READY_WITHIN_S, what=f"{self.name} is ready")

    def is_ready(self) -> bool:
        """True where its health check is positive."""
        try:
            answer = httpx.get(f"http://127.0.0.1:{self._port}/health/ready", timeout=5)
        except httpx.TransportError:
            return False
        return answer.status_code == 200

    def kill(self) -> bool:
        """End its present process with SIGKILL and return once it is gone; False without one.

        It starts again at once, however often: that is no failure of its own.
        """
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                return False
            self._is_killed = True
            self._process.kill()
            self._process.wait()
            return True

    def restart(self) -> None:
        """End its present process in the usual way; it starts again by itself."""
        with self._lock:
            if self._process is not None:
                self._process.terminate()
                self._process.wait(_STOP_WITHIN_S)

    def freeze(self) -> None:
        """Let its present process do nothing, until `thaw`."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen process go on, as if no time had passed."""
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it in the usual way, for good or until the next `start`."""
        if self._keeper is None or self._guard is None:
            return
        with self._lock:
            self._stopping.set()
            if self._process is not None and self._process.poll() is None:
                self._process.terminate()
                self._process.send_signal(signal.SIGCONT)
        self._keeper.join(_STOP_WITHIN_S)
        if self._keeper.is_alive():
            self.kill()
            self._keeper.join()
        self._guard.dismiss()
        self._keeper = self._guard = None

    def log_tail(self) -> str:
        """The last lines that it wrote."""
        if not self.log_path.exists():
            return ""
        lines = self.log_path.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-_LOG_TAIL_LINES:])

    def _signal(self, number: signal.Signals) -> None:
        with self._lock:
            assert self._process is not None, f"{self.name} was not started"
            os.kill(self._process.pid, number)

    def _keep_running(self, guard: Guard) -> None:
        failures = 0
        while True:
            started_s = time.monotonic()
            process = self._spawn(guard)
            if process is None:
                return
            process.wait()
            guard.forget(process.pid)
            is_steady = time.monotonic() - started_s > _STEADY_AFTER_S
            failures = 1 if is_steady or self._is_killed else failures + 1
            self._is_killed = False
            self._stopping.wait(restart_delay_s(failures))

    def _spawn(self, guard: Guard) -> subprocess.Popen[bytes] | None:
        with self._lock, self.log_path.open("ab") as log:
            if self._stopping.is_set():
                return None
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            self.starts += 1
            # Should the test itself be killed, nobody else would end this process.
            guard.watch(self._process.pid, "app")
            return self._process
