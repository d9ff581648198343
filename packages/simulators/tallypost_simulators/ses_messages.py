"""Messages as SES takes them, and what it makes of them."""

import base64
import binascii
import datetime as dt
import email
import email.policy
import re
from collections import Counter
from collections.abc import Mapping
from email.message import EmailMessage, Message
from email.utils import format_datetime, getaddresses

from msgspec import Struct

from tallypost_simulators.ses_errors import SESError, bad_request, not_found
from tallypost_simulators.ses_fields import Fields, required_text, structure, text, texts

MAX_BYTES = 40 * 1024 * 1024
MAX_LINE_BYTES = 1000

# Fields that a message has once (developer guide, "Amazon SES header fields"; those of them that a
# program is likely to write).
_ONCE = (
    "content-type", "date", "from", "in-reply-to", "list-unsubscribe", "message-id",
    "mime-version", "references", "reply-to", "return-path", "sender", "subject",
)  # fmt: skip
# Part of the list in "Unsupported attachment types".
_ILLEGAL_ENDINGS = (".exe", ".bat", ".cmd", ".com", ".dll", ".js", ".jar", ".msi", ".scr", ".vbs")


class TakenMessage(Struct, kw_only=True):
    """One message that SES took."""

    message_id: str
    taken_at: dt.datetime
    sender: str
    """The address of From, or what the request gave in its place."""
    recipients: tuple[str, ...]
    """The envelope, in the order to, cc, bcc."""
    raw: bytes
    """As it came; a Simple one as SES puts it together."""
    tags: Mapping[str, str]
    configuration_set: str | None
    tenant_name: str | None
    region: str

    @property
    def envelope_sender(self) -> str:
        """Where bounces go: to SES, as long as an identity has no MAIL FROM domain of its own."""
        region = "" if self.region == "us-east-1" else f"{self.region}."
        return f"{self.message_id}@{region}amazonses.com"

    def as_delivered(self) -> bytes:
        """As recipients get it, but for the signature: Message-ID and Date are those of SES."""
        head, _, body = self.raw.partition(b"\r\n\r\n")
        fields = [
            field
            for field in re.split(rb"\r\n(?![ \t])", head)
            if not field.lower().startswith((b"message-id:", b"date:", b"return-path:", b"bcc:"))
        ]
        domain = "email" if self.region == "us-east-1" else self.region
        fields += [
            f"Message-ID: <{self.message_id}@{domain}.amazonses.com>".encode(),
            f"Date: {format_datetime(self.taken_at)}".encode(),
        ]
        return b"\r\n".join((*fields, b"", body))


def read_content(content: Fields, sender: str | None, recipients: list[str]) -> bytes:
    """The message of a request as MIME bytes; raises SESError for one that SES refuses."""
    kinds = [kind for kind in ("Simple", "Raw", "Template") if content.get(kind) is not None]
    if len(kinds) != 1:
        raise bad_request("Exactly one of Simple, Raw and Template is required in Content.")
    if kinds[0] == "Template":
        name = text(structure(content, "Template"), "TemplateName")
        raise not_found(f"Template {name} does not exist.")
    if kinds[0] == "Simple":
        raw = _compose(structure(content, "Simple"), sender, recipients)
    else:
        raw = _decode(required_text(structure(content, "Raw"), "Data"))
    if len(raw) > MAX_BYTES:
        raise bad_request(f"Message length is more than {MAX_BYTES} bytes long: '{len(raw)}'.")
    return raw


def judge_message(raw: bytes) -> Message:
    """The head of a message; raises SESError for what SES does not take."""
    head, separator, _ = raw.partition(b"\r\n\r\n" if b"\r\n" in raw else b"\n\n")
    if not separator or not head.strip():
        raise bad_request("The message has no header and body separated by a blank line.")
    if any(len(line) > MAX_LINE_BYTES for line in raw.splitlines()):
        raise bad_request("A line of the message is longer than 1000 characters.")
    message = email.message_from_bytes(raw)
    counts = Counter(name.lower() for name in message)
    for name in _ONCE:
        if counts[name] > 1:
            raise bad_request(f"Duplicate header '{name}'.")
    for part in message.walk():
        filename = part.get_filename() or ""
        if filename.lower().endswith(_ILLEGAL_ENDINGS):
            raise bad_request(f"Illegal filename '{filename}'.")
    return message


def sender_of(message: Message) -> str:
    """The address of From; raises SESError where there is not exactly one."""
    addresses = getaddresses([str(value) for value in message.get_all("From", [])])
    if len(addresses) != 1 or not addresses[0][1]:
        raise bad_request("Missing final '@domain'")
    return addresses[0][1]


def recipients_of(message: Message) -> list[str]:
    """Whom the head names; asked where a request has no Destination."""
    values = [str(value) for name in ("To", "Cc", "Bcc") for value in message.get_all(name, [])]
    return [address for _, address in getaddresses(values)]


def require_address(address: str) -> None:
    """Raise SESError for what is no address to SES."""
    local_part, at_sign, domain = address.rpartition("@")
    if not at_sign or not local_part:
        raise bad_request("Missing final '@domain'")
    if not address.isascii() or re.search(r"[\s\x00-\x1f<>,]", address):
        raise bad_request("Local address contains control or whitespace")
    if len(local_part) > 64:
        raise bad_request("Local address is too long")
    if not re.fullmatch(r"[A-Za-z0-9.-]+", domain) or ".." in domain or domain.startswith("."):
        raise bad_request("Domain contains illegal character")


def _decode(data: str) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise SESError(400, "SerializationException", "Raw data is not base64.") from error


def _compose(simple: Fields, sender: str | None, recipients: list[str]) -> bytes:
    message = EmailMessage(policy=email.policy.SMTP)
    if sender is None:
        raise bad_request("Missing required field FromEmailAddress.")
    message["From"] = sender
    message["To"] = ", ".join(recipients)
    message["Subject"] = required_text(structure(simple, "Subject"), "Data")
    body = structure(simple, "Body")
    plain, html = structure(body, "Text"), structure(body, "Html")
    if not plain and not html:
        raise bad_request("The message has neither Text nor Html.")
    if plain:
        message.set_content(required_text(plain, "Data"))
    if html and plain:
        message.add_alternative(required_text(html, "Data"), subtype="html")
    elif html:
        message.set_content(required_text(html, "Data"), subtype="html")
    return message.as_bytes()


def addresses_of(destination: Fields) -> list[str]:
    """The bare addresses of a Destination, in the order to, cc, bcc."""
    written = [
        value
        for name in ("ToAddresses", "CcAddresses", "BccAddresses")
        for value in texts(destination, name)
    ]
    found = []
    for value in written:
        # `Name <address>` is allowed; a bare address is taken as it stands, to be judged as such.
        found.append(value[value.index("<") + 1 : -1] if value.endswith(">") else value)
    return found
