"""Health and metrics, alone and mounted in Litestar, spoken to as a server would."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from litestar import Litestar, asgi
from msgspec import Struct

from tallypost_telemetry import ops
from tallypost_telemetry.asgi import ASGIApp, Message
from tallypost_telemetry.ops import Check, OpsApp


class Answer(Struct):
    """What an ASGI app sent."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def request(app: ASGIApp, path: str, method: str = "GET") -> Answer:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }
    await app(scope, receive, send)
    start, *rest = sent
    return Answer(
        status=start["status"],
        headers={name.decode(): value.decode() for name, value in start["headers"]},
        body=b"".join(message.get("body", b"") for message in rest),
    )


async def passes() -> None:
    """A dependency that answers."""


async def is_refused() -> None:
    raise ConnectionRefusedError("postgresql://tp_api:secret-part@127.0.0.1")


async def never_answers() -> None:
    await asyncio.Event().wait()


@pytest.fixture
def _short_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "CHECK_TIMEOUT_S", 0.02)


async def test_live_answers_whatever_the_checks_say() -> None:
    answer = await request(OpsApp({"database": is_refused}), "/health/live")
    assert (answer.status, answer.json) == (200, {"status": "live"})


async def test_ready_lists_every_check() -> None:
    answer = await request(OpsApp({"database": passes, "redis": passes}), "/health/ready")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json == {"status": "ready", "checks": {"database": "ok", "redis": "ok"}}


async def test_app_without_checks_is_ready() -> None:
    assert (await request(OpsApp({}), "/health/ready")).status == 200


@pytest.mark.usefixtures("_short_timeout")
async def test_failing_checks_give_503_and_a_reason_without_secrets() -> None:
    app = OpsApp({"database": is_refused, "redis": never_answers, "disk": passes})
    answer = await request(app, "/health/ready")
    assert answer.status == 503
    assert answer.json == {
        "status": "not_ready",
        "checks": {
            "database": "failed: ConnectionRefusedError",
            "redis": "timed out",
            "disk": "ok",
        },
    }


async def test_checks_run_at_the_same_time() -> None:
    meeting = asyncio.Barrier(2)

    async def meets() -> None:
        await meeting.wait()

    answer = await request(OpsApp({"one": meets, "two": meets}), "/health/ready")
    assert answer.status == 200


async def test_ready_turns_false_when_a_shutdown_begins() -> None:
    app = OpsApp({"database": passes})
    assert (await request(app, "/health/ready")).status == 200
    app.begin_shutdown()
    answer = await request(app, "/health/ready")
    assert (answer.status, answer.json) == (503, {"status": "stopping", "checks": {}})
    assert (await request(app, "/health/live")).status == 200


async def test_shutdown_during_a_check_is_seen_by_it() -> None:
    started, released = asyncio.Event(), asyncio.Event()

    async def waits() -> None:
        started.set()
        await released.wait()

    app = OpsApp({"database": waits})
    probe = asyncio.create_task(request(app, "/health/ready"))
    await started.wait()
    app.begin_shutdown()
    released.set()
    answer = await probe
    assert (answer.status, answer.json["status"]) == (503, "stopping")


def counting() -> tuple[list[int], Check]:
    calls: list[int] = []

    async def check() -> None:
        calls.append(1)
        await asyncio.sleep(0)

    return calls, check


async def test_flood_of_probes_costs_one_check() -> None:
    calls, check = counting()
    app = OpsApp({"database": check}, reuse_s=3600)
    for _ in range(3):
        answers = await asyncio.gather(*(request(app, "/health/ready") for _ in range(50)))
        assert {answer.status for answer in answers} == {200}
    assert len(calls) == 1


async def test_result_is_not_kept_longer_than_asked_for() -> None:
    calls, check = counting()
    app = OpsApp({"database": check}, reuse_s=0)
    for _ in range(3):
        await request(app, "/health/ready")
    assert len(calls) == 3


async def test_recovered_dependency_makes_the_app_ready_again() -> None:
    outcomes: list[Callable[[], Awaitable[None]]] = [is_refused, passes]

    async def check() -> None:
        await outcomes.pop(0)()

    app = OpsApp({"database": check}, reuse_s=0)
    assert (await request(app, "/health/ready")).status == 503
    assert (await request(app, "/health/ready")).status == 200


async def test_client_that_hangs_up_does_not_fail_the_others() -> None:
    released = asyncio.Event()

    async def waits() -> None:
        await released.wait()

    app = OpsApp({"database": waits}, reuse_s=0)
    hanging_up = asyncio.create_task(request(app, "/health/ready"))
    staying = asyncio.create_task(request(app, "/health/ready"))
    await asyncio.sleep(0)
    hanging_up.cancel()
    await asyncio.sleep(0)
    released.set()
    assert (await staying).status == 200
    with pytest.raises(asyncio.CancelledError):
        await hanging_up


async def test_metrics_are_in_prometheus_text() -> None:
    answer = await request(OpsApp({}), "/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert b"# TYPE tallypost_emails_accepted_total counter" in answer.body


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/metrics"])
async def test_head_has_the_headers_of_get_and_no_body(path: str) -> None:
    answer = await request(OpsApp({}), path, "HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.headers["content-length"]) > 0


@pytest.mark.parametrize("path", ["/", "/health", "/health/", "/health/live/", "/metrics/x", ""])
async def test_other_paths_are_a_404_in_json(path: str) -> None:
    answer = await request(OpsApp({}), path)
    assert (answer.status, answer.json) == (404, {"error": "not_found"})


async def test_other_methods_are_refused() -> None:
    answer = await request(OpsApp({}), "/health/live", "POST")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


async def test_websocket_is_closed() -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await OpsApp({})({"type": "websocket", "path": "/metrics"}, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_it_mounts_in_litestar_at_its_paths(method: str) -> None:
    app = OpsApp({"database": is_refused})
    litestar = Litestar(
        [asgi(list(OpsApp.paths), copy_scope=True)(app)], openapi_config=None, logging_config=None
    )
    for path, status in (
        ("/health/live", 200),
        ("/health/ready", 503),
        ("/metrics", 200),
        ("/health/other", 404),
    ):
        # Litestar's own type of an ASGI app names every message.
        answer = await request(litestar, path, method)  # type: ignore[arg-type]
        assert answer.status == status
