"""Writes an email as the body of a Mail Send request, with the models of SendGrid's own library.

A pure function, so that a repeat asks for the same message. The library speaks to nobody here: its
client blocks, and opens a connection for each request.
"""

import asyncio
import binascii
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec
from sendgrid.helpers.mail import Attachment as FileAttachment
from sendgrid.helpers.mail import (
    Bcc,
    Cc,
    ClickTracking,
    ContentId,
    CustomArg,
    Disposition,
    Email,
    FileContent,
    FileName,
    FileType,
    From,
    Ganalytics,
    Header,
    Mail,
    MimeType,
    OpenTracking,
    Personalization,
    ReplyTo,
    Subject,
    SubscriptionTracking,
    To,
    TrackingSettings,
)

from tallypost_providers.addresses import Mailbox, parse_mailbox
from tallypost_providers.header_encoding import encode_as_written
from tallypost_providers.sendgrid_envelope import Envelope
from tallypost_providers.sendgrid_limits import measure_bytes
from tallypost_providers.types import EMAIL_ID_HEADER, Attachment, OutgoingEmail, message_id

EMAIL_ID_ARG = "tallypost_email_id"
"""The custom argument that events and the activity feed bring back; it names the email."""
TENANT_ID_ARG = "tallypost_tenant_id"

# Up to here the event loop writes the body itself; see `message` for why.
_LARGE_BYTES = 128 * 1024
# Starts no thread before the first large email.
_threads = ThreadPoolExecutor(2, thread_name_prefix="sendgrid")

# The types that every provider sends as opaque files; see `mime_parts`.
_NESTED_TYPES = ("message/", "multipart/")
_OPAQUE_TYPE = "application/octet-stream"
# "Prohibits" these in names of attachments (mail-send/errors), where CRLF is refused anyway.
_FILENAME_MARKS = str.maketrans(";,", "__")

AddressT = TypeVar("AddressT", bound=Email)


async def write_body_async(email: OutgoingEmail, envelope: Envelope) -> bytes:
    """As `write_body`; a large email is left to a thread, so that the event loop goes on."""
    if measure_bytes(email) <= _LARGE_BYTES:
        return write_body(email, envelope)
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_threads, write_body, email, envelope)


def write_body(email: OutgoingEmail, envelope: Envelope) -> bytes:
    """The JSON of one Mail Send request, the same bytes each time.

    The email must be buildable and within SendGrid's limits. One personalization has all of the
    envelope, so that everybody gets one message with the same To and Cc. What SendGrid would add by
    itself (a pixel, rewritten links, a footer to unsubscribe) is switched off.
    """
    sender = parse_mailbox(email.from_header, "from")
    mail = Mail()
    mail.from_email = _address(From, sender)
    mail.subject = Subject(email.subject)
    mail.add_personalization(_personalization(envelope))
    reply_to = [
        _address(ReplyTo, mailbox)
        for mailbox in dict.fromkeys(parse_mailbox(text, "reply_to") for text in email.reply_to)
    ]
    # The two fields exclude each other.
    if len(reply_to) == 1:
        mail.reply_to = reply_to[0]
    elif reply_to:
        mail.reply_to_list = reply_to
    # The library puts each header and attachment before those that it has.
    for name, value in reversed(_headers(email, sender).items()):
        mail.add_header(Header(name, value))
    for attachment in reversed(email.attachments):
        mail.add_attachment(_attachment(attachment, can_inline=bool(email.html)))
    mail.add_custom_arg(CustomArg(EMAIL_ID_ARG, str(email.email_id)))
    mail.add_custom_arg(CustomArg(TENANT_ID_ARG, str(email.tenant_id)))
    mail.tracking_settings = TrackingSettings(
        ClickTracking(enable=False, enable_text=False),
        OpenTracking(enable=False),
        SubscriptionTracking(enable=False),
        Ganalytics(enable=False),
    )
    # Not by the library's model, which raises for a text that begins like an API key.
    return msgspec.json.encode({**mail.get(), "content": _content(email)})


def _personalization(envelope: Envelope) -> Personalization:
    personalization = Personalization()
    for mailbox in envelope.to:
        personalization.add_to(_address(To, mailbox))
    for mailbox in envelope.cc:
        personalization.add_cc(_address(Cc, mailbox))
    for mailbox in envelope.bcc:
        personalization.add_bcc(_address(Bcc, mailbox))
    return personalization


def _address(kind: type[AddressT], mailbox: Mailbox) -> AddressT:
    # By its properties: given both at once it takes an address without a name apart, and puts it
    # together in another way.
    address: AddressT = kind()
    address.email = mailbox.address
    if mailbox.name:
        address.name = _display_name(mailbox.name)
    return address


def _display_name(name: str) -> str:
    """SendGrid takes a comma or semicolon for the end of a name unless it stands in quotes
    (Limitations of Mail Send, and the comment on it in SendGrid's PHP library)."""
    if "," not in name and ";" not in name:
        return name
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _headers(email: OutgoingEmail, sender: Mailbox) -> dict[str, str]:
    """Values as they stand in a message, but on one line: SendGrid encodes none and folds them."""
    headers = {
        name: encode_as_written(name, value).replace("\r\n", "")
        for name, value in email.headers.items()
    }
    # Not among the headers that SendGrid reserves, nor does it promise to keep it.
    headers["Message-ID"] = message_id(email.email_id, sender.domain)
    headers[EMAIL_ID_HEADER] = str(email.email_id)
    return headers


def _content(email: OutgoingEmail) -> list[dict[str, str]]:
    """Plain text comes first (mail-send/errors, content.value); an empty part is left out."""
    parts = ((MimeType.text, email.text), (MimeType.html, email.html))
    return [{"type": mime_type, "value": text} for mime_type, text in parts if text]


def _attachment(attachment: Attachment, *, can_inline: bool) -> FileAttachment:
    # Without html nothing can refer to an inline part: it becomes an attachment like others.
    is_inline = can_inline and bool(attachment.content_id)
    name = attachment.filename or (attachment.content_id if is_inline else None) or "attachment"
    content_type = attachment.content_type.partition(";")[0].strip().lower()
    if content_type.startswith(_NESTED_TYPES):
        content_type = _OPAQUE_TYPE
    return FileAttachment(
        FileContent(binascii.b2a_base64(attachment.body, newline=False).decode("ascii")),
        FileName(name.translate(_FILENAME_MARKS)),
        FileType(content_type),
        Disposition("inline" if is_inline else "attachment"),
        ContentId(attachment.content_id) if is_inline else None,
    )
