"""Two tenants, every route, each other's ids: what is not yours does not exist.

The routes come from the app itself: one without a case here fails the test.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import httpx
import pytest

from tallypost_core.ids import new_id
from tests.integration.api.conftest import SEND, client_of
from tests.integration.api.test_access import routes_with_a_key
from tests.support.api_server import RunningAPI
from tests.support.database import SeededTenant

ABSENT_IDS = [
    "x",
    "00000000-0000-0000-0000-000000000000",
    "0f0d5e3a-6d8c-4b59-9a3c-3b8e0a5f7c11",
    "' OR 1=1 --",
    "%00",
    "é",
    "1" * 500,
]

Call = Callable[[httpx.AsyncClient, str], Awaitable[httpx.Response]]

# How to call each route that takes an id, so that it would work with an id of one's own.
WITH_AN_ID: dict[tuple[str, str], Call] = {
    ("GET", "/emails/{email_id}"): lambda client, id_: client.get(f"/emails/{id_}"),
    ("PATCH", "/emails/{email_id}"): lambda client, id_: client.patch(
        f"/emails/{id_}", json={"scheduled_at": "in 1 hour"}
    ),
    ("POST", "/emails/{email_id}/cancel"): lambda client, id_: client.post(f"/emails/{id_}/cancel"),
    ("GET", "/emails/{email_id}/timeline"): lambda client, id_: client.get(
        f"/emails/{id_}/timeline"
    ),
    ("POST", "/unconfirmed-emails/{email_id}/resend"): lambda client, id_: client.post(
        f"/unconfirmed-emails/{id_}/resend"
    ),
    ("POST", "/unconfirmed-emails/{email_id}/settle"): lambda client, id_: client.post(
        f"/unconfirmed-emails/{id_}/settle", json={"as": "sent"}
    ),
}
# What these answer with an id of one's own: the email is known, and not in doubt.
CONFLICTS = {
    ("POST", "/unconfirmed-emails/{email_id}/resend"),
    ("POST", "/unconfirmed-emails/{email_id}/settle"),
}

# Routes without an id; each has a test of its own, here or in `own`.
WITHOUT_AN_ID = {
    ("POST", "/emails"),
    ("POST", "/emails/batch"),
    ("GET", "/emails"),
    ("GET", "/unconfirmed-emails"),
    ("GET", "/provider-accounts"),
    ("POST", "/provider-accounts"),
    ("GET", "/routes"),
    ("PUT", "/routes"),
    ("GET", "/domain-standings"),
}
# Accounts have no mode, so a test key sees those of its tenant; their cases are in `own`.
WITH_AN_ACCOUNTS_ID = {
    ("GET", "/provider-accounts/{account_id}"),
    ("PATCH", "/provider-accounts/{account_id}"),
    ("DELETE", "/provider-accounts/{account_id}"),
    ("POST", "/provider-accounts/{account_id}/check"),
}


class Actor:
    """One key: a client, and the id of a scheduled email that it sent."""

    def __init__(self, name: str, domain: str, client: httpx.AsyncClient) -> None:
        self.name = name
        self.domain = domain
        self.client = client
        self.email_id = ""

    async def send(self) -> None:
        """Send the email."""
        email = SEND | {"from": f"hello@{self.domain}", "scheduled_at": "in 2 days"}
        response = await self.client.post("/emails", json=email)
        assert response.status_code == 200, response.text
        self.email_id = response.json()["id"]

    async def read(self) -> object:
        """The email as its owner sees it."""
        response = await self.client.get(f"/emails/{self.email_id}")
        assert response.status_code == 200, response.text
        return response.json()


@pytest.fixture
async def actors(
    api: RunningAPI, two_tenants: tuple[SeededTenant, SeededTenant]
) -> AsyncIterator[list[Actor]]:
    """Both modes of both tenants, each with an email."""
    async with AsyncExitStack() as stack:
        made = [
            Actor(
                f"{tenant.domain} {mode}",
                tenant.domain,
                await stack.enter_async_context(client_of(api, key.token)),
            )
            for tenant in two_tenants
            for mode, key in (("live", tenant.live_key), ("test", tenant.test_key))
        ]
        for actor in made:
            await actor.send()
        yield made


def test_every_route_has_a_case(api: RunningAPI) -> None:
    served = {(method, path) for method, path, _ in routes_with_a_key(api)}
    assert served == set(WITH_AN_ID) | WITH_AN_ACCOUNTS_ID | WITHOUT_AN_ID


def told(response: httpx.Response) -> str:
    """A whole answer, but for the id that each request has of its own."""
    return response.text.replace(response.headers["x-request-id"], "")


@pytest.mark.parametrize("route", WITH_AN_ID, ids=" ".join)
async def test_an_id_of_somebody_else_is_an_id_that_does_not_exist(
    actors: list[Actor], route: tuple[str, str]
) -> None:
    call = WITH_AN_ID[route]
    for actor in actors:
        unknown = await call(actor.client, str(new_id()))
        assert unknown.status_code == 404
        others = [other.email_id for other in actors if other is not actor]
        for id_ in [*others, *map(str.upper, others), *ABSENT_IDS]:
            response = await call(actor.client, id_)
            assert response.status_code == 404, (actor.name, id_)
            assert told(response) == told(unknown), (actor.name, id_)
            assert response.headers["content-type"] == unknown.headers["content-type"]


@pytest.mark.parametrize("route", WITH_AN_ID, ids=" ".join)
async def test_an_attempt_on_somebody_elses_email_leaves_it_as_it_was(
    actors: list[Actor], route: tuple[str, str]
) -> None:
    before = [await actor.read() for actor in actors]
    for actor in actors:
        for other in actors:
            if other is not actor:
                await WITH_AN_ID[route](actor.client, other.email_id)
    assert [await actor.read() for actor in actors] == before


@pytest.mark.parametrize("route", WITH_AN_ID, ids=" ".join)
async def test_the_same_call_works_with_an_id_of_ones_own(
    actors: list[Actor], route: tuple[str, str]
) -> None:
    for actor in actors:
        response = await WITH_AN_ID[route](actor.client, actor.email_id)
        assert response.status_code == (409 if route in CONFLICTS else 200), response.text


async def test_a_list_holds_ones_own_only_whatever_it_is_asked(actors: list[Actor]) -> None:
    for actor in actors:
        queries: list[dict[str, str]] = [{}]
        for other in actors:
            queries += [{"after": other.email_id}, {"before": other.email_id}]
        for query in queries:
            response = await actor.client.get("/emails", params=query)
            assert response.status_code == 200
            seen = {email["id"] for email in response.json()["data"]}
            assert seen <= {actor.email_id}, (actor.name, query)


async def test_a_domain_of_somebody_else_is_a_domain_that_is_not_verified(
    actors: list[Actor],
) -> None:
    for actor in actors:
        other = next(other for other in actors if other.domain != actor.domain)
        answers = []
        for domain in (other.domain, "example.net"):
            email = SEND | {"from": f"hello@{domain}"}
            single = await actor.client.post("/emails", json=email)
            batch = await actor.client.post("/emails/batch", json=[email])
            assert (single.status_code, batch.status_code) == (403, 403)
            answers.append((single.content, batch.content))
        assert answers[0] == answers[1]


async def test_an_idempotency_key_of_somebody_else_is_a_new_one(actors: list[Actor]) -> None:
    for path in ("/emails", "/emails/batch"):
        ids = []
        for actor in actors:
            email = SEND | {"from": f"hello@{actor.domain}"}
            response = await actor.client.post(
                path,
                json=email if path == "/emails" else [email],
                headers={"idempotency-key": "shared"},
            )
            assert response.status_code == 200
            ids.append(response.text)
        assert len(set(ids)) == len(actors)
