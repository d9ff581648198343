"""The whole system as a newcomer starts it: real apps, the printed command, a delivered email."""

import asyncio
import json
import shlex
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tallypost_cli import sample_access
from tallypost_cli.embedded.processes import command_line, is_running
from tests.e2e.start_up.system import RunningSystem, kill, run_system, superuser_url, wait_until


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_printed_command_and_a_live_email_arrive_in_the_inbox(folder: Path) -> None:
    with run_system(folder, has_real_apps=True) as system:
        system.wait_for("Ready in")
        children = system.children()
        command = shlex.split(system.wait_for("Try: ").removeprefix("Try: "))
        finished = subprocess.run(command, capture_output=True, text=True, check=True)
        for mode, email_id in (
            ("test", json.loads(finished.stdout)["id"]),
            ("live", _send_live(system)["id"]),
        ):
            _wait_for_message(folder, mode, email_id)
    assert system.process.returncode == 0
    assert not any(map(is_running, children))


def test_a_killed_worker_is_restarted_and_becomes_ready(folder: Path) -> None:
    with run_system(folder, has_real_apps=True) as system:
        system.wait_for("Ready in")
        (worker,) = (pid for pid in system.children() if "tallypost_worker" in command_line(pid))
        kill(worker)
        system.wait_for("worker was killed by SIGKILL; restarting in 0.2 s")
        system.wait_for("worker is ready again")


def _send_live(system: RunningSystem) -> Any:
    access = sample_access.read(system.folder / "seed.env").first
    email = {
        "from": access.sender,
        "to": "you@somewhere.test",
        "subject": "Hello",
        "text": "It works.",
    }
    request = urllib.request.Request(
        f"http://127.0.0.1:{system.port_base}/emails",
        data=json.dumps(email).encode(),
        headers={
            "Authorization": f"Bearer {access.live_key}",
            "Content-Type": "application/json",
            "User-Agent": "tests",
        },
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 loopback
        return json.load(answer)


def _wait_for_message(folder: Path, mode: str, email_id: str) -> None:
    wait_until(
        lambda: asyncio.run(_count_messages(folder, mode, email_id)) == 1,
        f"the {mode} message in the Inbox",
    )


async def _count_messages(folder: Path, mode: str, email_id: str) -> int:
    connection = await asyncpg.connect(superuser_url(folder))
    try:
        count: int = await connection.fetchval(
            "SELECT count(*) FROM inbox_messages WHERE email_id = $1 AND mode = $2", email_id, mode
        )
    finally:
        await connection.close()
    return count


def test_the_doctor_finds_everything_well_and_then_names_what_is_missing(folder: Path) -> None:
    with run_system(folder, has_real_apps=True) as system:
        system.wait_for("Ready in")
        well = _ask_doctor(folder, system.port_base)
    assert well.returncode == 0, well.stdout + well.stderr
    for hop in ("migrations", "login of tp_api", "redis", "worker", "local-inbox"):
        assert f"ok      {hop}" in well.stdout
    ill = _ask_doctor(folder, system.port_base)
    assert ill.returncode == 1
    assert f"FAILED  api: port {system.port_base} does not answer" in ill.stdout


def _ask_doctor(folder: Path, port_base: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "tallypost_cli", "doctor", "--data-folder", str(folder)],
        env={"TALLYPOST_PORT_BASE": str(port_base)},
        capture_output=True,
        text=True,
        check=False,
    )
