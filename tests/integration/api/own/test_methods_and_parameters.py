"""What a route of ours does not take, a method or a parameter, is refused by its name."""

import httpx
import pytest

from tests.integration.api.own.operations import NOBODYS, PATHS, READ, ROUTES
from tests.integration.api.own.problems import is_problem

LIST = "/unconfirmed-emails"


def test_routes_of_every_noun_are_among_them() -> None:
    assert {path.split("/")[1] for _, path in ROUTES} == {
        "emails",
        "unconfirmed-emails",
        "provider-accounts",
        "routes",
        "domain-standings",
    }
    assert {("DELETE", f"/provider-accounts/{NOBODYS}"), ("PUT", "/routes")} <= {*ROUTES}


@pytest.mark.parametrize("path", sorted(PATHS))
async def test_a_method_that_a_route_does_not_take_is_told_which_it_takes(
    client: httpx.AsyncClient, path: str
) -> None:
    taken = PATHS[path] - {"OPTIONS"}
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"} - taken:
        for written in (path, f"{path}/"):
            response = await client.request(method, written)
            assert is_problem(response, 405, "method_not_allowed"), (method, written)
            assert response.headers["allow"] == ", ".join(sorted(taken))


@pytest.mark.parametrize("path", READ)
async def test_head_is_answered_as_get_without_the_body(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, path: str
) -> None:
    for caller in (client, anonymous):
        get, head = await caller.get(path), await caller.head(path)
        assert (head.status_code, head.content) == (get.status_code, b"")
        for name in ("content-type", "content-length"):
            assert head.headers[name] == get.headers[name]


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=many", "after=x"])
async def test_a_parameter_that_cannot_be_used_is_named(
    client: httpx.AsyncClient, query: str
) -> None:
    response = await client.get(f"{LIST}?{query}")
    name = query.partition("=")[0]
    assert is_problem(response, 422, "invalid_parameter", field=name), response.text


@pytest.mark.parametrize(
    ("path", "field", "said"),
    [
        (f"{LIST}?limit=5&limit=6", "limit", "more than once"),
        (f"{LIST}?limit=5&before=x", "before", "has `limit` and `after`"),
        (f"{LIST}?before", "before", "has `limit` and `after`"),
        ("/routes?limit=5", "limit", "has none"),
        (f"/emails/{NOBODYS}/timeline?a=1", "a", "has none"),
        (f"/routes?{'a' * 5_000}=1", "a" * 100, "has none"),
    ],
)
async def test_a_parameter_that_is_not_known_or_repeated_is_named(
    client: httpx.AsyncClient, path: str, field: str, said: str
) -> None:
    response = await client.get(path)
    assert is_problem(response, 422, "invalid_parameter", field=field), response.text
    assert said in response.json()["detail"]
    assert len(response.content) < 1_000


async def test_what_is_written_is_not_written_with_a_parameter_that_is_not_known(
    client: httpx.AsyncClient,
) -> None:
    body = {"routes": [{"accounts": ["platform"]}]}
    response = await client.put("/routes?dry_run=1", json=body)
    assert is_problem(response, 422, "invalid_parameter", field="dry_run")
    assert (await client.get("/routes")).json() == {"routes": []}


async def test_routes_of_the_original_take_parameters_that_are_not_known(
    client: httpx.AsyncClient,
) -> None:
    assert (await client.get("/emails?limit=5&colour=red")).status_code == 200
