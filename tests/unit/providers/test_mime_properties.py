"""What the MIME writer promises for every email, with the standard library's parser as judge."""

import email
import email.message
import email.policy
from email.header import decode_header, make_header
from email.utils import getaddresses

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tallypost_providers.errors import EmailNotBuildable
from tallypost_providers.mime import build_message
from tallypost_providers.types import Attachment
from tests.unit.providers.emails import make_email
from tests.unit.providers.mail_strategies import BODIES, FILENAMES, LINES, NAMES, SPECIALS, VISIBLE
from tests.unit.providers.read_messages import as_sent

# A busy machine makes drawing examples slow, which is no fault of the code.
PATIENT = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
CONTROLS = ["\r\nBcc: e@x.test", "\nBcc: e", "\rBcc: e", "\r\n\r\nbody", "\r\n--"]
CONTROLS += ["\x00", "\x0b", "\x1c", "\x85", "\u2028", "\ud800"]
HOSTILE = st.sampled_from([*CONTROLS, "a>, <e@x.test", "=?utf-8?B?DQpCY2M6IGU=?=", '"; name="x'])
# Half of it harmless, so that enough emails with hostile text in one place only are built.
ANYTHING = st.one_of(
    SPECIALS, VISIBLE, st.just("plain"), st.tuples(SPECIALS, HOSTILE, SPECIALS).map("".join)
)
LOCAL_PARTS = st.from_regex(r"[a-z0-9!#$%&'*+/=?^_`{|}~-]{1,40}(\.[a-z0-9]{1,10})?", fullmatch=True)
DOMAINS = st.sampled_from(["example.net", "mail.example.org", "bücher.example", "a" * 60 + ".test"])
ASCII_DOMAINS = {"bücher.example": "xn--bcher-kva.example"}
MAILBOXES = st.tuples(NAMES, LOCAL_PARTS, DOMAINS)
OUR_HEADERS = {
    "date", "from", "reply-to", "to", "cc", "subject", "message-id", "x-custom",
    "x-tallypost-email-id", "mime-version", "content-type", "content-transfer-encoding",
}  # fmt: skip


def parse(message: bytes) -> email.message.EmailMessage:
    return email.message_from_bytes(message, policy=email.policy.default)


def written(name: str, local_part: str, domain: str) -> str:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}" <{local_part}@{domain}>'


@given(VISIBLE | SPECIALS)
@PATIENT
def test_every_subject_comes_back(subject: str) -> None:
    message = parse(build_message(make_email(subject=subject)))
    assert str(message["Subject"]) == subject


@given(st.lists(MAILBOXES, min_size=1, max_size=6))
@PATIENT
def test_every_address_list_comes_back(mailboxes: list[tuple[str, str, str]]) -> None:
    to = tuple(written(*mailbox) for mailbox in mailboxes)
    message = build_message(make_email(to=to))
    found = [(item.username, item.domain) for item in parse(message)["To"].addresses]
    assert found == [
        (local_part, ASCII_DOMAINS.get(domain, domain)) for _, local_part, domain in mailboxes
    ]
    # The older reader for the names: the newer one keeps the space between two encoded words.
    read = getaddresses([email.message_from_bytes(message)["To"]])
    names = [str(make_header(decode_header(name))) for name, _ in read]
    assert names == [name for name, _, _ in mailboxes]


@given(BODIES, BODIES)
@PATIENT
def test_every_text_and_html_comes_back(text: str, html: str) -> None:
    message = parse(build_message(make_email(text=text, html=html)))
    assert [body_of(part) for part in message.iter_parts()] == [as_sent(text), as_sent(html)]


@given(LINES, LINES)
# A dot that is left alone by the encoder's own line break.
@example(text="", html=f"\x0c\n{'x' * 75}.")
@PATIENT
def test_every_body_passes_every_relay_and_mailbox_file(text: str, html: str) -> None:
    message = build_message(make_email(text=text, html=html))
    assert message.isascii()
    lines = message.split(b"\r\n")
    assert not [line for line in lines if b"\r" in line or b"\n" in line or b"\0" in line]
    assert not [line for line in lines if line == b"." or line.startswith(b"From ")]
    for part in parse(message).iter_parts():
        is_plain = part["Content-Transfer-Encoding"] == "7bit"
        body = part.as_bytes(policy=email.policy.SMTP).partition(b"\r\n\r\n")[2]
        assert max(map(len, body.split(b"\r\n"))) <= (990 if is_plain else 76)
        assert is_plain or b" \r\n" not in body


def body_of(part: email.message.Message) -> str:
    # Not get_content(): it takes U+0085 and other characters for line ends.
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.decode("utf-8").replace("\r\n", "\n")


@given(st.lists(st.tuples(FILENAMES, st.binary(max_size=300)), max_size=4))
@PATIENT
def test_every_attachment_comes_back(files: list[tuple[str, bytes]]) -> None:
    attachments = tuple(
        Attachment(filename=name, content_type="application/zip", body=body) for name, body in files
    )
    message = parse(build_message(make_email(attachments=attachments)))
    found = [
        (part.get_filename(), part.get_payload(decode=True)) for part in message.iter_attachments()
    ]
    assert found == files


@given(ANYTHING, ANYTHING, ANYTHING, ANYTHING, ANYTHING)
@PATIENT
def test_no_text_anywhere_adds_a_header_or_a_recipient(
    subject: str, name: str, value: str, filename: str, content_id: str
) -> None:
    email_ = make_email(
        subject=subject,
        from_header=f"{name} <hello@example.com>",
        to=(f"{name} <ada@example.net>",),
        html="<p>hi",
        headers={"X-Custom": value},
        attachments=(
            Attachment(filename=filename, content_type="a/b", body=b"", content_id=content_id),
        ),
    )
    try:
        message = build_message(email_)
    except EmailNotBuildable:
        return  # Refused is safe as well.
    parsed = parse(message)
    assert {header.lower() for header in parsed} <= OUR_HEADERS
    assert len(parsed.keys()) == len(set(parsed.keys()))
    assert [item.addr_spec for item in parsed["To"].addresses] == ["ada@example.net"]
    assert [item.addr_spec for item in parsed["From"].addresses] == ["hello@example.com"]
    assert message.isascii()
    assert all(len(line) <= 998 for line in message.split(b"\r\n"))
