"""The demo as a stranger drives it: the printed line, the file, the controller, and the mail."""

import asyncio
import json
import urllib.error
import urllib.request
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from tallypost_cli import folders, sample_access
from tallypost_cli.demo.demonstration import FILE_NAME
from tallypost_cli.embedded.processes import is_running
from tests.e2e.start_up.system import free_port_base, run_system, superuser_url, wait_until

_STOP_LIMIT_S = 20.0
_BURST = 100


class Controller:
    """A client of the controller that a data folder's file names."""

    def __init__(self, folder: Path) -> None:
        values = folders.read_assignments(folder / FILE_NAME)
        self.url, self.token = values["DEMO_URL"], values["DEMO_TOKEN"]

    def ask(self, path: str, token: str | None = None, **body: object) -> Any:
        """The state, as it is or as a command leaves it."""
        request = urllib.request.Request(  # noqa: S310 loopback
            self.url + path,
            data=None if path == "/state" else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {token or self.token}"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 loopback
            return json.load(answer)


def test_everything_arrives_although_a_worker_is_killed_and_redis_is_flushed(folder: Path) -> None:
    base = free_port_base()
    with run_system(folder, base, has_real_apps=True, command="demo") as system:
        system.wait_for("Ready in")
        assert system.wait_for("Demo: ") == f"Demo: http://localhost:{base + 1}/demo"
        assert (folder / FILE_NAME).stat().st_mode & 0o077 == 0
        controller = Controller(folder)
        assert controller.ask("/state")["workers"] == 2
        _break_things(controller)
        system.wait_for("was killed by SIGKILL; restarting")
        wait_until(lambda: controller.ask("/state")["workers"] == 2, "the worker's return")
        wait_until(lambda: _is_all_delivered(folder, controller), "the arrival of every email")
        children = system.children()
        system.process.terminate()
        assert system.process.wait(_STOP_LIMIT_S) == 0
    assert not any(map(is_running, children))
    assert not (folder / FILE_NAME).exists()


def _break_things(controller: Controller) -> None:
    assert controller.ask("/traffic", rate_per_s=0)["story"]["is_playing"] is False
    controller.ask("/burst", count=_BURST)
    assert controller.ask("/kill-worker")["workers"] == 1
    state = controller.ask("/flush-redis")
    assert state["last_actions"][0]["text"] == "Flushed Redis."
    with pytest.raises(urllib.error.HTTPError, match="401"):
        controller.ask("/burst", token="other", count=1)
    with pytest.raises(urllib.error.HTTPError, match="422"):
        controller.ask("/burst", count=0)


def _is_all_delivered(folder: Path, controller: Controller) -> bool:
    traffic = controller.ask("/state")["traffic"]
    assert traffic["failed"] == 0
    if traffic["accepted"] < _BURST:
        return False
    accepted, delivered = asyncio.run(_count(folder))
    assert accepted >= traffic["accepted"]
    return accepted == delivered


async def _count(folder: Path) -> tuple[int, int]:
    """Sample emails in the database, and those of them that the Inbox has."""
    connection = await asyncpg.connect(superuser_url(folder))
    try:
        row = await connection.fetchrow(
            "SELECT count(*) AS accepted, count(*) FILTER (WHERE EXISTS (SELECT FROM inbox_messages"
            " m WHERE m.email_id = e.id)) AS delivered FROM emails e WHERE subject LIKE '[Sample]%'"
        )
    finally:
        await connection.close()
    return row["accepted"], row["delivered"]


def test_mail_goes_on_by_the_second_provider_while_the_first_fails(folder: Path) -> None:
    base = free_port_base()
    with run_system(folder, base, has_real_apps=True, command="demo") as system:
        system.wait_for("Ready in")
        controller = Controller(folder)
        controller.ask("/traffic", rate_per_s=0)
        for knob, handovers in (
            ("5xx", [("ses", "unavailable"), ("smtp", "accepted")]),
            ("none", [("ses", "accepted")]),
        ):
            state = controller.ask("/ses", knob=knob)
            assert state["simulators"]["ses"]["knob"] == knob
            email_id = _send(folder, base)
            wait_until(partial(_has_arrived, folder, email_id), "the email in the Inbox")
            wait_until(partial(_was_handed_over, folder, email_id, handovers), "its attempts")


def _send(folder: Path, port: int) -> str:
    """Send an email of live mode; its id."""
    tenant = sample_access.read(folder / sample_access.FILE_NAME).first
    fields = {"from": tenant.sender, "to": "ada@example.net", "subject": "Hi", "text": "Hello."}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/emails",
        data=json.dumps(fields).encode(),
        headers={
            "Authorization": f"Bearer {tenant.live_key}",
            "Content-Type": "application/json",
        },
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 loopback
        email_id: str = json.load(answer)["id"]
        return email_id


def _has_arrived(folder: Path, email_id: str) -> bool:
    statement = "SELECT 1 FROM inbox_messages WHERE email_id = $1"
    return bool(asyncio.run(_fetch(folder, statement, UUID(email_id))))


def _was_handed_over(folder: Path, email_id: str, handovers: list[tuple[str, str]]) -> bool:
    """True where these are its attempts, as account and outcome."""
    statement = "SELECT account, outcome FROM attempts WHERE email_id = $1 ORDER BY id"
    rows = asyncio.run(_fetch(folder, statement, UUID(email_id)))
    return [tuple(row) for row in rows] == handovers


async def _fetch(folder: Path, statement: str, *values: object) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(superuser_url(folder))
    try:
        return [*await connection.fetch(statement, *values)]
    finally:
        await connection.close()


def test_a_relay_of_the_persons_own_is_refused(folder: Path) -> None:
    environ = {"TALLYPOST_SMTP_HOST": "smtp.example.com"}
    with run_system(folder, environ=environ, has_real_apps=True, command="demo") as system:
        assert system.wait_for_end() == 1
    assert "TALLYPOST_SMTP_HOST, since the demo brings providers of its own" in system.output


def test_a_route_of_the_second_sample_tenant_keeps_the_demo_from_sending(folder: Path) -> None:
    _change_data(
        folder,
        "INSERT INTO routes (tenant_id, id, position, accounts) SELECT tenant_id,"
        " gen_random_uuid(), 0, '{platform}' FROM domains WHERE name = 'example.org'",
    )
    emails = "SELECT count(*) FROM emails"
    try:
        before = _change_data(folder, emails)
        with run_system(folder, has_real_apps=True, command="demo") as system:
            assert system.wait_for_end() == 1
    finally:
        _change_data(folder, "DELETE FROM routes")
    assert "owner@example.org: 1" in system.output
    assert "owner@example.com: " not in system.output
    assert "Ready in" not in system.output
    assert _change_data(folder, emails) == before


def _change_data(folder: Path, statement: str) -> list[asyncpg.Record]:
    """Run a statement on the database of a system of fake apps."""
    with run_system(folder) as system:
        system.wait_for("Ready in")
        return asyncio.run(_fetch(folder, statement))
