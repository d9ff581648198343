"""Where a form may lead."""

import re
from urllib.parse import urljoin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallypost_console.own_path import own_path, own_path_of

NASTY_PARTS = st.sampled_from(
    [
        *"/\\:@?#.[\t\n\r\0 \x7f",
        *("%2f", "%5c", "..", "//", "http:", "https://", "javascript:", "evil.example", "[::1]"),
    ]
)
URLS = st.lists(NASTY_PARTS | st.characters(codec="utf-8"), max_size=12).map("".join)


@pytest.mark.parametrize(
    "path", ["/", "/emails", "/emails?mode=test&after=1", "/inbox/1#headers", "/a//b", "/ä"]
)
def test_path_of_ours_is_kept(path: str) -> None:
    assert own_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "emails",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "https://evil.example",
        "javascript:alert(1)",
        "/\t/evil.example",
        "/\n/evil.example",
        "/emails\r\nset-cookie: a=b",
        " /emails",
        "/a\\b",
    ],
)
def test_anything_else_becomes_the_start_page(path: str) -> None:
    assert own_path(path) == "/"


def where_it_leads(reference: str) -> str:
    """Where a browser on a page of ours goes, as the URL standard has it.

    It drops tabs and line ends wherever they stand, blanks and controls around the whole, and
    reads a backslash as a slash.
    """
    seen = re.sub(r"[\t\r\n]", "", reference.strip("".join(map(chr, range(0x21)))))
    return urljoin("https://console.test/page", seen.replace("\\", "/"))


@given(URLS)
def test_no_path_leads_to_another_host(text: str) -> None:
    assert where_it_leads(own_path(text)).startswith("https://console.test/")


@given(URLS)
def test_no_address_of_a_page_leads_to_another_host(url: str) -> None:
    assert where_it_leads(own_path_of(url)).startswith("https://console.test/")


@given(URLS)
def test_what_is_kept_can_stand_in_a_header(url: str) -> None:
    assert not re.search(r"[\x00-\x20\x7f]", own_path(url) + own_path_of(url))


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("http://localhost:8001/emails?mode=test&q=a%20b", "/emails?mode=test&q=a%20b"),
        ("http://localhost:8001/emails/1?tab=raw#message", "/emails/1?tab=raw"),
        ("http://localhost:8001/", "/"),
        ("/emails", "/emails"),
    ],
)
def test_of_an_address_path_and_query_are_kept(url: str, path: str) -> None:
    assert own_path_of(url) == path


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://localhost:8001",
        "http://localhost:8001//evil.example",
        "http://localhost:8001/\\evil.example",
        "http://[broken",
        "http://localhost:8001?q=1",
        "javascript:alert(1)",
        "mailto:ada@example.com",
    ],
)
def test_address_that_holds_no_path_of_ours_leads_to_the_start_page(url: str) -> None:
    assert own_path_of(url) == "/"
