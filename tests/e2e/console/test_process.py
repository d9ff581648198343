"""`python -m tallypost_console` as a process."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import asyncpg
import httpx
import pytest

from tallypost_cli.ports import find_free_port
from tallypost_domain.people.permissions import Role
from tests.integration.console.conftest import OWNER
from tests.integration.people.samples import PASSWORD, add_member
from tests.support.database import PEPPER_SETTING, RING_SETTING, Database, SeededTenant

DEADLINE_S = 60.0


def environment(url_of: Callable[[str], str], objects: Path, port: int) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    return {
        **kept,
        "TALLYPOST_DATABASE_CONSOLE_URL": url_of("tp_console"),
        "TALLYPOST_DATABASE_API_URL": url_of("tp_api"),
        "TALLYPOST_DATABASE_ACCEPT_URL": url_of("tp_accept"),
        "TALLYPOST_OBJECTS_URL": objects.as_uri(),
        "TALLYPOST_SECRETS_KEY_RING": RING_SETTING,
        "TALLYPOST_SECRETS_PEPPERS": PEPPER_SETTING,
        "TALLYPOST_CONSOLE_PORT": str(port),
        "TALLYPOST_CONSOLE_URL": f"http://localhost:{port}",
    }


def start(environ: Mapping[str, str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "tallypost_console"],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until_live(port: int, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + DEADLINE_S
    while True:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "the console does not answer"
        try:
            if httpx.get(f"http://localhost:{port}/health/live").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)


@pytest.fixture
def port() -> int:
    """A free port."""
    return find_free_port()


@pytest.fixture
def process(database: Database, tmp_path: Path, port: int) -> "Iterator[subprocess.Popen[str]]":
    """A running console on a real database."""
    started = start(environment(database.url, tmp_path, port))
    try:
        wait_until_live(port, started)
        yield started
    finally:
        started.kill()
        started.communicate()


async def test_owner_signs_in_and_sees_the_start_page(
    database: Database, tenant: SeededTenant, process: "subprocess.Popen[str]", port: int
) -> None:
    async with database.sessions("tp_cli") as cli:
        await add_member(cli, tenant.id, OWNER, Role.OWNER)
    url = f"http://localhost:{port}"
    async with httpx.AsyncClient(base_url=url, follow_redirects=True, timeout=30) as client:
        page = await client.post(
            "/login",
            data={"email": OWNER, "password": PASSWORD, "then": "/"},
            headers={"origin": url},
        )
    assert page.status_code == 200
    assert page.url.path == "/"
    assert "Send your first live email" in page.text


def test_log_holds_no_password_and_no_address(process: "subprocess.Popen[str]", port: int) -> None:
    url = f"http://localhost:{port}"
    answer = httpx.post(
        f"{url}/login",
        data={"email": OWNER, "password": PASSWORD, "then": "/"},
        headers={"origin": url},
    )
    assert answer.status_code == 401
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0
    assert stdout == ""
    assert '"event": "sign_in.refused"' in stderr
    assert PASSWORD not in stderr
    assert OWNER not in stderr


async def test_failed_search_is_logged_without_what_was_searched(
    database: Database, tenant: SeededTenant, process: "subprocess.Popen[str]", port: int
) -> None:
    async with database.sessions("tp_cli") as cli:
        await add_member(cli, tenant.id, OWNER, Role.OWNER)
    connection = await asyncpg.connect(database.owner_url)
    try:
        # An error that nobody expects goes to the log with all that is known of it.
        await connection.execute("REVOKE SELECT ON emails FROM tp_console")
        # Enough for the statements before the one that has the words.
        await connection.execute("GRANT SELECT (tenant_id, id, mode) ON emails TO tp_console")
    finally:
        await connection.close()
    url = f"http://localhost:{port}"
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        await client.post(
            "/login",
            data={"email": OWNER, "password": PASSWORD, "then": "/"},
            headers={"origin": url},
        )
        answer = await client.get("/emails?q=canaryword+from:canary@recipient.test+tag:a=canarytag")
    assert answer.status_code == 500
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=DEADLINE_S)
    assert '"event": "request.failed"' in stderr
    assert "InsufficientPrivilege" in stderr
    assert "canary" not in stderr


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("TALLYPOST_DATABASE_CONSOLE_URL", "", "TALLYPOST_DATABASE_CONSOLE_URL is missing"),
        ("TALLYPOST_SECRETS_PEPPERS", "no key ring", "TALLYPOST_SECRETS_PEPPERS"),
        ("TALLYPOST_CONSOLE_URL", "console.example.com", "TALLYPOST_CONSOLE_URL needs"),
        ("TALLYPOST_CONSOLE_PROT", "8001", "TALLYPOST_CONSOLE_PROT is not a setting"),
    ],
)
def test_wrong_settings_end_the_start_with_their_names(
    tmp_path: Path, name: str, value: str, said: str
) -> None:
    environ = environment("postgresql://{}:y@127.0.0.1:1/z".format, tmp_path, 0) | {name: value}
    process = start(environ)
    _, stderr = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1
    assert said in stderr
    assert "Traceback" not in stderr
