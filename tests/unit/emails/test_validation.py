"""Every rule about a request, each with the field that it names and the words it says."""

import datetime as dt
from typing import Any

import msgspec
import pytest

from tallypost_core.errors import AppError
from tallypost_domain.emails.errors import (
    EmailTooLarge,
    FieldNotSupported,
    InvalidField,
    InvalidFromAddress,
    MissingField,
)
from tallypost_domain.emails.types import NewEmail, Tag
from tallypost_domain.emails.validation import (
    MAX_EMAIL_BYTES,
    MAX_RECIPIENTS,
    EmailRequest,
    validate,
)
from tests.support.emails import email_request

NOW = dt.datetime(2026, 11, 24, 12, 0, tzinfo=dt.UTC)
# C0 except TAB, DEL, C1, the Unicode line separators, and halves of characters.
FORBIDDEN = [
    chr(code)
    for code in [*range(9), *range(10, 32), *range(0x7F, 0xA0), 0x2028, 0x2029, 0xD800, 0xDFFF]
]
RESERVED = [
    "From", "TO", "cc", "Bcc", "Reply-To", "Subject", "Date", "Message-ID", "Sender",
    "MIME-Version", "Return-Path", "Received", "Delivered-To", "DKIM-Signature",
    "DomainKey-Signature", "Authentication-Results", "ARC-Seal", "ARC-Anything", "Content-Type",
    "Content-Transfer-Encoding", "Resent-To", "Resent-Bcc", "X-Tallypost-Email-Id",
    "x-tallypost-anything",
]  # fmt: skip


# Any: each field of a request has a type of its own.
def accept(**fields: Any) -> NewEmail:
    return validate(email_request(**fields), now=NOW)


def refuse(**fields: Any) -> AppError:
    with pytest.raises(AppError) as caught:
        accept(**fields)
    return caught.value


def decode(text: str) -> EmailRequest:
    return msgspec.json.decode(text, type=EmailRequest)


def test_smallest_request_is_enough() -> None:
    email = validate(decode('{"from":"a@a.test","to":"b@b.test","subject":"","text":""}'), now=NOW)
    assert (email.from_.address, email.subject, email.html, email.text) == (
        "a@a.test",
        "",
        None,
        "",
    )
    assert [to.address for to in email.to] == ["b@b.test"]
    assert (email.cc, email.bcc, email.reply_to, email.tags, email.attachments) == ((),) * 5
    assert (email.headers, email.scheduled_at, email.stream) == ({}, None, None)


def test_unknown_fields_are_ignored_and_null_is_absent() -> None:
    names = (
        "cc", "bcc", "reply_to", "html", "headers", "tags", "attachments", "scheduled_at",
        "template", "topic_id",
    )  # fmt: skip
    nulls = "".join(f',"{name}":null' for name in names)
    smallest = '{"from":"a@a.test","to":["b@b.test"],"subject":"s","text":"t"'
    email = validate(decode(smallest + nulls + ',"unknown":[{}]}'), now=NOW)
    assert email == validate(decode(smallest + "}"), now=NOW)


@pytest.mark.parametrize(
    ("fields", "field", "message"),
    [
        ({"from_": None}, "from", "Missing `from` field."),
        ({"from_": ""}, "from", "Missing `from` field."),
        ({"to": None}, "to", "Missing `to` field."),
        ({"to": []}, "to", "Missing `to` field."),
        ({"to": ""}, "to", "Missing `to` field."),
        ({"subject": None}, "subject", "Missing `subject` field."),
        ({"html": None, "text": None}, "html", "Missing `html` or `text` field."),
    ],
)
def test_missing_field_is_named(fields: dict[str, Any], field: str, message: str) -> None:
    error = refuse(**fields)
    assert isinstance(error, MissingField)
    assert (error.code, error.field, error.message) == ("missing_required_field", field, message)


@pytest.mark.parametrize("name", ["template", "topic_id"])
@pytest.mark.parametrize("value", [{"id": "a"}, "a", "", 0, False, []])
def test_field_that_is_not_supported_yet_is_said_to_be_so(name: str, value: object) -> None:
    error = refuse(**{name: value})
    assert isinstance(error, FieldNotSupported)
    assert (error.field, error.message) == (name, f"The `{name}` field is not supported yet.")


def test_bad_sender_has_an_error_of_its_own() -> None:
    error = refuse(from_="nobody")
    assert isinstance(error, InvalidFromAddress)
    assert (error.code, error.field) == ("invalid_from_address", "from")


