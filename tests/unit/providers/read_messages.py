"""What a person should see of an email, and what a parser makes of its message."""

import email
import email.policy
from email.header import decode_header, make_header
from email.message import EmailMessage, Message
from email.utils import getaddresses

from msgspec import Struct

from tallypost_providers.types import OutgoingEmail

# Neither the name nor the address of a person needs more than this of their header.
Mailbox = tuple[str, str]


class ReadAttachment(Struct, frozen=True):
    """A part that is no body."""

    filename: str
    content_type: str
    content_id: str
    body: bytes


class ReadMessage(Struct, frozen=True):
    """A message as a reader takes it: decoded, with line feeds for line ends."""

    subject: str
    sender: Mailbox
    to: list[Mailbox]
    cc: list[Mailbox]
    reply_to: list[Mailbox]
    text: str
    html: str
    attachments: list[ReadAttachment]
    headers: dict[str, str]
    """The tenant's own."""


def expected(email_: OutgoingEmail) -> ReadMessage:
    """What every parser should make of the email's message."""
    inline = [item for item in email_.attachments if item.content_id and email_.html is not None]
    others = [item for item in email_.attachments if item not in inline]
    return ReadMessage(
        subject=email_.subject,
        sender=_meant(email_.from_header),
        to=[_meant(text) for text in email_.to],
        cc=[_meant(text) for text in email_.cc],
        reply_to=[_meant(text) for text in email_.reply_to],
        text=as_sent(email_.text or ""),
        html=as_sent(email_.html or ""),
        attachments=[
            ReadAttachment(
                item.filename, _type_as_sent(item.content_type), item.content_id or "", item.body
            )
            for item in (*inline, *others)
        ],
        headers=dict(email_.headers),
    )


def as_sent(text: str) -> str:
    """A body with the one change that is made to it: it ends with a line end."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    return lines if not lines or lines.endswith("\n") else lines + "\n"


def read_by_stdlib(message: bytes, headers: list[str]) -> ReadMessage:
    """The message as the standard library's parser sees it; headers are those to report."""
    parsed = email.message_from_bytes(message, policy=email.policy.default)
    assert isinstance(parsed, EmailMessage)
    assert not list(_defects(parsed))
    leaves = [part for part in parsed.walk() if not part.is_multipart()]
    attachments = [part for part in leaves if part.get_content_disposition()]
    bodies = {part.get_content_type(): part for part in leaves if part not in attachments}
    assert len(bodies) + len(attachments) == len(leaves)
    return ReadMessage(
        subject=str(parsed["Subject"]),
        sender=_mailboxes(message, "From")[0],
        to=_mailboxes(message, "To"),
        cc=_mailboxes(message, "Cc"),
        reply_to=_mailboxes(message, "Reply-To"),
        text=_body(bodies.get("text/plain")),
        html=_body(bodies.get("text/html")),
        attachments=[_attachment(part) for part in attachments],
        headers={name: str(parsed[name]) for name in headers},
    )


def _meant(written: str) -> Mailbox:
    name, _, address = written.removesuffix(">").rpartition("<")
    name = name.strip()
    if name.startswith('"'):
        name = name[1:-1].replace('\\"', '"')
    local_part, _, domain = address.rpartition("@")
    return name, f"{local_part}@{domain.encode('idna').decode()}"


def _type_as_sent(content_type: str) -> str:
    # A message inside a message would be read as part of it, so it is sent as a file.
    kind = content_type.partition(";")[0]
    return "application/octet-stream" if kind.startswith("message/") else kind


def _defects(part: Message) -> list[object]:
    return [defect for child in part.walk() for defect in child.defects]


def _mailboxes(message: bytes, header: str) -> list[Mailbox]:
    # The older reader: the newer one keeps the space between two encoded words of a name,
    # against RFC 2047, section 6.2.
    values = email.message_from_bytes(message).get_all(header, [])
    return [
        (str(make_header(decode_header(name))), address) for name, address in getaddresses(values)
    ]


def _body(part: Message | None) -> str:
    if part is None:
        return ""
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    # Not get_content(): it takes U+0085 and other characters for line ends.
    return payload.decode("utf-8").replace("\r\n", "\n")


def _attachment(part: Message) -> ReadAttachment:
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    content_id = part.get("Content-ID", "").strip("<>")
    return ReadAttachment(part.get_filename() or "", part.get_content_type(), content_id, payload)
