"""How an email becomes a Mail Send request."""

import base64
from typing import Any

import msgspec
import pytest

from tallypost_providers.sendgrid_envelope import read_envelope
from tallypost_providers.sendgrid_mail import EMAIL_ID_ARG, TENANT_ID_ARG, write_body
from tallypost_providers.types import EMAIL_ID_HEADER, Attachment, OutgoingEmail
from tests.unit.providers.emails import SENDING_DOMAIN, make_email, make_recipient


# Any: untyped JSON.
def request_of(email: OutgoingEmail) -> dict[str, Any]:
    mail: dict[str, Any] = msgspec.json.decode(write_body(email, read_envelope(email)))
    return mail


def test_everybody_stands_in_one_personalization() -> None:
    email = make_email(
        to=("Ada <ada@example.net>", "bob@example.net"),
        cc=("Cy <cy@example.net>",),
        recipients=(
            make_recipient("eve@hidden.test", "bcc"),
            make_recipient("cy@example.net", "cc"),
            make_recipient("ada@example.net"),
            make_recipient("bob@example.net"),
        ),
    )
    assert request_of(email)["personalizations"] == [
        {
            "to": [{"email": "ada@example.net", "name": "Ada"}, {"email": "bob@example.net"}],
            "cc": [{"email": "cy@example.net", "name": "Cy"}],
            "bcc": [{"email": "eve@hidden.test"}],
        }
    ]


def test_address_that_stands_twice_is_named_once() -> None:
    email = make_email(
        to=("Ada <ada@example.net>", "ADA@example.net"),
        cc=("ada@Example.net", "bob@example.net"),
        recipients=(
            make_recipient("ada@example.net"),
            make_recipient("Ada@example.net", "bcc"),
            make_recipient("bob@example.net", "cc"),
        ),
    )
    assert request_of(email)["personalizations"] == [
        {
            "to": [{"email": "ada@example.net", "name": "Ada"}],
            "cc": [{"email": "bob@example.net"}],
        }
    ]


def test_our_ids_travel_as_custom_arguments_and_in_the_header() -> None:
    email = make_email()
    mail = request_of(email)
    assert mail["custom_args"] == {
        EMAIL_ID_ARG: str(email.email_id),
        TENANT_ID_ARG: str(email.tenant_id),
    }
    assert mail["headers"][EMAIL_ID_HEADER] == str(email.email_id)
    assert mail["headers"]["Message-ID"] == f"<{email.email_id}@{SENDING_DOMAIN}>"


def test_everything_that_sendgrid_would_add_is_switched_off() -> None:
    tracking = request_of(make_email())["tracking_settings"]
    assert set(tracking) == {
        "click_tracking",
        "open_tracking",
        "subscription_tracking",
        "ganalytics",
    }
    assert not any(flag for group in tracking.values() for flag in group.values())


def test_plain_text_comes_before_html() -> None:
    assert request_of(make_email(text="a", html="<p>b"))["content"] == [
        {"type": "text/plain", "value": "a"},
        {"type": "text/html", "value": "<p>b"},
    ]


@pytest.mark.parametrize(
    ("text", "html", "kind"), [("", "<p>b", "text/html"), ("a", "", "text/plain")]
)
def test_empty_part_is_left_out(text: str, html: str, kind: str) -> None:
    content = request_of(make_email(text=text, html=html))["content"]
    assert [part["type"] for part in content] == [kind]


def test_text_that_looks_like_an_api_key_is_text() -> None:
    assert request_of(make_email(text="SG.abc.def"))["content"][0]["value"] == "SG.abc.def"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("Jürgen שלום <ada@example.net>", "Jürgen שלום"),
        ('"Doe, Ada" <ada@example.net>', '"Doe, Ada"'),
        ("Ada; or not <ada@example.net>", '"Ada; or not"'),
        ('"a \\"b\\", c" <ada@example.net>', '"a \\"b\\", c"'),
        ("A & B <ada@example.net>", "A & B"),
    ],
)
def test_display_name_stays_what_a_person_wrote(written: str, expected: str) -> None:
    (recipient,) = request_of(make_email(to=(written,)))["personalizations"][0]["to"]
    assert recipient == {"email": "ada@example.net", "name": expected}


