"""Which hosts and which forms are the console's own."""

import pytest

from tallypost_console.origins import Origins

LOCAL = Origins("http://localhost:8001")
PUBLIC = Origins("https://console.example.com")


@pytest.mark.parametrize(
    "host", ["localhost:8001", "127.0.0.1:8001", "[::1]:8001", "LOCALHOST:8001"]
)
def test_loopback_answers_to_each_of_its_names(host: str) -> None:
    assert LOCAL.has_host(host)


@pytest.mark.parametrize(
    "host", ["", "localhost", "localhost:80", "localhost.evil.example:8001", "evil.example:8001"]
)
def test_loopback_answers_to_nothing_else(host: str) -> None:
    assert not LOCAL.has_host(host)


@pytest.mark.parametrize(
    "host",
    ["localhost", "127.0.0.1", "example.com", "x.console.example.com", "console.example.com."],
)
def test_public_console_answers_to_its_name_only(host: str) -> None:
    assert PUBLIC.has_host("console.example.com")
    assert not PUBLIC.has_host(host)


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://console.example.com"},
        {"sec-fetch-site": "same-origin"},
        {"origin": "https://console.example.com", "sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
    ],
)
def test_own_forms_are_taken(headers: dict[str, str]) -> None:
    assert PUBLIC.is_own_form({"host": "console.example.com", **headers})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "null"},
        {"origin": "http://console.example.com"},
        {"origin": "https://console.example.com:8443"},
        {"origin": "https://console.example.com.evil.example"},
        {"origin": "https://console.example.com", "sec-fetch-site": "cross-site"},
        {"origin": "https://evil.example", "sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example", "host": "evil.example"},
    ],
)
def test_foreign_forms_are_not(headers: dict[str, str]) -> None:
    assert not PUBLIC.is_own_form({"host": "console.example.com", **headers})


@pytest.mark.parametrize("url", ["", "console.example.com", "ftp://x", "https://", "https://a@b"])
def test_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="https://host"):
        Origins(url)
