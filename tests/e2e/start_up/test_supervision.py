"""The supervisor restarts what ends, stops in order, and leaves nobody behind when it is killed."""

import os
import signal
import time
from pathlib import Path

import asyncpg
import pytest
from redis.asyncio import Redis

from tallypost_cli.embedded.processes import command_line, is_running
from tests.e2e.start_up.system import (
    RunningSystem,
    kill,
    redis_url,
    run_system,
    superuser_url,
    wait_until,
)

_APPS = ("api", "console", "templates", "billing", "worker", "bounces", "local-inbox")
_AFTER_SIGKILL_S = 10.0
_STOP_LIMIT_S = 20.0


def test_a_killed_app_is_restarted_and_one_line_says_so(folder: Path) -> None:
    with run_system(folder) as system:
        system.wait_for("Ready in")
        before = system.pid_of("api")
        kill(before)
        line = system.wait_for("api was killed by SIGKILL")
        system.wait_for("api is ready again")
        assert "restarting in 0.2 s" in line
        assert system.pid_of("api") != before


def test_an_app_that_keeps_ending_is_tried_again_with_growing_pauses(folder: Path) -> None:
    with run_system(folder) as system:
        system.wait_for("Ready in")
        (folder.parent / "notes" / "TALLYPOST_API_PORT").write_text("broken")
        kill(system.pid_of("api"))
        for delay in ("0.5", "1", "2"):
            system.wait_for(f"api exited with code 1; restarting in {delay} s")
        (folder.parent / "notes" / "TALLYPOST_API_PORT").unlink()
        system.wait_for("api is ready again")


async def test_a_killed_postgres_comes_back_on_its_port_with_its_data(folder: Path) -> None:
    with run_system(folder) as system:
        system.wait_for("Ready in")
        url = superuser_url(folder)
        await _execute(url, "CREATE TABLE survivors (id int); INSERT INTO survivors VALUES (1)")
        kill(system.postgres_pid())
        system.wait_for("postgres is ready again")
        connection = await asyncpg.connect(url)
        assert await connection.fetchval("SELECT count(*) FROM survivors") == 1
        await connection.close()
        await _execute(url, "DROP TABLE survivors")


async def test_a_killed_redis_comes_back_on_its_port_with_its_data(folder: Path) -> None:
    with run_system(folder) as system:
        system.wait_for("Ready in")
        url = redis_url(folder)
        async with Redis.from_url(url) as client:
            await client.set("survivor", "1")
            pid = (await client.info("server"))["process_id"]
        kill(pid)
        system.wait_for("redis is ready again")
        async with Redis.from_url(url) as client:
            assert await client.get("survivor") == b"1"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_supervisor_stops_apps_before_databases(
    folder: Path, number: signal.Signals
) -> None:
    with run_system(folder) as system:
        system.wait_for("Ready in")
        children = system.children()
        system.process.send_signal(number)
        _assert_ended_cleanly(system, children)


def test_ctrl_c_reaches_the_group_and_stops_apps_before_databases(folder: Path) -> None:
    with run_system(folder) as system:
        system.wait_for("Ready in")
        children = system.children()
        os.killpg(system.pid, signal.SIGINT)
        _assert_ended_cleanly(system, children)


def test_a_signal_while_starting_stops_what_has_started(folder: Path) -> None:
    with run_system(folder) as system:
        system.wait_for("Starting api")
        children = system.children()
        system.process.send_signal(signal.SIGTERM)
        assert system.wait_for_end() == 0
    assert not any(map(is_running, children))


def test_a_second_signal_kills_an_app_that_does_not_stop(folder: Path) -> None:
    (folder.parent / "notes" / "TALLYPOST_CONSOLE_PORT").write_text("stubborn")
    with run_system(folder) as system:
        system.wait_for("Ready in")
        children = system.children()
        system.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "stop yes" in system.notes("api"), "the other apps to stop")
        system.process.send_signal(signal.SIGTERM)
        assert system.wait_for_end() == 0
    assert not any(map(is_running, children))


@pytest.mark.slow
def test_an_app_that_does_not_stop_is_killed_within_the_limit(folder: Path) -> None:
    (folder.parent / "notes" / "TALLYPOST_CONSOLE_PORT").write_text("stubborn")
    with run_system(folder) as system:
        system.wait_for("Ready in")
        children = system.children()
        system.process.send_signal(signal.SIGTERM)
        system.process.wait(_STOP_LIMIT_S)
    assert "console does not stop; killing it" in system.output
    assert not any(map(is_running, children))


def test_nobody_outlives_a_killed_supervisor_and_the_next_start_works(folder: Path) -> None:
    with run_system(folder) as system:
        system.wait_for("Ready in")
        children = system.children()
        assert len(children) > len(_APPS) + 2
        kill(system.pid)
        # At once: the start waits for the guard of the one before.
        with run_system(folder, system.port_base) as following:
            following.wait_for("Ready in")
            assert not any(map(is_running, children))


def test_children_of_a_supervisor_killed_with_its_whole_group_are_gone_in_time(
    folder: Path,
) -> None:
    (folder.parent / "notes" / "TALLYPOST_API_PORT").write_text("stubborn")
    with run_system(folder) as system:
        system.wait_for("Ready in")
        children = system.children()
        os.killpg(system.pid, signal.SIGKILL)
        wait_until(
            lambda: not any(map(is_running, children)),
            f"the end of every child of {system.pid}",
            _AFTER_SIGKILL_S,
        )
    assert system.notes("worker")[-1] == "stop yes"


def test_a_killed_guard_is_replaced(folder: Path) -> None:
    with run_system(folder) as system:
        system.wait_for("Ready in")
        before = system.children()
        guard = _guard_of(system)
        kill(guard)
        wait_until(lambda: _guard_of(system) not in (0, guard), "another guard")
        children = system.children() | before
        # The new one was told of everybody by the time that it exists.
        kill(system.pid)
        wait_until(
            lambda: not any(map(is_running, children)), "the end of every child", _AFTER_SIGKILL_S
        )


def _assert_ended_cleanly(system: RunningSystem, children: set[int]) -> None:
    started_s = time.monotonic()
    assert system.wait_for_end() == 0
    assert time.monotonic() - started_s < _STOP_LIMIT_S
    assert not any(map(is_running, children))
    for app in _APPS:
        assert system.notes(app)[-1] == "stop yes", app
    assert not (system.folder / "postgres" / "postmaster.pid").exists()


def _guard_of(system: RunningSystem) -> int:
    return next((pid for pid in system.children() if "guard.py" in command_line(pid)), 0)


async def _execute(url: str, statements: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(statements)
    await connection.close()
