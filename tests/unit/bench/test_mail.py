"""The email that everybody sends is what the documents say of it."""

from email import message_from_bytes

from bench import mail
from bench.http_load import MODEL_NUMBER


def test_its_body_has_ten_kilobytes_of_ascii_and_no_links() -> None:
    body = mail.html()
    assert len(body.encode("ascii")) == mail.HTML_BYTES
    assert "http" not in body
    assert "href" not in body


def test_its_body_is_the_same_each_time_and_holds_no_number_that_copies_change() -> None:
    assert mail.html() == mail.html()
    assert MODEL_NUMBER not in mail.html()


def test_what_mail_servers_inject_is_the_whole_message() -> None:
    parsed = message_from_bytes(mail.message("hello@example.com", "somebody@example.net"))
    assert parsed["From"] == "hello@example.com"
    assert parsed["To"] == "somebody@example.net"
    payload = parsed.get_payload(decode=True)
    assert isinstance(payload, bytes)
    assert payload.decode().replace("\r\n", "\n").strip() == mail.html().strip()
