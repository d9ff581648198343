"""Keeps programs running: starts them, restarts those that end, stops them in order.

Every child leads a session of its own, so a Ctrl-C at the terminal reaches the supervisor
alone and the order of stopping is the supervisor's to choose. Children are enrolled with a
guard process that stops them should the supervisor be killed (see guard.py). There are no
threads here: children enrol themselves between fork and exec, which threads would make unsafe.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Callable

from tallypost_cli.child_logs import ChildLogs
from tallypost_cli.errors import StartUpError
from tallypost_cli.guard import Guard, Role
from tallypost_cli.programs import Program
from tallypost_core.clock import monotonic_s

Say = Callable[[str], None]

FIRST_START_ATTEMPTS = 3

_RESTART_DELAYS_S = (0.2, 0.5, 1.0, 2.0, 5.0)
# A child that ran this long starts the back-off anew.
_STEADY_AFTER_S = 30.0
_READY_POLL_S = 0.1
# A person who waits hears of it this often.
_WORD_EVERY_S = 15.0
_HOUSEKEEPING_S = 1.0
_CRASH_DEADLINE_S = 5.0


def restart_delay_s(failures: int) -> float:
    """Seconds to wait before a restart; failures counts the ends in a row and starts at 1."""
    return _RESTART_DELAYS_S[min(failures, len(_RESTART_DELAYS_S)) - 1]


def describe_end(return_code: int) -> str:
    """How a process ended, in words; a negative code is the number of a signal."""
    if return_code >= 0:
        return f"exited with code {return_code}"
    with contextlib.suppress(ValueError):
        return f"was killed by {signal.Signals(-return_code).name}"
    return f"was killed by signal {-return_code}"


class Supervisor:
    """Runs programs until told to stop: `start` as often as needed, `stop` by role, `close`.

    Lives in the main thread, whose SIGCHLD it handles.
    """

    def __init__(self, logs: ChildLogs, say: Say, lock_fd: int | None = None) -> None:
        """say is called with one line for a person; lock_fd is handed to the guard."""
        self._logs = logs
        self._say = say
        self._lock_fd = lock_fd
        self._guard = Guard(lock_fd)
        self._children: list[_Child] = []
        self._housekeeping = asyncio.create_task(self._keep_house(), name="housekeeping")
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self._note_ended)

    async def start(self, programs: list[Program], deadline_s: float) -> None:
        """Start programs side by side and return when every one of them is ready.

        From then on each is restarted when it ends. Raises StartUpError, with the last lines of
        a program's log, where one ends repeatedly before it is ready or the time is up.
        """
        children = [_Child(program) for program in programs]
        self._children += children
        for child in children:
            self._logs.rotate(child.name)
            child.task = asyncio.create_task(self._keep_running(child), name=child.name)
        outcomes = [child.outcome for child in children]
        try:
            for outcome in asyncio.as_completed(outcomes, timeout=deadline_s):
                if (failure := await outcome) is not None:
                    raise StartUpError(failure)
        except TimeoutError:
            raise StartUpError(self._describe_unready(children, deadline_s)) from None

    async def run(self, program: Program, deadline_s: float) -> None:
        """Run a program that ends by itself, such as a migration.

        Raises StartUpError, with the last lines of its log, where it fails or the time is up.
        """
        child = _Child(program)
        self._logs.rotate(child.name)
        self._children.append(child)
        try:
            async with asyncio.timeout(deadline_s):
                end = await self._run_once(child)
        except TimeoutError:
            end = f"was not done after {deadline_s:g} s"
        finally:
            self._children.remove(child)
            if child.process is not None and child.is_running():
                _signal_group(child.pid, signal.SIGKILL)
                child.process.wait()
                self._guard.forget(child.pid)
        if end != describe_end(0):
            raise StartUpError("\n".join([f"{child.name} {end}:", *self._logs.tail(child.name)]))

    async def stop(self, role: Role) -> None:
        """Stop all programs of a role, side by side; returns when they are gone."""
        children = [child for child in self._children if child.program.role == role]
        for child in children:
            child.is_stopping.set()
        await asyncio.gather(*(self._end(child) for child in children))
        for child in children:
            if child.task is not None:
                await child.task
            self._children.remove(child)

    def list_ready(self) -> list[str]:
        """Names of the programs that run and answered that they are ready."""
        return [child.name for child in self._children if child.was_ready and child.is_running()]

    async def crash(self, name: str) -> None:
        """Kill a program and see it gone; like any that ends, it is started again."""
        for child in self._children:
            if child.name == name and child.is_running():
                _signal_group(child.pid, signal.SIGKILL)
                await _wait(child.has_ended, _CRASH_DEADLINE_S)

    def hurry(self) -> None:
        """Kill the apps that `stop` is still waiting for; the databases keep their time."""
        for child in self._children:
            if child.program.role == "app" and child.is_running():
                _signal_group(child.pid, signal.SIGKILL)

    async def close(self) -> None:
        """Dismiss the guard. Call it when all programs are stopped."""
        asyncio.get_running_loop().remove_signal_handler(signal.SIGCHLD)
        self._housekeeping.cancel()
        await asyncio.gather(self._housekeeping, return_exceptions=True)
        self._guard.dismiss()

    async def _keep_running(self, child: "_Child") -> None:
        failures = 0
        while not child.is_stopping.is_set():
            started_s = monotonic_s()
            mark = self._logs.size(child.name)
            end = await self._run_once(child)
            if child.is_stopping.is_set():
                return
            failures = 1 if monotonic_s() - started_s > _STEADY_AFTER_S else failures + 1
            tail = [] if child.was_ready else self._logs.tail(child.name, since=mark)
            log = self._logs.path(child.name)
            if not child.outcome.done() and failures >= FIRST_START_ATTEMPTS:
                child.outcome.set_result("\n".join([f"{child.name} {end}; {log} ends:", *tail]))
                return
            delay_s = restart_delay_s(failures)
            self._say(f"{child.name} {end}; restarting in {delay_s:g} s (log: {log})")
            # Once is enough: a program that keeps failing mostly says the same.
            for line in tail if failures == 1 else []:
                self._say(f"  {child.name}: {line}")
            await _wait(child.is_stopping, delay_s)

    async def _run_once(self, child: "_Child") -> str:
        """Start the program and see it to its end; returns how it ended."""
        child.was_ready = False
        try:
            child.process = process = self._spawn(child.program)
        except (OSError, subprocess.SubprocessError) as error:
            return f"could not be started ({error})"
        child.has_ended.clear()
        # The signal of a very short life may have come before there was anything to note.
        self._note_ended()
        readiness = asyncio.create_task(self._follow_readiness(child))
        try:
            await child.has_ended.wait()
        finally:
            readiness.cancel()
            await asyncio.gather(readiness, return_exceptions=True)
        self._guard.forget(process.pid)
        # What the program started and left behind would hold its ports.
        _signal_group(process.pid, signal.SIGKILL)
        return describe_end(process.returncode)

    def _spawn(self, program: Program) -> subprocess.Popen[bytes]:
        with self._logs.open(program.name) as log:
            return subprocess.Popen(
                program.account.wrap(program.command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=program.cwd,
                env=program.environment,
                umask=0o077,
                start_new_session=True,
                preexec_fn=self._guard.enrolment(program.role),
                **program.account.identity(),
            )

    async def _follow_readiness(self, child: "_Child") -> None:
        probe = child.program.probe
        if probe is None:
            return
        next_word_s = monotonic_s() + _WORD_EVERY_S
        while (reason := await probe(child.pid)) is not None:
            child.why_not_ready = reason
            if monotonic_s() > next_word_s:
                self._say(f"Still waiting for {child.name}: {reason}")
                next_word_s += _WORD_EVERY_S
            await asyncio.sleep(_READY_POLL_S)
        child.was_ready = True
        if child.outcome.done():
            self._say(f"{child.name} is ready again")
        else:
            child.outcome.set_result(None)

    async def _end(self, child: "_Child") -> None:
        for step in child.program.stop_steps:
            if not child.is_running():
                return
            os.kill(child.pid, step.number)
            await _wait(child.has_ended, step.grace_s)
        if child.is_running():
            self._say(f"{child.name} does not stop; killing it")
            _signal_group(child.pid, signal.SIGKILL)

    def _note_ended(self) -> None:
        for child in self._children:
            if child.process is not None and child.process.poll() is not None:
                child.has_ended.set()

    def _describe_unready(self, children: list["_Child"], deadline_s: float) -> str:
        lines = [f"Not everything was ready after {deadline_s:g} s:"]
        for child in children:
            if not child.outcome.done():
                lines.append(f"  {child.name}: {child.why_not_ready}")
                lines += [f"    {line}" for line in self._logs.tail(child.name)]
        return "\n".join(lines)

    async def _keep_house(self) -> None:
        """Replace a guard that died, and keep the logs within bounds."""
        while True:
            await asyncio.sleep(_HOUSEKEEPING_S)
            if not self._guard.is_alive():
                self._guard = Guard(self._lock_fd)
                for child in self._children:
                    if child.is_running():
                        self._guard.watch(child.pid, child.program.role)
            for child in self._children:
                self._logs.cap(child.name)


class _Child:
    """A program and what the supervisor knows of its present process.

    outcome is set once, by the first start: None when it became ready, else why it did not.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.name = program.name
        self.process: subprocess.Popen[bytes] | None = None
        self.task: asyncio.Task[None] | None = None
        self.is_stopping = asyncio.Event()
        self.has_ended = asyncio.Event()
        self.was_ready = False
        self.why_not_ready = "not started"
        self.outcome: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()

    @property
    def pid(self) -> int:
        """Process id of the present process, which leads its process group."""
        if self.process is None:
            raise ProcessLookupError(f"{self.name} was not started")
        return self.process.pid

    def is_running(self) -> bool:
        """True while its process exists."""
        return self.process is not None and self.process.poll() is None


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()


def _signal_group(pid: int, number: signal.Signals) -> None:
    # The group may be gone; macOS answers EPERM for one whose members are all zombies.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
