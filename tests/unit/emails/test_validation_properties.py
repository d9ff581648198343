"""Whatever validation lets through can be stored, and breaks out of no header of its message."""

import datetime as dt
import email
import email.policy
import json
from email.utils import getaddresses
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tallypost_core.errors import AppError
from tallypost_domain.emails.types import NewEmail
from tallypost_domain.emails.validation import EmailRequest, validate
from tallypost_providers.mime import build_message
from tallypost_providers.types import Attachment, OutgoingEmail
from tests.support.emails import email_request
from tests.unit.providers.emails import make_email

NOW = dt.datetime(2026, 11, 24, 12, 0, tzinfo=dt.UTC)
BREAKS = "\r\n\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029\x00"
OUR_HEADERS = {
    "date", "from", "reply-to", "to", "cc", "subject", "message-id", "x-tallypost-email-id",
    "mime-version", "content-type", "content-transfer-encoding",
}  # fmt: skip

# Text as an attacker writes it: line ends of every kind, and what may stand after one.
ATTACKS = st.lists(
    st.sampled_from([*BREAKS, "\r\n", "Bcc:", "victim@evil.test", " ", "\t", "<", ">", '"', "\\"])
    | st.text(max_size=6),
    max_size=8,
).map("".join)
# What validation lets through, so that most examples come as far as the message: any script, and
# every special of the syntax.
HARMLESS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"], exclude_characters="<>@"),
    max_size=60,
) | st.text('abc ,;:()[]"\\=?_.', max_size=80)
# With surrogates, which `st.text` leaves out.
HOSTILE = ATTACKS | st.text(max_size=60) | st.text(st.characters(), max_size=20)
RAW = st.integers(0, 5).flatmap(lambda dice: HARMLESS if dice else HOSTILE)
HEADER_NAMES = st.from_regex(r"X-[!-9;-~]{1,10}", fullmatch=True) | HOSTILE
PLAIN_WORDS = st.from_regex(r"[A-Za-z0-9_-]{1,20}", fullmatch=True)
WORDS = st.integers(0, 5).flatmap(lambda dice: PLAIN_WORDS if dice else HOSTILE)
MAILBOXES = st.tuples(RAW, st.sampled_from(["a@a.test", "b@bücher.example", "c.d+e@c.test"])).map(
    lambda parts: f"{parts[0]} <{parts[1]}>"
)
REQUESTS = st.fixed_dictionaries(
    {"subject": RAW, "from_": MAILBOXES, "to": st.lists(MAILBOXES, min_size=1, max_size=3)},
    optional={
        "cc": st.lists(MAILBOXES, max_size=2),
        "reply_to": MAILBOXES,
        "headers": st.dictionaries(HEADER_NAMES, RAW, max_size=3),
        "tags": st.lists(st.fixed_dictionaries({"name": WORDS, "value": WORDS}), max_size=2),
        "html": RAW,
        "text": RAW,
        "attachments": st.lists(
            st.fixed_dictionaries(
                {"content": st.just("QUFB")},
                optional={"filename": RAW, "content_type": WORDS, "content_id": WORDS},
            ),
            max_size=2,
        ),
    },
)


def outgoing(accepted: NewEmail) -> OutgoingEmail:
    """The email as the worker makes it from the stored rows."""
    return make_email(
        from_header=accepted.from_.header,
        envelope_sender=accepted.from_.address,
        to=tuple(mailbox.header for mailbox in accepted.to),
        cc=tuple(mailbox.header for mailbox in accepted.cc),
        reply_to=tuple(mailbox.header for mailbox in accepted.reply_to),
        subject=accepted.subject,
        html=accepted.html,
        text=accepted.text,
        headers=accepted.headers,
        attachments=tuple(
            Attachment(
                filename=item.filename,
                content_type=item.content_type,
                body=item.body,
                content_id=item.content_id,
            )
            for item in accepted.attachments
        ),
        tags={tag.name: tag.value for tag in accepted.tags},
    )


