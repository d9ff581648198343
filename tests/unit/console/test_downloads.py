"""Names of files that a browser keeps."""

import re
from email.message import EmailMessage
from email.policy import HTTP
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallypost_console.downloads import content_disposition

NAMES = st.text(st.characters(codec="utf-8") | st.sampled_from("\"\\;=%'/ \r\n\t\0"))


def read_plain(header: str) -> str | None:
    """The name as a browser reads it that knows nothing of `filename*`."""
    message = EmailMessage(policy=HTTP)
    message["content-disposition"] = header.partition("; filename*=")[0]
    assert message.get_content_disposition() == "attachment"
    return message.get_filename()


def read_full(header: str) -> str:
    """The name as RFC 8187 says."""
    name = header.rpartition("; filename*=UTF-8''")[2]
    assert re.fullmatch(r"(?:[A-Za-z0-9_.~-]|%[0-9A-F]{2})*", name)
    return unquote(name, errors="strict")


@pytest.mark.parametrize("name", ["invoice.pdf", "two words.txt", "a,b (1).tar.gz"])
def test_plain_name_is_read_alike_by_old_and_new_browsers(name: str) -> None:
    header = content_disposition(name)
    assert read_plain(header) == name
    assert read_full(header) == name


def test_name_beyond_ascii_arrives_whole_in_new_browsers_and_readable_in_old_ones() -> None:
    header = content_disposition("Prüfung \N{PARTY POPPER}.pdf")
    assert read_full(header) == "Prüfung \N{PARTY POPPER}.pdf"
    assert read_plain(header) == "Pr_fung _.pdf"


@pytest.mark.parametrize(
    "name",
    [
        'a".exe; filename="b.pdf',
        "a\\",
        "a.pdf\r\nset-cookie: session=stolen",
        "a.pdf\nx",
        "a\0b",
        "a; filename*=UTF-8''b.exe",
        "",
    ],
)
def test_no_name_says_anything_but_a_name(name: str) -> None:
    header = content_disposition(name)
    assert read_full(header) == name
    assert header.count('"') == 2
    assert not re.search(r"[\x00-\x1f\x7f]", header)


@given(NAMES)
def test_any_name_makes_one_header_of_ascii(name: str) -> None:
    header = content_disposition(name)
    assert header.isascii()
    assert header.isprintable()
    assert re.fullmatch(r'attachment; filename="[^"\\]*"; filename\*=UTF-8\'\'\S*', header)
    assert read_full(header) == name
