"""Events of the SendGrid simulator: signed as SendGrid's own library verifies it."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import get_args

import pytest
from aiohttp import web
from sendgrid import SendGridAPIClient
from sendgrid.helpers.eventwebhook import EventWebhook, EventWebhookHeader

from tallypost_simulators.http_faults import HTTPFaults
from tallypost_simulators.http_server import HTTPServer
from tallypost_simulators.sendgrid_account import API_KEY, TakenMail
from tallypost_simulators.sendgrid_events import EventKind
from tallypost_simulators.sendgrid_server import SendGridSimulator

MAIL = TakenMail(
    "id-1",
    ("ada@example.net", "bob@example.net"),
    {"from": {"email": "hello@news.example.com"}, "subject": "Hello"},
    b"",
    b"",
    {"tallypost_email_id": "e-1", "tallypost_tenant_id": "t-1"},
    1_700_000_000.0,
)


class Webhook:
    """An endpoint that keeps what is posted to it."""

    def __init__(self) -> None:
        self.posts: list[tuple[bytes, dict[str, str]]] = []

    async def take(self, request: web.Request) -> web.Response:
        """Keep one post."""
        self.posts.append((await request.read(), dict(request.headers)))
        return web.Response(status=204)


@pytest.fixture
async def simulator() -> AsyncIterator[SendGridSimulator]:
    """A running simulator."""
    async with SendGridSimulator() as running:
        yield running


@pytest.fixture
async def webhook() -> AsyncIterator[tuple[Webhook, str]]:
    """An endpoint, and its address."""
    it = Webhook()
    routes = [web.post("/events", it.take)]
    async with HTTPServer(routes, faults=HTTPFaults(), is_faulty=lambda _: False) as server:
        yield it, f"{server.url}/events"


def is_signed(simulator: SendGridSimulator, body: bytes, headers: dict[str, str]) -> bool:
    verified: bool = EventWebhook(simulator.events.public_key).verify_signature(
        body.decode(),
        headers[EventWebhookHeader.SIGNATURE],
        headers[EventWebhookHeader.TIMESTAMP],
    )
    return verified


async def test_post_is_signed_over_its_very_bytes(
    simulator: SendGridSimulator, webhook: tuple[Webhook, str]
) -> None:
    endpoint, url = webhook
    events = [simulator.happen(MAIL, address, "delivered") for address in MAIL.recipients]
    assert await simulator.report(url, events) == 204
    ((body, headers),) = endpoint.posts
    assert is_signed(simulator, body, headers)
    assert not is_signed(simulator, body.replace(b"ada", b"eve"), headers)
    assert not is_signed(simulator, body.rstrip(), headers)
    assert json.loads(body) == events


async def test_events_have_our_arguments_flat_beside_sendgrids_own_fields(
    simulator: SendGridSimulator,
) -> None:
    kinds = get_args(EventKind)
    events = {kind: simulator.happen(MAIL, "ada@example.net", kind) for kind in kinds}
    for kind, event in events.items():
        assert event["event"] == kind
        assert (event["tallypost_email_id"], event["tallypost_tenant_id"]) == ("e-1", "t-1")
        assert str(event["sg_message_id"]).startswith("id-1.")
    assert events["bounce"]["status"] == "5.1.1"
    assert events["deferred"]["attempt"] == "1"
    assert events["dropped"]["reason"] == "Bounced Address"
    assert "smtp-id" not in events["spamreport"]
    assert len({event["sg_event_id"] for event in events.values()}) == len(kinds)


async def test_what_happened_shows_in_the_account(simulator: SendGridSimulator) -> None:
    simulator.messages.append(MAIL)
    simulator.happen(MAIL, "ada@example.net", "delivered")
    simulator.happen(MAIL, "bob@example.net", "bounce")
    client = SendGridAPIClient(API_KEY, host=simulator.url).client
    (bounce,) = (await asyncio.to_thread(client.suppression.bounces.get)).to_dict
    assert (bounce["email"], bounce["status"]) == ("bob@example.net", "5.1.1")
    query = {"limit": 10, "query": "unique_args['tallypost_email_id']=\"e-1\""}
    found = (await asyncio.to_thread(client.messages.get, query_params=query)).to_dict
    assert [message["status"] for message in found["messages"]] == ["delivered", "not_delivered"]


async def test_public_key_is_shown_by_the_api(simulator: SendGridSimulator) -> None:
    client = SendGridAPIClient(API_KEY, host=simulator.url).client
    shown = await asyncio.to_thread(client.user.webhooks.event.settings.signed.get)
    assert shown.to_dict == {"public_key": simulator.events.public_key}