def judge(request: EmailRequest) -> NewEmail | AppError:
    """What validation says; any other exception is a fault."""
    try:
        return validate(request, now=NOW)
    except AppError as error:
        return error


def addresses(message: email.message.Message, name: str) -> list[str]:
    return [address for _, address in getaddresses(message.get_all(name, []))]


@given(REQUESTS)
@settings(max_examples=600)
def test_nothing_that_is_let_through_breaks_out_of_a_header(fields: dict[str, Any]) -> None:
    accepted = judge(email_request(**fields))
    if isinstance(accepted, AppError):
        assert accepted.field
        return
    # It also never raises: an accepted email that cannot be written would be a dead letter.
    written = build_message(outgoing(accepted))
    head, _, _ = written.partition(b"\r\n\r\n")
    assert all(len(line) <= 998 and b"\n" not in line for line in written.split(b"\r\n"))
    message = email.message_from_bytes(head + b"\r\n\r\n")
    own = {name.lower() for name in accepted.headers}
    assert {name.lower() for name in message} <= OUR_HEADERS | own
    assert len(message.keys()) == len({name.lower() for name in message})
    assert b"bcc" not in {line.partition(b":")[0].strip().lower() for line in head.split(b"\r\n")}
    assert addresses(message, "From") == [accepted.from_.address]
    assert addresses(message, "To") == [mailbox.address for mailbox in accepted.to]
    assert addresses(message, "Cc") == [mailbox.address for mailbox in accepted.cc]


# Without what is always refused: controls, surrogates, and separators of lines and paragraphs.
HEADER_WORDS = st.text(
    st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=20
)


@given(HEADER_WORDS, HEADER_WORDS)
def test_header_of_a_tenant_comes_out_as_it_went_in(first: str, second: str) -> None:
    value = f"{first} {second}"
    accepted = judge(email_request(headers={"X-Custom": value}))
    assume(not isinstance(accepted, AppError))
    assert isinstance(accepted, NewEmail)
    written = build_message(outgoing(accepted))
    message = email.message_from_bytes(written, policy=email.policy.default)
    assert str(message["X-Custom"]).split() == value.split()


def strings(value: object) -> list[str]:
    """Every text anywhere in a value."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for pair in value.items() for part in pair for text in strings(part)]
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    return []


@given(REQUESTS)
@settings(max_examples=300)
def test_everything_that_is_let_through_can_be_stored_as_text_and_as_json(
    fields: dict[str, Any],
) -> None:
    accepted = judge(email_request(**fields))
    if isinstance(accepted, AppError):
        return
    # Postgres takes UTF-8 without NUL, in text and in jsonb.
    stored = json.loads(msgspec.json.encode(accepted))
    assert not [text for text in strings(stored) if "\x00" in text]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
FIELDS = [
    "from", "to", "cc", "bcc", "reply_to", "subject", "html", "text", "headers", "tags",
    "attachments", "scheduled_at", "template", "topic_id",
]  # fmt: skip


@given(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4))
@settings(max_examples=300)
def test_odd_json_is_an_error_of_the_caller_or_an_email(fields: dict[str, object]) -> None:
    body = {"from": "a@a.test", "to": "b@b.test", "subject": "s", "text": "t", **fields}
    try:
        request = msgspec.json.decode(json.dumps(body), type=EmailRequest)
    except msgspec.ValidationError:
        return
    answer = judge(request)
    if isinstance(answer, AppError):
        assert answer.field


@pytest.mark.parametrize(
    "body",
    [
        '{"from":"\\ud800@a.test"}',
        '{"headers":{"\\udfff":"a"}}',
        '{"attachments":[{"content":[' + "9" * 5000 + "]}]}",
        '{"template":' + "[" * 300 + "]" * 300 + "}",
    ],
)
def test_json_at_the_edge_of_what_is_json_never_gets_past(body: str) -> None:
    with pytest.raises((msgspec.DecodeError, AppError)):
        validate(msgspec.json.decode(body, type=EmailRequest), now=NOW)
