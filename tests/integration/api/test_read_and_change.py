"""Reading, moving and canceling over HTTP."""

import datetime as dt
from collections.abc import Mapping

import httpx

from tests.integration.api.conftest import SEND
from tests.integration.api.test_send import FROM, is_error

LATER = FROM | SEND | {"scheduled_at": "in 2 days"}


async def send(client: httpx.AsyncClient, email: Mapping[str, object]) -> str:
    """Send one email; its id."""
    response = await client.post("/emails", json=email)
    assert response.status_code == 200, response.text
    return str(response.json()["id"])


async def test_a_list_is_read_to_its_end_newest_first(client: httpx.AsyncClient) -> None:
    sent = [await send(client, FROM | SEND) for _ in range(5)]
    seen: list[str] = []
    page = (await client.get("/emails", params={"limit": 2})).json()
    while True:
        assert page["object"] == "list"
        seen += [email["id"] for email in page["data"]]
        if not page["has_more"]:
            break
        page = (await client.get("/emails", params={"limit": 2, "after": seen[-1]})).json()
    assert seen == sent[::-1]


async def test_a_list_is_read_backwards_too(client: httpx.AsyncClient) -> None:
    first, second, third = [await send(client, FROM | SEND) for _ in range(3)]
    page = (await client.get("/emails", params={"limit": 1, "before": first})).json()
    assert ([email["id"] for email in page["data"]], page["has_more"]) == ([second], True)
    page = (await client.get("/emails", params={"before": first})).json()
    assert ([email["id"] for email in page["data"]], page["has_more"]) == ([third, second], False)


async def test_a_page_has_20_emails_unless_told_otherwise(client: httpx.AsyncClient) -> None:
    await client.post("/emails/batch", json=[FROM | SEND] * 21)
    page = (await client.get("/emails")).json()
    assert (len(page["data"]), page["has_more"]) == (20, True)


async def test_a_list_has_no_bodies(client: httpx.AsyncClient) -> None:
    id_ = await send(client, FROM | SEND)
    (listed,) = (await client.get("/emails")).json()["data"]
    email = (await client.get(f"/emails/{id_}")).json()
    assert listed == {key: email[key] for key in email if key not in ("html", "text")}


async def test_a_wrong_parameter_of_a_list_is_named(client: httpx.AsyncClient) -> None:
    some_id = "00000000-0000-7000-8000-000000000000"
    for query, name in (
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=many", "limit"),
        ("after=x", "after"),
        ("before=x", "before"),
        (f"after={some_id}&before={some_id}", "before"),
    ):
        response = await client.get(f"/emails?{query}")
        assert is_error(response, 422, "invalid_parameter"), query
        assert f"`{name}`" in response.json()["message"]


async def test_a_scheduled_email_is_moved(client: httpx.AsyncClient) -> None:
    id_ = await send(client, LATER)
    moment = dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(days=1)
    response = await client.patch(f"/emails/{id_}", json={"scheduled_at": moment.isoformat()})
    assert response.status_code == 200
    assert response.json() == {"id": id_, "object": "email"}
    email = (await client.get(f"/emails/{id_}")).json()
    assert dt.datetime.fromisoformat(email["scheduled_at"]) == moment
    assert email["last_event"] == "scheduled"


async def test_a_scheduled_email_is_canceled_once(client: httpx.AsyncClient) -> None:
    id_ = await send(client, LATER)
    # As the Node client does it: no body, and yet a type.
    headers = {"content-type": "application/json"}
    response = await client.post(f"/emails/{id_}/cancel", headers=headers)
    assert response.status_code == 200
    assert response.json() == {"id": id_, "object": "email"}
    assert (await client.get(f"/emails/{id_}")).json()["last_event"] == "canceled"
    again = await client.post(f"/emails/{id_}/cancel", headers=headers)
    assert is_error(again, 422, "validation_error")
    moved = await client.patch(f"/emails/{id_}", json={"scheduled_at": "in 1 hour"})
    assert is_error(moved, 422, "validation_error")


async def test_an_email_that_was_not_scheduled_is_neither_moved_nor_canceled(
    client: httpx.AsyncClient,
) -> None:
    id_ = await send(client, FROM | SEND)
    canceled = await client.post(f"/emails/{id_}/cancel", json={})
    assert is_error(canceled, 422, "validation_error")
    moved = await client.patch(f"/emails/{id_}", json={"scheduled_at": "in 1 hour"})
    assert is_error(moved, 422, "validation_error")
    assert (await client.get(f"/emails/{id_}")).json()["last_event"] == "queued"


async def test_moving_names_what_is_wrong(client: httpx.AsyncClient) -> None:
    id_ = await send(client, LATER)
    for body, name in (
        ({}, "missing_required_field"),
        ({"scheduled_at": None}, "missing_required_field"),
        ({"scheduled_at": "soon"}, "validation_error"),
        ({"scheduled_at": 5}, "validation_error"),
    ):
        response = await client.patch(f"/emails/{id_}", json=body)
        assert is_error(response, 422, name), body
        assert "`scheduled_at`" in response.json()["message"]


async def test_a_body_on_a_request_that_takes_none_is_ignored(client: httpx.AsyncClient) -> None:
    id_ = await send(client, LATER)
    # As the Python client does it.
    for method, path in (("GET", "/emails"), ("GET", f"/emails/{id_}")):
        assert (await client.request(method, path, json={})).status_code == 200
    canceled = await client.request("POST", f"/emails/{id_}/cancel", content=b"not JSON")
    assert canceled.status_code == 200


async def test_a_key_sees_its_own_mode_only(
    client: httpx.AsyncClient, sandbox_client: httpx.AsyncClient
) -> None:
    live, test = await send(client, LATER), await send(sandbox_client, LATER)
    for reader, own, other in ((client, live, test), (sandbox_client, test, live)):
        assert (await reader.get(f"/emails/{own}")).status_code == 200
        assert (await reader.get(f"/emails/{other}")).status_code == 404
        assert [e["id"] for e in (await reader.get("/emails")).json()["data"]] == [own]
