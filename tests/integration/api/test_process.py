"""`python -m tallypost_api` as an operator runs it."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

from tallypost_cli.ports import find_free_port
from tests.integration.api.conftest import SEND
from tests.integration.api.test_send import FROM
from tests.support.database import PEPPER_SETTING, RING_SETTING, Database, SeededTenant

_DEADLINE_S = 60
_POLL_S = 0.05


def environment(database: Database, objects: Path, port: int) -> dict[str, str]:
    """The variables of an API on a test's database."""
    return {
        "PATH": os.environ["PATH"],
        "TALLYPOST_API_PORT": str(port),
        "TALLYPOST_DATABASE_API_URL": database.url("tp_api"),
        "TALLYPOST_DATABASE_ACCEPT_URL": database.url("tp_accept"),
        "TALLYPOST_SECRETS_KEY_RING": RING_SETTING,
        "TALLYPOST_SECRETS_PEPPERS": PEPPER_SETTING,
        "TALLYPOST_OBJECTS_URL": objects.as_uri(),
    }


@contextmanager
def run_process(variables: Mapping[str, str]) -> Iterator["subprocess.Popen[str]"]:
    """The program in a process of its own, ended with the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tallypost_api"],
        env=dict(variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


async def until_ready(client: httpx.AsyncClient, process: "subprocess.Popen[str]") -> None:
    """Wait until the program says that it is ready."""
    async with asyncio.timeout(_DEADLINE_S):
        while True:
            assert process.poll() is None, process.communicate()
            try:
                if (await client.get("/health/ready")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(_POLL_S)


async def test_it_serves_until_a_signal_and_logs_no_secret(
    database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    port = find_free_port()
    headers = {"authorization": f"Bearer {tenant.live_key.token}"}
    with run_process(environment(database, tmp_path / "objects", port)) as process:
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", headers=headers
        ) as client:
            await until_ready(client, process)
            assert (await client.post("/emails", json=FROM | SEND)).status_code == 200
            assert (await client.post("/emails", json={"from": "wrong"})).status_code == 422
            assert (await client.get("/nowhere")).status_code == 404
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=_DEADLINE_S)
    assert process.returncode == 0
    assert "server.stopping" in err
    assert "Traceback" not in err
    for secret in (tenant.live_key.token, "@example", "role-password", RING_SETTING):
        assert secret not in out + err


async def test_missing_settings_are_all_named_at_once() -> None:
    with run_process({"PATH": os.environ["PATH"]}) as process:
        _, err = process.communicate(timeout=_DEADLINE_S)
    assert process.returncode == 1
    assert "TALLYPOST_DATABASE_API_URL" in err
    assert "TALLYPOST_SECRETS_PEPPERS" in err


async def test_a_setting_that_cannot_be_used_is_named_without_its_value(
    database: Database, tmp_path: Path
) -> None:
    for name, value in (
        ("TALLYPOST_SECRETS_PEPPERS", "first:c2hvcnQgc2VjcmV0"),
        ("TALLYPOST_OBJECTS_URL", "ftp://nowhere.test/short-secret"),
    ):
        variables = environment(database, tmp_path / "objects", find_free_port()) | {name: value}
        with run_process(variables) as process:
            _, err = process.communicate(timeout=_DEADLINE_S)
        assert process.returncode == 1
        assert name in err
        assert value not in err
        assert "Traceback" not in err
