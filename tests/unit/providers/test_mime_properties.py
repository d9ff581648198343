"""What the MIME writer promises for every email, with the standard library's parser as judge."""

import email
import email.message
import email.policy
from email.header import decode_header, make_header
from email.utils import getaddresses, unquote

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tallypost_providers.errors import EmailNotBuildable
from tallypost_providers.mime import build_message
from tallypost_providers.types import Attachment
from tests.unit.providers.emails import make_email

# A busy machine makes drawing examples slow, which is no fault of the code.
PATIENT = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
FORBIDDEN = "".join(map(chr, [*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029]))
VISIBLE = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters=FORBIDDEN), max_size=200
)
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=400)
# ASCII in the proportion in which real subjects have it, with every special of the syntax.
SPECIALS = st.text('abc ,;:<>()[]@"\\=?_.utf-8BQ', max_size=200)
CONTROLS = ["\r\nBcc: e@x.test", "\nBcc: e", "\rBcc: e", "\r\n\r\nbody", "\r\n--"]
CONTROLS += ["\x00", "\x0b", "\x1c", "\x85", "\u2028", "\ud800"]
HOSTILE = st.sampled_from([*CONTROLS, "a>, <e@x.test", "=?utf-8?B?DQpCY2M6IGU=?=", '"; name="x'])
# Half of it harmless, so that enough emails with hostile text in one place only are built.
ANYTHING = st.one_of(
    SPECIALS, VISIBLE, st.just("plain"), st.tuples(SPECIALS, HOSTILE, SPECIALS).map("".join)
)
NAMES = (VISIBLE | SPECIALS).map(str.strip)
LOCAL_PARTS = st.from_regex(r"[a-z0-9!#$%&'*+/=?^_`{|}~-]{1,40}(\.[a-z0-9]{1,10})?", fullmatch=True)
DOMAINS = st.sampled_from(["example.net", "mail.example.org", "bücher.example", "a" * 60 + ".test"])
ASCII_DOMAINS = {"bücher.example": "xn--bcher-kva.example"}
MAILBOXES = st.tuples(NAMES, LOCAL_PARTS, DOMAINS)
# The judge takes quotes and angle brackets off a file name even where they are encoded.
FILENAMES = NAMES.filter(lambda name: name and name == unquote(name))
OUR_HEADERS = {
    "date", "from", "reply-to", "to", "cc", "subject", "message-id", "x-custom",
    "x-tallypost-email-id", "mime-version", "content-type", "content-transfer-encoding",
}  # fmt: skip


def parse(message: bytes) -> email.message.EmailMessage:
    return email.message_from_bytes(message, policy=email.policy.default)


def written(name: str, local_part: str, domain: str) -> str:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}" <{local_part}@{domain}>'


def as_sent(text: str) -> str:
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    return lines if not lines or lines.endswith("\n") else lines + "\n"


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


@given(ANY_TEXT, ANY_TEXT)
@PATIENT
def test_every_text_and_html_comes_back(text: str, html: str) -> None:
    message = parse(build_message(make_email(text=text, html=html)))
    assert [body_of(part) for part in message.iter_parts()] == [as_sent(text), as_sent(html)]


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
