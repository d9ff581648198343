"""What is answered when something is wrong: a page to a person, a card to a part of a page."""

import httpx
import pytest

from tallypost_core.ids import new_id
from tests.integration.console.conftest import BILLING
from tests.integration.console.reading import words
from tests.integration.console.running import Browser, form_token
from tests.integration.people.samples import PASSWORD

PARTIAL = {"hx-request": "true", "hx-target": "div#numbers"}


async def ask(browser: Browser, path: str, **headers: str) -> httpx.Response:
    """Ask as htmx does, for something to fill an element."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return await browser.client.get(path, headers={**PARTIAL, **given})


def is_card(answer: httpx.Response) -> bool:
    """True for a part that may stand in a page."""
    return "<html" not in answer.text and answer.text.lstrip().startswith("<section")


async def test_person_gets_a_page_with_everything_around_it(owner: Browser) -> None:
    answer = await owner.get(f"/emails/{new_id()}")
    assert answer.status_code == 404
    assert '<header class="rail">' in answer.text
    assert "Email not found" in answer.text


async def test_part_of_a_page_gets_a_card_alone(owner: Browser) -> None:
    for path, status, said in (
        (f"/emails/{new_id()}", 404, "Email not found"),
        ("/nothing-here", 404, "Page not found"),
        ("/emails?mode=other", 400, "This request cannot be read"),
        ("/overview", 403, "Your role does not allow this"),
    ):
        answer = await ask(owner, path)
        assert answer.status_code == status
        assert is_card(answer), path
        assert said in words(answer.text)


async def test_card_lets_somebody_else_sign_in(browser: Browser) -> None:
    await browser.sign_in(BILLING, PASSWORD)
    answer = await ask(browser, "/queue")
    assert answer.status_code == 403
    # There is a token in it, without which its button would do nothing.
    token = form_token(answer)
    assert (await browser.submit("/logout", form_token=token)).status_code == 303


async def test_part_of_a_page_is_filled_without_the_page_around_it(owner: Browser) -> None:
    answer = await ask(owner, "/")
    assert answer.status_code == 200
    assert "<html" not in answer.text
    assert "Send your first live email" in answer.text
    assert answer.headers["vary"] == "hx-request, hx-target"


async def test_target_that_is_no_part_of_the_page_gets_the_whole(owner: Browser) -> None:
    answer = await ask(owner, "/", hx_target="div#elsewhere")
    assert "<html" in answer.text


async def test_whoever_is_signed_out_meanwhile_is_led_to_the_form_as_a_whole_page(
    browser: Browser,
) -> None:
    answer = await ask(
        browser, "/home/live", hx_current_url=f"{browser.origin}/emails?mode=test&q=a"
    )
    assert answer.status_code == 401
    assert answer.content == b""
    assert answer.headers["hx-redirect"] == "/login?then=%2Femails%3Fmode%3Dtest%26q%3Da"


@pytest.mark.parametrize(
    "url", ["", "https://evil.example//evil.example/", "//evil.example//x", "javascript:alert(1)"]
)
async def test_signing_in_again_leads_to_no_other_site(browser: Browser, url: str) -> None:
    answer = await ask(browser, "/home/live", hx_current_url=url)
    assert answer.status_code == 401
    assert "evil" not in answer.headers["hx-redirect"]
    assert answer.headers["hx-redirect"].startswith("/login")


async def test_form_of_another_site_gets_no_more_for_being_asked_by_a_script(
    owner: Browser,
) -> None:
    token = form_token(await owner.get("/"))
    headers = {**PARTIAL, "origin": "https://evil.example"}
    answer = await owner.client.post("/logout", data={"form_token": token}, headers=headers)
    assert answer.status_code == 403
    assert is_card(answer)


async def test_form_that_failed_leaves_the_rest_of_its_page_as_it_is(owner: Browser) -> None:
    path = f"/emails/{new_id()}/resend"
    token = form_token(await owner.get("/"))
    answer = await owner.client.post(
        path,
        data={"form_token": token, "key": "k"},
        headers={**PARTIAL, "origin": owner.origin},
    )
    assert answer.status_code == 404
    assert answer.headers["hx-retarget"] == "#problem"
    assert answer.headers["hx-reswap"] == "innerHTML"
    assert is_card(answer)
    assert 'role="alert"' in answer.text
    # The form is still there to be sent again.
    assert "<a " not in answer.text


async def test_part_that_cannot_be_filled_says_so_in_its_place(owner: Browser) -> None:
    answer = await ask(owner, f"/emails/{new_id()}")
    assert "hx-retarget" not in answer.headers
