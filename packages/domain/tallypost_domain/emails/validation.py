"""Turns a loosely typed request into a NewEmail, or says which field is wrong and how to mend it.

Unknown fields are ignored and null counts as absent, as the clients that exist expect. Everything
that could break out of a header is refused here, before anything is stored.
"""

import datetime as dt
import re
from collections.abc import Mapping, Sequence

from msgspec import UNSET, Struct, UnsetType, field

from tallypost_domain.emails.addresses import FORBIDDEN_IN_HEADERS, parse_address
from tallypost_domain.emails.attachments import AttachmentRequest, decode_attachments
from tallypost_domain.emails.errors import (
    EmailTooLarge,
    FieldNotSupported,
    InvalidField,
    InvalidFromAddress,
    MissingField,
)
from tallypost_domain.emails.scheduling import parse_scheduled_at
from tallypost_domain.emails.types import Address, NewEmail, Tag
from tallypost_providers.types import is_reserved_header

MAX_RECIPIENTS = 50
MAX_BATCH = 100
MAX_EMAIL_BYTES = 40_000_000
MAX_HEADERS = 100
MAX_HEADER_BLOCK_BYTES = 64_000
MAX_HEADER_LINE = 998
MAX_TAGS = 50
STREAM_HEADER = "x-tallypost-stream"
STREAM_NAME = re.compile(r"[a-z0-9_-]{1,64}")
"""A stream that the header can name; others are named by a key alone."""

_HEADER_NAME = re.compile(r"[!-9;-~]{1,76}")
_TAG = re.compile(r"[A-Za-z0-9_-]{1,256}")


class TagRequest(Struct):
    """A tag as it came."""

    name: str | None = None
    value: str | None = None


class EmailRequest(Struct):
    """One email as a client wrote it; every field may be absent or null."""

    from_: str | None = field(default=None, name="from")
    to: str | list[str] | None = None
    cc: str | list[str] | None = None
    bcc: str | list[str] | None = None
    reply_to: str | list[str] | None = None
    subject: str | None = None
    html: str | None = None
    text: str | None = None
    headers: dict[str, str | None] | None = None
    tags: list[TagRequest] | None = None
    attachments: list[AttachmentRequest] | None = None
    scheduled_at: str | None = None
    template: object = UNSET
    topic_id: object = UNSET


def validate(request: EmailRequest, *, now: dt.datetime) -> NewEmail:
    """Check every field of a request; now is what relative schedules count from.

    Raises the AppError of the first wrong field, with its name in `field`.
    """
    for name, value in (("template", request.template), ("topic_id", request.topic_id)):
        _require_absent(name, value)
    if not request.from_:
        raise MissingField("Missing `from` field.", field="from")
    if request.to is None or request.to == [] or request.to == "":
        raise MissingField("Missing `to` field.", field="to")
    if request.subject is None:
        raise MissingField("Missing `subject` field.", field="subject")
    if request.html is None and request.text is None:
        raise MissingField("Missing `html` or `text` field.", field="html")
    from_ = parse_address(request.from_, "from", error=InvalidFromAddress)
    to, cc, bcc = _recipients(request)
    headers, stream = _headers(request.headers or {})
    email = NewEmail(
        from_=from_,
        to=to,
        cc=cc,
        bcc=bcc,
        reply_to=_mailboxes(request.reply_to, "reply_to"),
        subject=_subject(request.subject),
        html=_body(request.html, "html"),
        text=_body(request.text, "text"),
        headers=headers,
        tags=_tags(request.tags or ()),
        attachments=decode_attachments(request.attachments or ()),
        scheduled_at=parse_scheduled_at(request.scheduled_at, now)
        if request.scheduled_at
        else None,
        stream=stream,
    )
    if _header_block_bytes(email) > MAX_HEADER_BLOCK_BYTES:
        raise InvalidField(
            "The headers of the email, its mailboxes included, are larger than 64 kB.",
            field="headers",
        )
    if size_bytes(email) > MAX_EMAIL_BYTES:
        raise EmailTooLarge()
    return email


def size_bytes(email: NewEmail) -> int:
    """Bytes of an email's bodies and attachments, before they are encoded for transport."""
    bodies = sum(len(body.encode()) for body in (email.html, email.text) if body)
    return bodies + sum(len(attachment.body) for attachment in email.attachments)


def _header_block_bytes(email: NewEmail) -> int:
    mailboxes = (email.from_, *email.to, *email.cc, *email.reply_to)
    lines = [mailbox.header for mailbox in mailboxes] + [email.subject]
    lines += [f"{name}: {value}" for name, value in email.headers.items()]
    return sum(len(line.encode()) + len("\r\n") for line in lines)


