"""What the demo makes of the answers of a simulator's control, and of the API's about routes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tallypost_cli.demo.clients import APIClient, Simulator
from tallypost_cli.errors import StartUpError
from tallypost_cli.ports import find_free_port
from tallypost_simulators.control_app import ControlRefused
from tallypost_simulators.http_knobs import HTTPKnobs

_RESET = HTTPKnobs(knob="reset_after")


@asynccontextmanager
async def _simulator(status: int, body: str) -> AsyncIterator[Simulator]:
    """One whose control gives this answer, whatever it is asked."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, text=body, content_type="application/json")

    app = web.Application()
    app.router.add_route("*", "/faults", answer)
    async with TestServer(app, host="127.0.0.1") as server:
        assert server.port is not None
        client = Simulator("ses", HTTPKnobs, server.port, "token")
        try:
            yield client
        finally:
            await client.close()


async def test_knobs_are_read_as_they_stand() -> None:
    async with _simulator(200, '{"latency_ms":0,"knob":"reset_after","share":1.0}') as server:
        assert await server.read_knobs() == _RESET


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, '{"error":"unauthorized","message":"Send the token."}'),
        (422, '{"error":"invalid","message":"knob has to be one of these.","field":"knob"}'),
        (500, "{}"),
        (204, ""),
    ],
)
async def test_an_answer_of_any_other_status_is_a_refusal(status: int, body: str) -> None:
    async with _simulator(status, body) as server:
        with pytest.raises(ControlRefused, match=f"answered {status}"):
            await server.read_knobs()
        with pytest.raises(ControlRefused, match=f"answered {status}"):
            await server.turn_knobs(HTTPKnobs())


@asynccontextmanager
async def _api(status: int, bodies: dict[str, str]) -> AsyncIterator[APIClient]:
    """One that answers with this status and tells each key, as it is sent, a body of its own."""

    async def answer(request: web.Request) -> web.Response:
        body = bodies[request.headers["authorization"]]
        return web.Response(status=status, text=body, content_type="application/json")

    app = web.Application()
    app.router.add_get("/routes", answer)
    async with TestServer(app, host="127.0.0.1") as server:
        assert server.port is not None
        client = APIClient(server.port)
        try:
            yield client
        finally:
            await client.close()


async def test_routes_are_counted_for_the_tenant_of_the_key() -> None:
    bodies = {
        "Bearer first": '{"routes":[]}',
        "Bearer second": '{"routes":[{"id":"a","accounts":["b"]},{"id":"c"}]}',
    }
    async with _api(200, bodies) as api:
        assert await api.count_routes("first") == 0
        assert await api.count_routes("second") == 2


@pytest.mark.parametrize("status", [401, 404, 500])
async def test_routes_that_the_api_does_not_tell_are_not_taken_for_none(status: int) -> None:
    async with _api(status, {"Bearer first": "{}"}) as api:
        with pytest.raises(StartUpError, match=f"the API answered {status}"):
            await api.count_routes("first")


async def test_api_that_does_not_answer_is_not_taken_for_one_without_routes() -> None:
    api = APIClient(find_free_port())
    try:
        with pytest.raises(StartUpError, match="the API did not answer"):
            await api.count_routes("first")
    finally:
        await api.close()