def test_quoted_local_part_stays_as_it_is() -> None:
    address = '"a b"@example.net'
    email = make_email(to=(address,), recipients=(make_recipient(address),))
    assert request_of(email)["personalizations"][0]["to"] == [{"email": address}]


def test_domain_outside_ascii_travels_in_its_ascii_form() -> None:
    email = make_email(
        to=("ada@bücher.example",), recipients=(make_recipient("ada@xn--bcher-kva.example"),)
    )
    assert read_envelope(email).is_whole
    (recipient,) = request_of(email)["personalizations"][0]["to"]
    assert recipient["email"] == "ada@xn--bcher-kva.example"


def test_one_address_to_reply_to_and_several_have_a_field_each() -> None:
    one = request_of(make_email(reply_to=("Help <help@example.com>",)))
    assert one["reply_to"] == {"email": "help@example.com", "name": "Help"}
    assert "reply_to_list" not in one
    several = request_of(make_email(reply_to=("a@example.com", "b@example.com", "a@example.com")))
    assert several["reply_to_list"] == [{"email": "a@example.com"}, {"email": "b@example.com"}]
    assert "reply_to" not in several


def test_headers_keep_their_order_and_stand_on_one_line() -> None:
    link = "<https://example.com/" + "u" * 100 + ">"
    headers = request_of(
        make_email(headers={"List-Unsubscribe": f"{link}, {link}", "X-Name": "שלום" * 30, "A": "b"})
    )["headers"]
    assert list(headers)[:3] == ["List-Unsubscribe", "X-Name", "A"]
    assert headers["List-Unsubscribe"] == f"{link}, {link}"
    assert headers["X-Name"].isascii()
    assert "\n" not in headers["X-Name"]


def test_attachments_keep_their_order_bytes_and_names() -> None:
    files = (
        Attachment(filename="ä 1.pdf", content_type="Application/PDF; a=b", body=b"\x00\xff"),
        Attachment(filename="b.eml", content_type="message/rfc822", body=b"From: a\r\n"),
        Attachment(filename="", content_type="text/plain", body=b"c"),
        Attachment(filename="d;e,f.txt", content_type="text/plain", body=b"d"),
    )
    attachments = request_of(make_email(attachments=files))["attachments"]
    assert [base64.b64decode(item["content"]) for item in attachments] == [
        file.body for file in files
    ]
    assert [(item["filename"], item["type"]) for item in attachments] == [
        ("ä 1.pdf", "application/pdf"),
        ("b.eml", "application/octet-stream"),
        ("attachment", "text/plain"),
        ("d_e_f.txt", "text/plain"),
    ]
    assert {item["disposition"] for item in attachments} == {"attachment"}


def test_inline_image_is_found_by_the_html_that_names_it() -> None:
    image = Attachment(filename="", content_type="image/png", body=b"p", content_id="logo")
    html = '<img src="cid:logo">'
    (item,) = request_of(make_email(html=html, attachments=(image,)))["attachments"]
    assert (item["disposition"], item["content_id"], item["filename"]) == ("inline", "logo", "logo")


def test_image_that_no_html_can_name_is_an_attachment_like_others() -> None:
    image = Attachment(filename="a.png", content_type="image/png", body=b"p", content_id="logo")
    (item,) = request_of(make_email(html=None, attachments=(image,)))["attachments"]
    assert item["disposition"] == "attachment"
    assert "content_id" not in item


def test_same_email_is_the_same_request() -> None:
    email = make_email(html="<p>hi", headers={"X-A": "1"})
    assert write_body(email, read_envelope(email)) == write_body(email, read_envelope(email))
