"""What `up` promises to whoever starts it: lines, refusals, and one system per data folder."""

import os
import re
import shlex
import socket
from pathlib import Path

from tallypost_cli import sample_access
from tests.e2e.start_up.system import free_port_base, run_system
from tests.support.servers import start_test_postgres, start_test_redis


def test_the_promised_lines_come_once_and_in_order_when_all_is_ready(folder: Path) -> None:
    base = free_port_base()
    with run_system(folder, base) as system:
        system.wait_for("Ready in")
        names = [line.partition(":")[0] for line in system.lines if ": " in line]
        values = {line.partition(": ")[0]: line.partition(": ")[2] for line in system.lines}
    assert names == [
        *("Console", "Login", "Operator", "API", "Live key", "Test key"),
        *("Sender", "Inbox", "Inbox SMTP", "Try"),
    ]
    assert re.fullmatch(r"Ready in \d+ s", system.lines[system.lines.index("Stopping") - 1])
    assert values["Console"] == f"http://localhost:{base + 1}"
    assert values["API"] == f"http://localhost:{base}"
    assert values["Inbox"] == f"http://localhost:{base + 1}/inbox"
    assert values["Inbox SMTP"] == f"localhost:{base - 8000 + 1025}"
    assert f"Authorization: Bearer {values['Test key']}" in shlex.split(values["Try"])


def test_every_start_prints_the_same_logins_and_keys(folder: Path) -> None:
    access = sample_access.read(folder / "seed.env")
    with run_system(folder) as system:
        system.wait_for("Ready in")
    assert f"Login: {access.first.owner_email} {access.first.owner_password}" in system.lines
    assert f"Live key: {access.first.live_key}" in system.lines
    assert access.is_complete


def test_what_is_secret_is_readable_for_its_owner_only(folder: Path) -> None:
    for name in ("secrets.env", "seed.env", "redis/redis.conf"):
        assert (folder / name).stat().st_mode & 0o077 == 0
    assert (folder / "logs" / "api.log").stat().st_mode & 0o077 == 0


def test_a_second_start_in_the_same_folder_is_refused(folder: Path) -> None:
    with run_system(folder) as first:
        first.wait_for("Ready in")
        with run_system(folder) as second:
            assert second.wait_for_end() == 1
        assert f"already runs on {folder} (pid {first.pid})" in second.output
        assert first.process.poll() is None


def test_a_busy_port_is_named_with_its_owner_and_the_way_out(folder: Path) -> None:
    base = free_port_base()
    with socket.create_server(("127.0.0.1", base + 3)), run_system(folder, base) as system:
        assert system.wait_for_end() == 1
    assert f"Port {base + 3} (billing) is taken by pid {os.getpid()} (" in system.output
    assert "TALLYPOST_PORT_BASE=" in system.output
    assert system.notes("api") == []


def test_an_app_that_cannot_start_ends_the_start_with_its_last_words(folder: Path) -> None:
    behaviour = folder.parent / "notes" / "TALLYPOST_WORKER_PORT"
    behaviour.write_text("broken")
    with run_system(folder) as system:
        assert system.wait_for_end() == 1
    assert "worker exited with code 1" in system.output
    assert "the fake app is broken" in system.output
    assert "Ready in" not in system.output


def test_a_variable_that_no_app_knows_is_refused_by_name(folder: Path) -> None:
    with run_system(folder, environ={"TALLYPOST_API_PROT": "9000"}) as system:
        assert system.wait_for_end() == 1
    assert "TALLYPOST_API_PROT is not a setting of any app" in system.output


def test_a_stale_pid_file_that_names_another_live_process_is_no_obstacle(folder: Path) -> None:
    pid_file = folder / "postgres" / "postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n{folder / 'postgres'}\n1\n5432\n\n127.0.0.1\n0\nready\n")
    with run_system(folder) as system:
        system.wait_for("Ready in")


def test_servers_that_the_settings_name_are_used_instead_of_embedded_ones(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with start_test_postgres() as postgres, start_test_redis() as redis:
        environ = {
            "TALLYPOST_DATABASE_OWNER_URL": postgres.url,
            "TALLYPOST_REDIS_URL": redis.url,
        }
        with run_system(folder, environ=environ) as system:
            system.wait_for("Ready in")
        assert postgres.is_running
        assert redis.is_running
    assert not (folder / "postgres").exists()
    assert not (folder / "redis").exists()
