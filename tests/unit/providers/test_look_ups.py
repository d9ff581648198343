"""Which account can be asked, and when two addresses are the same."""

import pytest

from tallypost_providers.look_ups import address_key, find_look_up
from tests.support.sendgrid import make_provider


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("ada@example.net", "ada@example.net"),
        ("Ada@example.net", "ada@example.NET"),
        ("ada@xn--bcher-kva.example", "ada@bücher.example"),
        ("ada@xn--bcher-kva.example", "Ada@BÜCHER.example"),
        ('"a@b"@example.net', '"A@b"@example.net'),
        ("ada@example.net", " ada@example.net "),
    ],
)
def test_address_is_the_same_in_another_spelling(ours: str, theirs: str) -> None:
    assert address_key(ours) == address_key(theirs)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("ada@example.net", "adam@example.net"),
        ("ada@example.net", "ada@example.com"),
        ("ada@example.net", "ada+news@example.net"),
        ("ada@example.net", "a.da@example.net"),
        ("ada@example.net", "ada"),
        ("ada@example.net", ""),
        ("ada@example.net", "Ada <ada@example.net>"),
        ("ada@bucher.example", "ada@bücher.example"),
    ],
)
def test_address_of_somebody_else_stays_another(ours: str, theirs: str) -> None:
    assert address_key(ours) != address_key(theirs)


def test_account_is_asked_only_where_its_capabilities_say_so() -> None:
    able, unable = (
        make_provider("http://127.0.0.1:9", activity_lookup=can) for can in (True, False)
    )
    assert find_look_up(able) is able
    assert find_look_up(unable) is None
