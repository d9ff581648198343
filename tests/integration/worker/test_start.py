"""A worker that cannot do its work says why and ends, instead of looking alive."""

import socket
import subprocess
import sys
from pathlib import Path

from tests.support.database import Database
from tests.support.worker import worker_environment

_LIMIT_S = 60


def _run(environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-P", "-m", "tallypost_worker"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
        check=False,
    )


def test_taken_port_ends_the_worker_with_its_number(
    database: Database, redis_url: str, tmp_path: Path
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        environment = worker_environment(
            database, redis_url=redis_url, objects=tmp_path, smtp_port=2525
        )
        ended = _run({**environment, "TALLYPOST_WORKER_PORT": port})
    assert ended.returncode == 1
    assert f"cannot listen on 127.0.0.1 port {port}" in ended.stderr


def test_missing_relay_is_named_by_its_variable(
    database: Database, redis_url: str, tmp_path: Path
) -> None:
    environment = worker_environment(
        database, redis_url=redis_url, objects=tmp_path, smtp_port=2525
    )
    del environment["TALLYPOST_SMTP_HOST"]
    ended = _run(environment)
    assert ended.returncode == 1
    assert "TALLYPOST_SMTP_HOST" in ended.stderr
    assert "Traceback" not in ended.stderr
