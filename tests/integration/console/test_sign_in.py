"""Signing in and out in a browser."""

import pytest

from tallypost_domain.people.throttle import ATTEMPTS
from tests.integration.console.conftest import OWNER
from tests.integration.console.running import Browser, open_browser
from tests.integration.people.samples import PASSWORD

COOKIE = "tallypost_session"


async def test_signed_out_visitor_is_sent_to_sign_in_and_back(browser: Browser) -> None:
    answer = await browser.get("/emails?mode=test")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/login?then=%2Femails%3Fmode%3Dtest"
    form = await browser.get(answer.headers["location"])
    assert 'name="then" value="/emails?mode=test"' in form.text
    answer = await browser.submit(
        "/login", email=OWNER, password=PASSWORD, then="/emails?mode=test"
    )
    assert (answer.status_code, answer.headers["location"]) == (303, "/emails?mode=test")
    assert (await browser.get("/emails?mode=test")).status_code == 200


async def test_session_cookie_is_for_this_browser_only(browser: Browser) -> None:
    answer = await browser.sign_in(OWNER, PASSWORD)
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}=")
    attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert attributes == {"httponly", "samesite=lax", "path=/", "max-age=1209600"}


@pytest.mark.parametrize("email", [OWNER, "unknown@example.com"])
async def test_wrong_password_and_unknown_address_get_one_answer(
    browser: Browser, email: str
) -> None:
    answer = await browser.sign_in(email, "wrong horse battery")
    assert answer.status_code == 401
    assert "The e-mail address or the password is wrong." in answer.text
    assert f'value="{email}"' in answer.text
    assert "wrong horse" not in answer.text
    assert "set-cookie" not in answer.headers


async def test_sixth_attempt_waits_even_with_the_right_password(browser: Browser) -> None:
    for _ in range(ATTEMPTS):
        assert (await browser.sign_in(OWNER, "wrong horse battery")).status_code == 401
    answer = await browser.sign_in(OWNER, PASSWORD)
    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= 180
    assert "Too many attempts to sign in" in answer.text


async def test_signing_in_again_ends_the_session_before(browser: Browser) -> None:
    await browser.sign_in(OWNER, PASSWORD)
    first = browser.client.cookies[COOKIE]
    await browser.sign_in(OWNER, PASSWORD)
    second = browser.client.cookies[COOKIE]
    assert first != second
    async with open_browser(browser.origin) as old:
        old.client.cookies.set(COOKIE, first, domain="localhost.local")
        assert (await old.get("/emails")).status_code == 303


async def test_signed_in_visitor_needs_no_form(owner: Browser) -> None:
    answer = await owner.get("/login?then=/inbox")
    assert (answer.status_code, answer.headers["location"]) == (303, "/inbox")


async def test_signing_out_ends_the_session(owner: Browser) -> None:
    token = owner.client.cookies[COOKIE]
    answer = await owner.submit_with_token("/emails", "/logout")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert COOKIE not in owner.client.cookies
    owner.client.cookies.set(COOKIE, token, domain="localhost.local")
    assert (await owner.get("/emails")).status_code == 303


async def test_link_cannot_sign_out(owner: Browser) -> None:
    assert (await owner.get("/logout")).status_code == 405
    assert (await owner.get("/emails")).status_code == 200


@pytest.mark.parametrize("then", ["https://evil.example/", "//evil.example", "/\\evil.example", ""])
async def test_sign_in_leads_to_no_other_site(browser: Browser, then: str) -> None:
    form = await browser.client.get("/login", params={"then": then})
    assert 'name="then" value="/"' in form.text
    answer = await browser.submit("/login", email=OWNER, password=PASSWORD, then=then)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


async def test_form_without_a_password_is_refused(browser: Browser) -> None:
    assert (await browser.submit("/login", email=OWNER)).status_code == 422
