"""Where a sign-in may lead."""

import pytest

from tallypost_console.own_path import own_path


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
