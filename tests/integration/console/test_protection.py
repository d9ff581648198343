"""What keeps other sites, other hosts and other scripts out."""

import re

import pytest

from tests.integration.console.conftest import OWNER
from tests.integration.console.running import (
    Browser,
    form_token,
    open_browser,
    run_console,
)
from tests.integration.people.samples import PASSWORD
from tests.support.database import Database

FOREIGN = "https://evil.example"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": FOREIGN},
        {"origin": "null"},
        {"origin": FOREIGN, "sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
@pytest.mark.parametrize("path", ["/login", "/logout", "/theme"])
async def test_form_of_another_site_is_refused(
    owner: Browser, path: str, headers: dict[str, str]
) -> None:
    fields = {
        "email": OWNER,
        "password": PASSWORD,
        "form_token": form_token(await owner.get("/emails")),
    }
    answer = await owner.client.post(path, data=fields, headers=headers)
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers
    assert (await owner.get("/emails")).status_code == 200


@pytest.mark.parametrize("token", ["", "0" * 64, "ä"])
async def test_form_without_the_sessions_token_is_refused(owner: Browser, token: str) -> None:
    assert (await owner.submit("/logout", form_token=token)).status_code == 403
    assert (await owner.submit("/logout")).status_code == 403
    assert (await owner.get("/emails")).status_code == 200


async def test_token_of_another_session_is_refused(owner: Browser, other_owner: Browser) -> None:
    token = form_token(await other_owner.get("/emails"))
    assert (await owner.submit("/logout", form_token=token)).status_code == 403


async def test_unknown_host_is_refused(browser: Browser) -> None:
    answer = await browser.client.get("/login", headers={"host": "evil.example"})
    assert answer.status_code == 400
    assert browser.origin in answer.text
    assert "evil" not in answer.text


async def test_names_of_the_loopback_stand_for_each_other(browser: Browser) -> None:
    url = browser.origin.replace("localhost", "127.0.0.1")
    async with open_browser(url) as opened:
        assert (await opened.sign_in(OWNER, PASSWORD)).status_code == 303
        assert (await opened.get("/emails")).status_code == 200


@pytest.mark.parametrize("path", ["/login", "/nothing-here", "/emails"])
async def test_every_answer_tells_browsers_to_be_strict(browser: Browser, path: str) -> None:
    headers = (await browser.get(path)).headers
    policy = headers["content-security-policy"]
    nonce = re.findall("; script-src 'nonce-([^' ]{22})'; ", policy)
    assert policy.startswith("default-src 'none'; script-src ")
    assert "; style-src 'self'; " in policy
    assert "require-trusted-types-for 'script'; trusted-types htmx" in policy
    assert "unsafe" not in policy
    other = (await browser.get(path)).headers["content-security-policy"]
    assert len(nonce) == 1
    assert nonce[0] not in other
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"
    assert headers["x-request-id"]


async def test_pages_hold_one_script_and_ask_nobody_else(owner: Browser) -> None:
    for path in ("/", "/emails", "/inbox", "/emails?mode=test", "/queue", "/api-keys"):
        answer = await owner.get(path)
        page = answer.text
        (nonce, source) = re.findall('<script defer nonce="([^"]+)" src="([^"]+)"></script>', page)[
            0
        ]
        assert f"'nonce-{nonce}'" in answer.headers["content-security-policy"]
        assert source.startswith("/static/")
        assert page.count("<script") == 1
        assert not re.search(r"\son[a-z]+=", page)
        assert "style=" not in page
        assert "http://" not in page.replace(owner.origin, "")
        assert "https://" not in page


async def test_stylesheet_may_be_kept_only_under_its_own_hash(browser: Browser) -> None:
    page = (await browser.get("/login")).text
    path = page.split('rel="stylesheet" href="')[1].split('"')[0]
    newest = await browser.get(path)
    assert newest.headers["content-type"].startswith("text/css")
    assert newest.headers["cache-control"] == "public, max-age=31536000, immutable"
    older = await browser.get("/static/0123456789ab/console.css")
    assert older.content == newest.content
    assert older.headers["cache-control"] == "no-store"
    font = await browser.get(newest.text.split('url("')[1].split('"')[0])
    assert font.headers["content-type"] == "font/woff2"
    assert font.headers["cache-control"] == newest.headers["cache-control"]
    for unknown in ("/static/x/app.py", "/static/x/..%2f..%2fapp.py", "/static/x/console.css/y"):
        assert (await browser.get(unknown)).status_code == 404


async def test_assets_are_packed_for_whoever_unpacks_them(browser: Browser) -> None:
    plain = await browser.client.get(
        "/static/x/console.css", headers={"accept-encoding": "identity"}
    )
    packed = await browser.client.get("/static/x/console.css", headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["vary"] == "accept-encoding"
    assert int(packed.headers["content-length"]) < len(plain.content) / 2
    assert packed.content == plain.content


async def test_large_body_is_refused(browser: Browser) -> None:
    answer = await browser.submit("/login", email=OWNER, password="x" * 70_000)
    assert answer.status_code == 413


async def test_over_https_the_cookie_is_bound_to_the_host(database: Database, people: None) -> None:
    async with (
        run_console(database.url("tp_console"), url="https://console.example.com") as address,
        open_browser(address) as opened,
    ):
        opened.client.headers["host"] = "console.example.com"
        opened.origin = "https://console.example.com"
        answer = await opened.sign_in(OWNER, PASSWORD)
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-tallypost_session=")
    attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert {"secure", "httponly", "samesite=lax", "path=/"} <= attributes
    assert not any(attribute.startswith("domain") for attribute in attributes)
    assert answer.headers["strict-transport-security"] == "max-age=31536000"
