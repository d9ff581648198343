"""Commands for a terminal do what the page shows."""

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tallypost_console.commands import MAX_BODY_CHARS, Command, curl_command
from tallypost_core.clock import utc_now
from tallypost_domain.emails.lifecycle import RecipientStatus
from tallypost_domain.emails.types import NewEmail, Tag
from tallypost_domain.emails.validation import EmailRequest, validate
from tallypost_domain.emails.views import EmailView
from tests.unit.console.examples import NOON, email, recipient

BASH = shutil.which("bash") or "/bin/bash"
# Stands in for curl: its arguments, each with an end of its own.
FAKE_CURL = """curl() { printf '%s\\0' "$@" >arguments; }\n"""

NASTY = [
    "it's \"quoted\" and 'quoted'",
    "'; touch broken_out; echo '",
    "$(touch broken_out) `touch broken_out` $KEY ${HOME}",
    "back\\slash \\' \\n \\",
    "!history !! and *.py ~ # no comment",
    "Grüße, \N{PARTY POPPER} \u2028 \N{ZERO WIDTH SPACE}日本",
    "@file and -d and --data",
]


def run(command: str, folder: Path) -> list[str]:
    """The arguments that curl gets where a person runs the command in their shell."""
    subprocess.run(
        [BASH, "--noprofile", "--norc", "-c", FAKE_CURL + command],
        cwd=folder,
        env={"API": "http://api.test", "KEY": "key from the shell"},
        check=True,
        timeout=60,
    )
    assert [path.name for path in folder.iterdir()] == ["arguments"]
    return (folder / "arguments").read_bytes().decode().split("\0")[:-1]


def command_of(
    shown: EmailView, headers: Mapping[str, str] | None = None, *, has_attachments: bool = False
) -> Command:
    return curl_command(shown, headers or {}, has_attachments=has_attachments)


def body_of(
    shown: EmailView, folder: Path, headers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    # Any: JSON.
    arguments = run(command_of(shown, headers).text, folder)
    body: dict[str, Any] = json.loads(arguments[arguments.index("-d") + 1])
    return body


def taken_by_the_api(shown: EmailView, folder: Path) -> NewEmail:
    """The email that the API makes of the command. Raises where it refuses it."""
    request = msgspec.convert(body_of(shown, folder), EmailRequest)
    return validate(request, now=utc_now())


def test_command_posts_json_with_the_key_of_the_shell(tmp_path: Path) -> None:
    arguments = run(command_of(email()).text, tmp_path)
    assert arguments[:7] == [
        "-X",
        "POST",
        "http://api.test/emails",
        "-H",
        "Authorization: Bearer key from the shell",
        "-H",
        "Content-Type: application/json",
    ]


def test_command_says_all_of_the_email(tmp_path: Path) -> None:
    shown = email(
        recipient(RecipientStatus.SENT, "Ada <ada@recipient.test>"),
        cc=("cc@recipient.test",),
        bcc=("bcc@recipient.test",),
        reply_to=("reply@example.com",),
        text="Hello",
        tags=(Tag("campaign", "welcome"),),
        stream="bulk",
    )
    assert command_of(shown).left_out == ()
    assert body_of(shown, tmp_path, {"X-Order": "17"}) == {
        "from": "Sample Sender <hello@example.com>",
        "to": ["Ada <ada@recipient.test>"],
        "cc": ["cc@recipient.test"],
        "bcc": ["bcc@recipient.test"],
        "reply_to": ["reply@example.com"],
        "subject": "A subject",
        "html": "<p>Hello</p>",
        "text": "Hello",
        "tags": [{"name": "campaign", "value": "welcome"}],
        "headers": {"X-Order": "17", "X-Tallypost-Stream": "bulk"},
    }


def test_api_makes_the_same_email_of_it(tmp_path: Path) -> None:
    shown = email(text="Hello", tags=(Tag("campaign", "welcome"),), stream="bulk")
    made = taken_by_the_api(shown, tmp_path)
    assert (made.subject, made.html, made.text) == (shown.subject, shown.html, shown.text)
    assert tuple(address.header for address in made.to) == shown.to
    assert made.tags == shown.tags
    assert made.stream == "bulk"


def test_api_takes_an_email_without_words(tmp_path: Path) -> None:
    made = taken_by_the_api(email(subject="", html=None, text=""), tmp_path)
    assert (made.subject, made.html, made.text) == ("", None, "")


@pytest.mark.parametrize("text", NASTY)
def test_no_text_breaks_out_of_the_command(tmp_path: Path, text: str) -> None:
    shown = email(subject=text, html=f"<p>\n{text}\n</p>\r\n\t", text=text * 2)
    body = body_of(shown, tmp_path)
    assert (body["subject"], body["html"], body["text"]) == (shown.subject, shown.html, shown.text)


def test_every_character_arrives(tmp_path: Path) -> None:
    # All but NUL and the halves of characters, which no email holds.
    text = "".join(map(chr, [*range(1, 0x3000), *range(0x1F600, 0x1F650)]))
    body = body_of(email(text=text[:MAX_BODY_CHARS]), tmp_path)
    assert body["text"] == text[:MAX_BODY_CHARS]


def test_long_body_is_left_out_and_named(tmp_path: Path) -> None:
    shown = email(html="x" * (MAX_BODY_CHARS + 1), text="y" * MAX_BODY_CHARS)
    body = body_of(shown, tmp_path)
    assert "html" not in body
    assert body["text"] == shown.text
    assert command_of(shown).left_out == ("its HTML body, which is longer than 20,000 characters",)
    (named,) = command_of(email(text="y" * (MAX_BODY_CHARS + 1))).left_out
    assert named.startswith("its text body")


def test_time_and_attachments_are_left_out_and_named(tmp_path: Path) -> None:
    shown = email(scheduled_at=NOON)
    assert "scheduled_at" not in body_of(shown, tmp_path)
    assert command_of(shown).left_out == ("the time that it was scheduled for",)
    assert command_of(email(), has_attachments=True).left_out == ("its attachments",)


@pytest.mark.parametrize("stream", ["Weekly news", "NEWS", "ä", "x" * 65])
def test_stream_that_no_header_can_name_is_left_out_and_named(tmp_path: Path, stream: str) -> None:
    shown = email(stream=stream)
    assert taken_by_the_api(shown, tmp_path).stream is None
    (named,) = command_of(shown).left_out
    assert f"its stream {stream}" in named
