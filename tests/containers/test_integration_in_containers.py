"""The integration suite once more, on PostgreSQL and Redis in containers.

Runs where a container engine answers: at DOCKER_HOST, else at the usual socket. The images are
those of `tests/support/backends.py`. Servers that a test stops and starts stay embedded.
"""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1_800)]

_ROOT = Path(__file__).parents[2]
_SUITE = ("tests/integration", "tests/contract", "-m", "not slow and not containers")
_PASSED = re.compile(r"^(?:\d+ \w+, )*(\d+) passed\b.*$", re.MULTILINE)
_USUAL_SOCKET = "unix:///var/run/docker.sock"


@pytest.fixture
def engine() -> str:
    """The address of a container engine that answers."""
    address = os.environ.get("DOCKER_HOST") or _USUAL_SOCKET
    parts = urlsplit(address)
    is_socket = parts.scheme == "unix"
    if is_socket and not _listens(parts.path):
        pytest.skip(f"no container engine answers at {address}")
    with httpx.Client(
        transport=httpx.HTTPTransport(uds=parts.path if is_socket else None),
        base_url="http://engine" if is_socket else f"http://{parts.netloc}",
        timeout=10,
    ) as client:
        try:
            client.get("/_ping").raise_for_status()
        except httpx.HTTPError as error:
            pytest.skip(f"no container engine answers at {address}: {error}")
    return address


def test_integration_suite_passes_on_servers_in_containers(
    engine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # With this backend nothing falls back to embedded servers where a container does not start.
    finished = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *_SUITE],
        cwd=_ROOT,
        env={**os.environ, "DOCKER_HOST": engine, "TALLYPOST_TEST_BACKEND": "containers"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout[-20_000:]
    summary = _PASSED.search(finished.stdout)
    assert summary is not None, finished.stdout[-20_000:]
    assert int(summary[1]) > 0
    with capsys.disabled():
        sys.stdout.write(f"\ncontainers: {summary[0]}\n")


def _listens(path: str) -> bool:
    # The client would leave the socket of a failed attempt open.
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
    return True