@pytest.mark.parametrize("name", ["to", "cc", "bcc", "reply_to"])
def test_mailboxes_are_one_string_or_a_list_and_a_bad_one_is_numbered(name: str) -> None:
    one = getattr(accept(**{name: "Ada <a@a.test>"}), name)
    assert one == getattr(accept(**{name: ["Ada <a@a.test>"]}), name)
    assert [mailbox.header for mailbox in one] == ["Ada <a@a.test>"]
    assert refuse(**{name: "nobody"}).field == name
    error = refuse(**{name: ["a@a.test", "nobody"]})
    assert (error.code, error.field) == ("validation_error", f"{name}[1]")


def test_fifty_recipients_in_all_pass_and_one_more_does_not() -> None:
    def some(count: int, name: str) -> list[str]:
        return [f"{name}{number}@a.test" for number in range(count)]

    email = accept(to=some(20, "to"), cc=some(20, "cc"), bcc=some(10, "bcc"))
    assert len(email.to) + len(email.cc) + len(email.bcc) == MAX_RECIPIENTS
    error = refuse(to=some(20, "to"), cc=some(20, "cc"), bcc=some(11, "bcc"))
    assert isinstance(error, InvalidField)
    assert error.field == "to"
    assert "51 recipients" in error.message
    for name in ("to", "cc", "bcc", "reply_to"):
        error = refuse(**{name: some(51, "x")})
        assert error.field == name
        assert "more than 50" in error.message


@pytest.mark.parametrize("character", FORBIDDEN)
def test_character_that_ends_a_header_line_is_refused_wherever_a_header_is_made(
    character: str,
) -> None:
    text = f"a{character}b"
    for fields, field in (
        ({"subject": text}, "subject"),
        ({"from_": f"{text} <a@a.test>"}, "from"),
        ({"to": ["a@a.test", f"{text} <a@a.test>"]}, "to[1]"),
        ({"reply_to": f"a@{text}.test"}, "reply_to"),
        ({"headers": {"X-A": text}}, "headers.X-A"),
        ({"headers": {"X-A": f"b{character}"}}, "headers.X-A"),
        ({"headers": {f"X-A{character}": "b"}}, "headers"),
        ({"headers": {"X-Tallypost-Stream": f"bulk{character}"}}, "headers.X-Tallypost-Stream"),
        ({"tags": [{"name": "a", "value": f"b{character}"}]}, "tags[0].value"),
    ):
        error = refuse(**fields)
        assert error.field == field, fields
        assert character not in error.message


@pytest.mark.parametrize("name", ["html", "text"])
@pytest.mark.parametrize("code", [0x00, 0xD800, 0xDC00, 0xDFFF])
def test_body_that_cannot_be_stored_is_refused_by_name(name: str, code: int) -> None:
    error = refuse(**{name: f"a{chr(code)}b"})
    assert isinstance(error, InvalidField)
    assert error.field == name
    assert getattr(accept(**{name: "\x01\x85\u2028\uffff\U0010ffff"}), name) is not None


def test_subject_has_at_most_998_characters_and_may_hold_a_tab() -> None:
    assert len(accept(subject="é" * 998).subject) == 998
    assert refuse(subject="e" * 999).field == "subject"
    assert accept(subject="a\tb").subject == "a\tb"


@pytest.mark.parametrize("name", RESERVED)
def test_header_of_the_platform_is_refused_in_any_case(name: str) -> None:
    for written in (name, name.lower(), name.upper()):
        error = refuse(headers={written: "x"})
        assert isinstance(error, InvalidField)
        assert error.field == f"headers.{written}"
        assert "set by the platform" in error.message


@pytest.mark.parametrize("name", ["", "X A", "X:A", "X\x7fA", "X-é", "x" * 77, "X-A\n", "X-A\r\nB"])
def test_name_that_no_header_can_have_is_refused(name: str) -> None:
    error = refuse(headers={name: "x"})
    assert (error.code, error.field) == ("validation_error", "headers")


@pytest.mark.parametrize(
    "name", ["X-A", "List-Unsubscribe", "In-Reply-To", "References", "x" * 76, "!#$%&'*+"]
)
def test_header_of_the_tenant_is_kept_as_written(name: str) -> None:
    assert accept(headers={name: "<https://a.test/?b=c>"}).headers == {
        name: "<https://a.test/?b=c>"
    }


def test_header_without_a_value_is_absent() -> None:
    assert accept(headers={"X-A": None, "Bcc": None, "X-B": ""}).headers == {"X-B": ""}


