"""The processes that a run starts, each ended by its own id, whatever happens to the run."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from bench.errors import Failed
from tallypost_cli.environment import base_environment
from tallypost_cli.guard import Guard, Role

ROOT = Path(__file__).resolve().parents[1]
"""The checkout."""

_STOP_WITHIN_S = 20.0
_POLL_S = 0.02
_LOG_TAIL_LINES = 25


class Child:
    """One running process with its log; the leader of a process group of its own."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.process = process
        self._log = log

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def require_running(self) -> None:
        """Raise Failed, with the end of its log, where the process has ended."""
        if self.process.poll() is not None:
            raise Failed(f"{self.name} ended with {self.process.returncode}:\n{self.log_tail()}")

    def wait_until(self, is_ready: Callable[[], bool], *, within_s: float, what: str) -> None:
        """Return once something holds; raises Failed where it does not or the process ends."""
        deadline_s = time.monotonic() + within_s
        while not is_ready():
            self.require_running()
            if time.monotonic() > deadline_s:
                raise Failed(f"not within {within_s:g} s: {what}\n{self.log_tail()}")
            time.sleep(_POLL_S)

    def log_tail(self) -> str:
        """The last lines that it wrote."""
        return _tail(self._log)

    def stop(self, number: signal.Signals) -> None:
        """End it politely, then by force."""
        if self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(_STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()
        # What it started and left behind would go on working, and holding ports.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)


class Children:
    """Starts processes and sees to it that they end with the run, even with a killed one."""

    def __init__(self, folder: Path) -> None:
        """folder is for their logs and small files."""
        self.folder = folder
        self._guard = Guard()
        self._started = 0
        self._logs: dict[str, Path] = {}

    def close(self) -> None:
        """Dismiss the guard; nothing that was started may still run."""
        self._guard.dismiss()

    def log_tails(self, *prefixes: str) -> str:
        """The ends of the newest logs of everybody whose name begins so."""
        return "\n".join(
            f"{name}: {_tail(path)}"
            for name, path in self._logs.items()
            if name.startswith(prefixes)
        )

    @contextmanager
    def running(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
        role: Role = "app",
        stop_signal: signal.Signals = signal.SIGTERM,
        **options: Any,
    ) -> Iterator[Child]:
        """A process for as long as the block lasts; what it writes goes to its log.

        environment is all that it sees; None gives it what any program needs. options are
        further arguments of Popen, such as streams in the place of log and empty input.
        """
        self._started += 1
        path = self.folder / f"{self._started:03}-{name}.log"
        self._logs[name] = path
        with path.open("wb") as log:
            defaults: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            process: subprocess.Popen[bytes] = subprocess.Popen(
                [*command],
                env=dict(base_environment(os.environ) if environment is None else environment),
                cwd=cwd,
                start_new_session=True,
                **(defaults | options),
            )
        self._guard.watch(process.pid, role)
        child = Child(name, process, path)
        try:
            yield child
        finally:
            child.stop(stop_signal)
            self._guard.forget(process.pid)

    def ask(self, module: str, job: msgspec.Struct, *, within_s: float) -> bytes:
        """Run one of our modules to its end with a job as JSON; returns what it wrote.

        Raises Failed where it does not end well within the time.
        """
        with self.running(
            module.rpartition(".")[2],
            [sys.executable, "-m", module, msgspec.json.encode(job).decode()],
            stdout=subprocess.PIPE,
        ) as child:
            try:
                answer, _ = child.process.communicate(timeout=within_s)
            except subprocess.TimeoutExpired as error:
                raise Failed(f"{module} did not end within {within_s:g} s") from error
            if child.process.returncode != 0:
                raise Failed(f"{module} failed:\n{child.log_tail()}")
            return answer

    def run(
        self,
        name: str,
        command: Sequence[str],
        *,
        within_s: float,
        environment: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
    ) -> str:
        """Run any command to its end; returns what it wrote to standard output.

        Raises Failed where it does not end well within the time.
        """
        with self.running(
            name, command, environment=environment, cwd=cwd, stdout=subprocess.PIPE
        ) as child:
            try:
                answer, _ = child.process.communicate(timeout=within_s)
            except subprocess.TimeoutExpired as error:
                raise Failed(f"{name} did not end within {within_s:g} s") from error
            text: str = answer.decode(errors="replace")
            if child.process.returncode != 0:
                raise Failed(f"{name} failed:\n{text[-2000:]}\n{child.log_tail()}")
            return text


def _tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(lines[-_LOG_TAIL_LINES:])


def listens(port: int) -> bool:
    """True where somebody takes connections on a local port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def pss_mb(pids: Sequence[int]) -> float:
    """Memory of some processes in MB, shared pages counted in proportion (proc_pid_smaps(5)).

    Raises Failed where the system does not tell.
    """
    total_kb = 0
    for pid in pids:
        try:
            text = Path("/proc", str(pid), "smaps_rollup").read_text(encoding="ascii")
        except OSError as error:
            raise Failed(f"the memory of process {pid} cannot be read: {error}") from error
        total_kb += next(int(line.split()[1]) for line in text.splitlines() if "Pss:" in line)
    return total_kb * 1024 / 1e6


def cpu_s(pid: int) -> float:
    """Processor time of one process so far, in seconds (proc_pid_stat(5))."""
    try:
        text = Path("/proc", str(pid), "stat").read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise Failed(f"the time of process {pid} cannot be read: {error}") from error
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
