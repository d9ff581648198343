"""Forms that come twice: of two that make something only one does, of two that fail both speak."""

import secrets

import httpx
import pytest

from tallypost_domain.db.errors import DatabaseUnavailable
from tests.integration.console import accounts
from tests.integration.console.reading import main, words
from tests.integration.console.running import Browser

# By where it leads: how it is right, what is wrong then, and what is made by it.
FORMS = {
    accounts.NEW_SMTP: (accounts.VALID, {"settings-port": "22"}, "providers.create_account"),
    "/routes": ({"account": "platform", "share": "40"}, {"share": "0"}, "routes.add_route"),
    "/api-keys": (
        {"name": "Shop", "mode": "test", "permission": "sending_access"},
        {"name": " "},
        "api_keys.create_for_person",
    ),
}


async def send(browser: Browser, path: str, form_id: str, **wrong: str) -> httpx.Response:
    """Send the form that leads there."""
    given = {**FORMS[path][0], "form_id": form_id, **wrong}
    return await browser.submit_with_token("/providers", path, **given)


@pytest.mark.parametrize("path", FORMS)
async def test_form_with_a_mistake_says_so_twice_and_is_taken_once_it_is_right(
    owner: Browser, path: str
) -> None:
    form_id, wrong = secrets.token_hex(8), FORMS[path][1]
    for _ in range(2):
        page = await send(owner, path, form_id, **wrong)
        assert page.status_code == 422
        assert "sent before" not in page.text
    assert (await send(owner, path, form_id)).status_code in (200, 303)
    again = await send(owner, path, form_id)
    assert again.status_code == 409
    assert "This form was sent before. If the " in words(main(again))
    assert "was made then, it is in" in words(main(again)).replace("added", "made")


@pytest.mark.parametrize("path", FORMS)
async def test_form_that_could_not_be_served_is_served_when_it_comes_again(
    owner: Browser, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def be_away(*_: object, **__: object) -> None:
        raise DatabaseUnavailable

    form_id = secrets.token_hex(8)
    with monkeypatch.context() as patched:
        patched.setattr(f"tallypost_console.pages.{FORMS[path][2]}", be_away)
        assert (await send(owner, path, form_id)).status_code == 503
    assert (await send(owner, path, form_id)).status_code in (200, 303)
