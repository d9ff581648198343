"""API keys: one is made and shown once, and one is taken back."""

import html
import re
import secrets
from pathlib import Path

import httpx
import pytest

from tallypost_core.ids import new_id
from tallypost_domain.api_keys import administration
from tests.integration.console.conftest import BILLING
from tests.integration.console.reading import main, words
from tests.integration.console.running import Browser
from tests.integration.people.samples import PASSWORD
from tests.support.api_server import api_settings, run_api
from tests.support.database import Database, SeededTenant

PATH = "/api-keys"
VALID = {"name": "Shop", "mode": "live", "permission": "sending_access", "stream": ""}


async def make(browser: Browser, **fields: str) -> httpx.Response:
    """Fill in the form and send it."""
    form_id = secrets.token_hex(8)
    return await browser.submit_with_token(PATH, PATH, **{**VALID, "form_id": form_id, **fields})


def token_on(page: httpx.Response) -> str:
    """The key that a page shows."""
    found = re.search(r'<pre id="token"[^>]*>([^<]+)</pre>', page.text)
    assert found is not None, "the page shows no key"
    return found[1]


def revoke_path(page: httpx.Response, name: str) -> str:
    """Where the button of a key of this name leads."""
    for row in re.findall(r'<tr role="row">.*?</tr>', page.text, re.DOTALL):
        if f">{name}<" in row:
            return str(re.findall(r'action="([^"]+)"', row)[0])
    raise AssertionError(f"no working key {name!r}")


async def send_with(token: str, api_url: str, tenant: SeededTenant) -> int:
    """Send an email with a key; returns the status of the answer."""
    body = {"from": f"hello@{tenant.domain}", "to": "ada@r.test", "subject": "Hi", "text": "Hi"}
    headers = {"authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=api_url, headers=headers, timeout=30) as program:
        return (await program.post("/emails", json=body)).status_code


async def test_key_that_was_made_works(
    owner: Browser, database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    page = await make(owner)
    assert page.status_code == 200
    with run_api(api_settings(database, tmp_path)) as api:
        assert await send_with(token_on(page), api.url, tenant) == 200


async def test_key_is_shown_once_and_never_again(owner: Browser) -> None:
    page = await make(owner)
    token = token_on(page)
    assert token.startswith("tp_live_")
    assert page.text.count(token) == 1
    assert page.headers["cache-control"] == "no-store"
    for path in (PATH, "/", "/emails", "/queue"):
        assert token not in (await owner.get(path)).text
    # Enough to recognise it by.
    assert f"{token[:12]}…{token[-4:]}" in (await owner.get(PATH)).text


async def test_form_that_was_sent_twice_makes_one_key(owner: Browser) -> None:
    page = await make(owner, form_id="the same")
    buttons = re.findall(r'action="/api-keys/[^"]+/revoke"', page.text)
    again = await make(owner, form_id="the same")
    assert again.status_code == 409
    assert "This form was sent before" in words(main(again))
    assert re.findall(r'action="/api-keys/[^"]+/revoke"', again.text) == buttons


async def test_list_says_what_each_key_may_do(owner: Browser) -> None:
    await make(owner, name="Newsletter", mode="test", permission="full_access", stream="bulk")
    said = words(main(await owner.get(PATH)))
    assert re.search(r"Test Newsletter tp_test_\w{4}…\w{4} Full access · bulk", said)


@pytest.mark.parametrize("name", ["", "   ", "x" * 101, "a\u202eb", "a\0b"])
async def test_name_that_cannot_be_is_said_at_its_field_and_all_input_stays(
    owner: Browser, name: str
) -> None:
    page = await make(owner, name=name, mode="live", permission="full_access", stream="bulk")
    assert page.status_code == 422
    (field,) = re.findall(r'<input id="name"[^>]*>', page.text)
    assert 'aria-invalid="true" aria-describedby="name-error"' in field
    assert html.unescape(re.findall(r'value="([^"]*)"', field)[0]) == name
    assert "must have 1 to 100 characters" in page.text
    for option in ("live", "full_access", "bulk"):
        assert f'<option value="{option}" selected>' in page.text
    assert 'id="token"' not in page.text


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"stream": "no-such"}, "There is no stream of this name."),
        ({"permission": "everything"}, "A field of the form is missing"),
    ],
)
async def test_choice_that_there_is_not_is_said_and_the_name_stays(
    owner: Browser, wrong: dict[str, str], said: str
) -> None:
    page = await make(owner, **wrong)
    assert page.status_code == 422
    assert said in page.text
    assert 'value="Shop"' in page.text
    assert 'id="token"' not in page.text


async def test_name_is_text_and_never_markup(owner: Browser) -> None:
    await make(owner, name="<b>Shop</b>")
    page = await owner.get(PATH)
    assert "<b>" not in page.text
    assert "&lt;b&gt;Shop&lt;/b&gt;" in page.text


async def test_too_many_keys_are_refused(owner: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(administration, "MAX_KEYS", 3)
    answer = await make(owner)
    assert answer.status_code == 409
    assert "revoke some that nobody uses" in answer.text


async def test_revoked_key_works_no_more_and_is_listed_apart(
    owner: Browser, database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    page = await make(owner)
    token = token_on(page)
    answer = await owner.submit_with_token(PATH, revoke_path(page, "Shop"))
    assert (answer.status_code, answer.headers["location"]) == (303, PATH)
    page = await owner.get(PATH)
    assert "1 revoked key" in page.text
    assert "Shop" not in page.text.split("<tbody")[1].split("</tbody>")[0]
    with run_api(api_settings(database, tmp_path)) as api:
        assert await send_with(token, api.url, tenant) == 403


async def test_revoking_twice_changes_nothing(owner: Browser) -> None:
    path = revoke_path(await make(owner), "Shop")
    for _ in range(2):
        assert (await owner.submit_with_token(PATH, path)).status_code == 303
    assert "1 revoked key" in (await owner.get(PATH)).text


async def test_unknown_key_and_another_tenants_cannot_be_revoked(
    owner: Browser, other_owner: Browser
) -> None:
    theirs = revoke_path(await make(other_owner, name="Theirs"), "Theirs")
    for path in (theirs, f"{PATH}/{new_id()}/revoke", f"{PATH}/no-id/revoke"):
        answer = await owner.submit_with_token(PATH, path)
        assert answer.status_code == 404
        assert "API key not found" in answer.text
    assert revoke_path(await other_owner.get(PATH), "Theirs") == theirs


async def test_keys_of_another_tenant_are_not_listed(owner: Browser, other_owner: Browser) -> None:
    await make(other_owner, name="Theirs")
    assert "Theirs" not in (await owner.get(PATH)).text


async def test_viewer_sees_keys_and_neither_makes_nor_revokes_one(
    owner: Browser, viewer: Browser
) -> None:
    path = revoke_path(await make(owner), "Shop")
    page = await viewer.get(PATH)
    assert "Shop" in page.text
    assert "<form" not in main(page)
    assert (await make(viewer, name="Another")).status_code == 403
    assert (await viewer.submit_with_token(PATH, path)).status_code == 403
    page = await owner.get(PATH)
    assert "Another" not in page.text
    assert revoke_path(page, "Shop") == path


async def test_whoever_pays_the_invoices_makes_no_key(browser: Browser) -> None:
    await browser.sign_in(BILLING, PASSWORD)
    answer = await browser.submit_with_token("/", PATH, **VALID)
    assert answer.status_code == 403
    assert 'id="token"' not in answer.text
