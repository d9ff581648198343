"""The client of the demo's controller: what it asks, and how it bears what it gets."""

import asyncio
import datetime as dt
import typing
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tallypost_cli.demo.state import (
    PROVIDERS,
    Action,
    BurstCommand,
    DemoState,
    SMTPCommand,
    StepState,
    StoryState,
    TrafficState,
)
from tallypost_console import demo
from tallypost_console.demo import Demo, DemoAction, DemoAway, DemoKnobs, DemoRefused, DemoStep
from tallypost_console.pages.demo import SIMULATORS
from tallypost_core.settings import Secret
from tallypost_simulators.control_app import ControlApp, ControlRefused, Endpoint, Nothing
from tallypost_simulators.http_knobs import HTTPKind, HTTPKnobs
from tallypost_simulators.smtp_knobs import SMTPKind, SMTPKnobs
from tests.support.http_peers import Script, answer, peer, raw

TOKEN = "token of the demo"
STATE = DemoState(
    traffic=TrafficState(rate_per_s=5.5, is_on=True, accepted=120, failed=3),
    simulators={
        "ses": HTTPKnobs(knob="5xx_silent"),
        "smtp": SMTPKnobs(latency_ms=50, knob="4xx", share=0.25),
    },
    story=StoryState(is_playing=True, step=0, steps=[StepState("calm", "Look.", 0.0)]),
    workers=2,
    last_actions=[Action(dt.datetime(2026, 11, 24, 12, 0, tzinfo=dt.UTC), "Redis was emptied")],
)
ENCODED = msgspec.json.encode(STATE)


class Controller:
    """Speaks as the demo's controller does, and keeps what it was told to do."""

    def __init__(self) -> None:
        self.done: list[object] = []
        self.app = ControlApp(
            TOKEN,
            {
                ("GET", "/state"): Endpoint(self._read),
                ("POST", "/burst"): Endpoint(self._act, BurstCommand),
                ("POST", "/smtp"): Endpoint(self._act, SMTPCommand),
                ("POST", "/kill-worker"): Endpoint(self._refuse),
            },
        )

    async def _read(self, _: Nothing) -> DemoState:
        return STATE

    async def _act(self, command: BurstCommand | SMTPCommand) -> DemoState:
        self.done.append(command)
        return STATE

    async def _refuse(self, _: Nothing) -> DemoState:
        raise ControlRefused("no worker is left")


@asynccontextmanager
async def client(url: str, token: str = TOKEN) -> AsyncIterator[Demo]:
    it = Demo(url, Secret(token))
    try:
        yield it
    finally:
        await it.close()