def _require_absent(name: str, value: object | UnsetType) -> None:
    if value is not UNSET and value is not None:
        raise FieldNotSupported(f"The `{name}` field is not supported yet.", field=name)


def _recipients(
    request: EmailRequest,
) -> tuple[tuple[Address, ...], tuple[Address, ...], tuple[Address, ...]]:
    to = _mailboxes(request.to, "to")
    cc = _mailboxes(request.cc, "cc")
    bcc = _mailboxes(request.bcc, "bcc")
    count = len(to) + len(cc) + len(bcc)
    if count > MAX_RECIPIENTS:
        raise InvalidField(
            f"The email has {count} recipients in `to`, `cc` and `bcc`; "
            f"{MAX_RECIPIENTS} is the limit.",
            field="to",
        )
    return to, cc, bcc


def _mailboxes(value: str | Sequence[str] | None, name: str) -> tuple[Address, ...]:
    if value is None or value == "":
        return ()
    if isinstance(value, str):
        return (parse_address(value, name),)
    if len(value) > MAX_RECIPIENTS:
        raise InvalidField(
            f"The `{name}` field has more than {MAX_RECIPIENTS} entries.", field=name
        )
    return tuple(parse_address(item, f"{name}[{index}]") for index, item in enumerate(value))


def _subject(subject: str) -> str:
    if FORBIDDEN_IN_HEADERS.search(subject):
        raise InvalidField(
            "The `subject` field holds a control character or a line break.", field="subject"
        )
    if len(subject) > MAX_HEADER_LINE:
        raise InvalidField("The `subject` field is longer than 998 characters.", field="subject")
    return subject


def _body(body: str | None, name: str) -> str | None:
    # Postgres cannot store NUL in text, nor UTF-8 a lone surrogate.
    if body is not None and ("\x00" in body or not _is_utf8(body)):
        raise InvalidField(f"The `{name}` field holds a NUL or half a character.", field=name)
    return body


def _is_utf8(text: str) -> bool:
    # Of text that is ASCII alone Python keeps a mark; encoding costs far less than a search.
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


def _headers(headers: Mapping[str, str | None]) -> tuple[dict[str, str], str | None]:
    kept: dict[str, str] = {}
    seen: set[str] = set()
    stream: str | None = None
    given = {name: value for name, value in headers.items() if value is not None}
    if len(given) > MAX_HEADERS:
        raise InvalidField(
            f"The `headers` field has more than {MAX_HEADERS} entries.", field="headers"
        )
    for name, value in given.items():
        where = f"headers.{name}" if _HEADER_NAME.fullmatch(name) else "headers"
        if name.lower() in seen:
            raise InvalidField(f"The `{where}` header is given twice.", field=where)
        seen.add(name.lower())
        if name.lower() == STREAM_HEADER:
            stream = _stream(value)
            continue
        _require_usable_header(name, value, where)
        kept[name] = value
    return kept, stream


def _require_usable_header(name: str, value: str, where: str) -> None:
    if not _HEADER_NAME.fullmatch(name):
        raise InvalidField(
            "The `headers` field has a name that is not 1 to 76 visible ASCII characters "
            "without a colon.",
            field="headers",
        )
    if is_reserved_header(name):
        raise InvalidField(f"The `{where}` header is set by the platform.", field=where)
    if FORBIDDEN_IN_HEADERS.search(value):
        raise InvalidField(
            f"The `{where}` header holds a control character or a line break.", field=where
        )
    # A value without spaces cannot be folded, so it must fit a line together with its name.
    if len(name) + len(": ") + len(value) > MAX_HEADER_LINE:
        raise InvalidField(
            f"The `{where}` header is longer than 998 characters with its name.", field=where
        )


def _stream(value: str) -> str:
    if not STREAM_NAME.fullmatch(value):
        raise InvalidField(
            "The `headers.X-Tallypost-Stream` header is not the name of a stream.",
            field="headers.X-Tallypost-Stream",
        )
    return value


def _tags(tags: Sequence[TagRequest]) -> tuple[Tag, ...]:
    if len(tags) > MAX_TAGS:
        raise InvalidField(f"The `tags` field has more than {MAX_TAGS} entries.", field="tags")
    checked = []
    for index, tag in enumerate(tags):
        for part, text in (("name", tag.name), ("value", tag.value)):
            if text is None or not _TAG.fullmatch(text):
                raise InvalidField(
                    f"The `tags[{index}].{part}` field must be 1 to 256 ASCII letters, digits, "
                    "underscores or dashes.",
                    field=f"tags[{index}].{part}",
                )
        checked.append(Tag(name=tag.name or "", value=tag.value or ""))
    return tuple(checked)