def test_header_given_twice_in_other_case_is_refused() -> None:
    assert refuse(headers={"X-A": "1", "x-a": "2"}).field == "headers.x-a"
    error = refuse(headers={"X-Tallypost-Stream": "bulk", "x-tallypost-stream": "bulk"})
    assert error.field == "headers.x-tallypost-stream"


def test_header_line_has_at_most_998_characters_with_its_name() -> None:
    longest = "v" * (998 - len("X-A: "))
    assert accept(headers={"X-A": longest}).headers == {"X-A": longest}
    error = refuse(headers={"X-A": longest + "v"})
    assert error.field == "headers.X-A"
    assert "998" in error.message


def test_email_has_at_most_100_headers_of_its_own() -> None:
    headers: dict[str, str | None] = {f"X-{number}": "v" for number in range(100)}
    assert len(accept(headers=headers | {"X-Absent": None}).headers) == 100
    error = refuse(headers=headers | {"X-100": "v"})
    assert (error.code, error.field) == ("validation_error", "headers")
    assert "100" in error.message


def test_headers_have_at_most_64_kilobytes_together() -> None:
    lines = {f"X-{number}": "v" * 900 for number in range(70)}
    assert len(accept(headers=lines).headers) == 70
    more = {**lines, "X-A": "v" * 900, "X-B": "é" * 450}
    assert refuse(headers=more).field == "headers"
    # Mailboxes stand in the same block.
    long_names = [f"{'n' * 900} <a{number}@a.test>" for number in range(50)]
    assert len(accept(to=long_names).to) == 50
    assert refuse(to=long_names, headers=lines).field == "headers"


@pytest.mark.parametrize("name", ["X-Tallypost-Stream", "x-tallypost-stream"])
def test_stream_is_taken_out_of_the_headers(name: str) -> None:
    email = accept(headers={name: "bulk", "X-A": "b"})
    assert (email.stream, email.headers) == ("bulk", {"X-A": "b"})


@pytest.mark.parametrize("stream", ["", "Bulk", "a b", "s" * 65])
def test_what_is_no_name_of_a_stream_is_refused(stream: str) -> None:
    assert refuse(headers={"X-Tallypost-Stream": stream}).field == "headers.X-Tallypost-Stream"


def test_tags_are_pairs_of_plain_words() -> None:
    tags = [{"name": "A_b-1", "value": "x" * 256}, {"name": "y" * 256, "value": "0"}]
    assert accept(tags=tags).tags == (Tag("A_b-1", "x" * 256), Tag("y" * 256, "0"))
    assert len(accept(tags=[{"name": "a", "value": "b"}] * 50).tags) == 50
    assert refuse(tags=[{"name": "a", "value": "b"}] * 51).field == "tags"


@pytest.mark.parametrize("text", [None, "", "a b", "é", "a\n", "a.b", "x" * 257, "\u0661"])
@pytest.mark.parametrize("part", ["name", "value"])
def test_tag_of_other_characters_is_refused_by_name(part: str, text: str | None) -> None:
    error = refuse(tags=[{"name": "a", "value": "b"}, {"name": "a", "value": "b", part: text}])
    assert (error.code, error.field) == ("validation_error", f"tags[1].{part}")


def test_email_of_40_megabytes_passes_and_a_larger_one_does_not() -> None:
    size_bytes = MAX_EMAIL_BYTES - 4_000_000 - 6
    attachments = [{"filename": "a", "content": "AAAA" * (size_bytes // 3)}]
    # 2 bytes for each é; what counts is what is kept, not how it was written.
    email = accept(html="é" * 2_000_000, text="123456", attachments=attachments)
    assert len(email.attachments[0].body) == size_bytes
    error = refuse(html="é" * 2_000_000, text="1234567", attachments=attachments)
    assert isinstance(error, EmailTooLarge)
    assert error.code == "email_too_large"


def test_schedule_is_read_and_an_empty_one_is_absent() -> None:
    assert accept(scheduled_at="in 5 minutes").scheduled_at == NOW + dt.timedelta(minutes=5)
    assert accept(scheduled_at="").scheduled_at is None
    assert refuse(scheduled_at="soon").field == "scheduled_at"


def test_errors_of_attachments_keep_their_number() -> None:
    attachments = [{"filename": "a", "content": ""}, {"filename": "b"}]
    error = refuse(attachments=attachments)
    assert (error.code, error.field) == ("invalid_attachment", "attachments[1].content")