@asynccontextmanager
async def connected(controller: Controller, token: str = TOKEN) -> AsyncIterator[Demo]:
    """A client of a controller that listens on this machine."""
    transport = httpx.ASGITransport(controller.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://demo") as inside:

        async def forward(request: web.Request) -> web.Response:
            answered = await inside.request(
                request.method,
                request.path,
                headers={"authorization": request.headers["authorization"]},
                content=await request.read(),
            )
            return web.Response(status=answered.status_code, body=answered.content)

        listening = web.Application()
        listening.router.add_route("*", "/{path:.*}", forward)
        async with TestServer(listening) as server, client(str(server.make_url("/")), token) as it:
            yield it


@asynccontextmanager
async def answered_by(script: Script) -> AsyncIterator[Demo]:
    """A client of something that answers in its own way."""
    async with peer(script) as it, client(it.url()) as asking:
        yield asking


async def test_state_is_read_as_the_controller_tells_it() -> None:
    async with connected(Controller()) as it:
        state = await it.get_state()
    assert (state.traffic.rate_per_s, state.traffic.accepted, state.traffic.failed) == (5.5, 120, 3)
    assert state.simulators == {
        "ses": DemoKnobs(latency_ms=0, knob="5xx_silent", share=1.0),
        "smtp": DemoKnobs(latency_ms=50, knob="4xx", share=0.25),
    }
    assert (state.story.is_playing, state.story.step) == (True, 0)
    assert [*state.story.steps] == [DemoStep("calm", "Look.")]
    assert state.workers == 2
    assert [*state.last_actions] == [DemoAction("2026-11-24T12:00:00Z", "Redis was emptied")]


async def test_command_is_carried_out_and_tells_the_state_then() -> None:
    controller = Controller()
    async with connected(controller) as it:
        state = await it.command("/burst", {"count": 7})
        await it.command("/smtp", {"knob": "hang", "share": 0.5})
    assert controller.done == [BurstCommand(7), SMTPCommand(knob="hang", share=0.5)]
    assert state.workers == 2


async def test_what_cannot_be_done_now_is_refused() -> None:
    async with connected(Controller()) as it:
        with pytest.raises(DemoRefused):
            await it.command("/kill-worker", {})


@pytest.mark.parametrize("fields", [{"count": 0}, {"count": float("nan")}, {"other": 1}])
async def test_command_that_does_not_fit_is_refused(fields: dict[str, object]) -> None:
    controller = Controller()
    async with connected(controller) as it:
        with pytest.raises(DemoRefused):
            await it.command("/burst", fields)
    assert not controller.done


async def test_controller_of_another_demo_is_not_ours() -> None:
    async with connected(Controller(), token="another") as it:
        with pytest.raises(DemoAway):
            await it.get_state()


async def test_controller_that_does_not_run_is_away() -> None:
    async with peer(answer(ENCODED)) as gone:
        url = gone.url()
    async with client(url) as it:
        with pytest.raises(DemoAway):
            await it.get_state()


@pytest.mark.parametrize(
    "script",
    [
        answer(b"", status="500 Internal Server Error"),
        answer(ENCODED, status="503 Service Unavailable"),
        answer(ENCODED, status="302 Found", headers=("Location: http://127.0.0.1:1/",)),
        answer(b"<!doctype html><p>Something else"),
        answer(b"{}"),
        answer(b'{"workers": "two"}'),
        answer(b"\xff"),
        answer(b" " * 100_000 + ENCODED),
        raw(b"220 mail.example.com ESMTP\r\n"),
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"),
    ],
    ids=["500", "503", "302", "html", "empty", "wrong", "no-text", "large", "smtp", "broken-off"],
)
async def test_whatever_does_not_answer_as_a_controller_does_is_away(script: Script) -> None:
    async with answered_by(script) as it:
        with pytest.raises(DemoAway):
            await it.get_state()
        with pytest.raises(DemoAway):
            await it.command("/burst", {"count": 7})


async def test_silence_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "_TIMEOUT_S", 0.05)
    async with answered_by(raw(b"HTTP/1.1 200 OK\r\n", then_hang=True)) as it:
        async with asyncio.timeout(10):
            with pytest.raises(DemoAway):
                await it.get_state()


async def test_controller_that_comes_back_is_found_again() -> None:
    is_well = False

    async def script(writer: asyncio.StreamWriter) -> None:
        await (answer(ENCODED) if is_well else answer(b"", status="500 No"))(writer)

    async with answered_by(script) as it:
        with pytest.raises(DemoAway):
            await it.get_state()
        is_well = True
        assert (await it.get_state()).workers == 2


async def test_token_stands_in_a_header_and_not_in_the_address() -> None:
    async with peer(answer(ENCODED)) as it, client(it.url()) as asking:
        await asking.get_state()
    (request,) = it.requests
    assert request.startswith("GET /state HTTP/1.1\r\n")
    assert f"authorization: Bearer {TOKEN}\r\n" in request


async def test_client_that_was_never_used_closes() -> None:
    async with client("http://127.0.0.1:1"):
        pass


def test_page_offers_each_kind_of_fault_that_there_is() -> None:
    offered = {name: {kind for kind, _ in kinds} for name, (_, kinds) in SIMULATORS.items()}
    assert offered == {
        "ses": {*typing.get_args(typing.get_args(HTTPKind)[0])},
        "smtp": {*typing.get_args(typing.get_args(SMTPKind)[0])},
    }
    assert [*SIMULATORS] == [*PROVIDERS]
