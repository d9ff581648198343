"""Reads and decodes request bodies, so that what is wrong with one is said in our own words."""

import asyncio
import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec
from litestar import Request
from msgspec import Raw, Struct

from tallypost_api.errors import (
    JSONTooDeep,
    JSONTooIntricate,
    MalformedJSON,
    MalformedRequest,
    RequestTimeout,
    RequestTooLarge,
    UnsupportedEncoding,
    WrongType,
)
from tallypost_api.request_context import RequestContext, request_context
from tallypost_api.request_headers import find_header
from tallypost_core.errors import AppError
from tallypost_domain.emails.errors import InvalidField
from tallypost_domain.emails.validation import MAX_BATCH, EmailRequest

BODY_KEY: Final = "body"
"""Names, in a handler's `opt`, the type of the body that it decodes here."""
MAX_BODY_BYTES: Final = 40_000_000
MAX_JSON_DEPTH: Final = 32
MAX_JSON_NODES: Final = 250_000
"""Most strings, and most lists and objects, of a body: a full batch has a tenth of it."""
BODY_TIMEOUT_S: Final = 30.0

T = TypeVar("T")


class RescheduleRequest(Struct):
    """The body of a change to an email's schedule."""

    scheduled_at: str | None = None


class BatchItem(Struct, frozen=True):
    """One email of a batch: decoded, or the reason why it cannot be; and as it came."""

    request: EmailRequest | AppError
    raw: Raw


_EMAIL = msgspec.json.Decoder(EmailRequest)
_BATCH = msgspec.json.Decoder(list[Raw])
_RESCHEDULE = msgspec.json.Decoder(RescheduleRequest)

# msgspec: "Expected `str`, got `int` - at `$.to[1]`".
_TYPE_ERROR = re.compile(
    r"^(?P<what>.*?)(?: - at `\$\.?(?P<field>.*?)(?:\[\.\.\.\])?`)?$", re.DOTALL
)
_MALFORMED_PREFIX = "JSON is malformed: "
_BRACES_AS_BRACKETS = bytes.maketrans(b"{}", b"[]")
_NEITHER_BRACKET_NOR_QUOTE = bytes(set(range(256)) - set(b'[]{}"'))
_STRING = re.compile(rb'"[^"]*"')


async def read_body(
    request: Request[Any, Any, Any],
    *,
    max_bytes: int = MAX_BODY_BYTES,
    timeout_s: float = BODY_TIMEOUT_S,
) -> bytes:
    """The whole body of a request, at most max_bytes and within timeout_s seconds.

    Raises RequestTooLarge before more than that is buffered, RequestTimeout, and
    UnsupportedEncoding for a compressed body: a small one could grow without bound.
    """
    encoding = find_header(request.scope, b"content-encoding")
    if encoding is not None and encoding.strip().lower() not in ("", "identity"):
        raise UnsupportedEncoding
    # The server refuses a length that is not a number.
    if int(find_header(request.scope, b"content-length") or 0) > max_bytes:
        raise _too_large(max_bytes)
    context = request_context(request.scope)
    try:
        async with asyncio.timeout(timeout_s):
            return await _collect(request, context, max_bytes)
    except TimeoutError:
        # The rest may never come; a connection that waits for it is of no use to anybody.
        context.headers.append((b"connection", b"close"))
        raise RequestTimeout from None


async def _collect(
    request: Request[Any, Any, Any], context: RequestContext, max_bytes: int
) -> bytes:
    chunks: list[bytes] = []
    size_bytes = 0
    while True:
        message = await request.receive()
        if message["type"] != "http.request":
            raise MalformedRequest("The connection was closed before the body was complete.")
        chunk = message["body"]
        size_bytes += len(chunk)
        if size_bytes > max_bytes:
            raise _too_large(max_bytes)
        context.hold(len(chunk))
        chunks.append(chunk)
        if not message.get("more_body"):
            return b"".join(chunks)


def _too_large(max_bytes: int) -> RequestTooLarge:
    return RequestTooLarge(f"The request body is larger than {max_bytes // 1_000_000} MB.")


def decode_email(body: bytes) -> EmailRequest:
    """One email.

    Raises MalformedJSON, JSONTooDeep, JSONTooIntricate, or WrongType that names the field.
    """
    return decode_body(_EMAIL, body, _wrong_type)


def decode_batch(body: bytes) -> list[BatchItem]:
    """The emails of a batch; one of the wrong type is an error in its place, not of the whole.

    Raises as `decode_email`, WrongType also where the body is not a list, and InvalidField
    where it holds no email or more than MAX_BATCH.
    """
    items = decode_body(_BATCH, body, _wrong_type)
    if not 1 <= len(items) <= MAX_BATCH:
        raise InvalidField(f"The batch has {len(items)} emails; send 1 to {MAX_BATCH}.")
    return [BatchItem(_decode_item(item), item) for item in items]


def decode_reschedule(body: bytes) -> RescheduleRequest:
    """A change of schedule; raises as `decode_email` does."""
    return decode_body(_RESCHEDULE, body, _wrong_type)


def _decode_item(item: Raw) -> EmailRequest | AppError:
    try:
        return _EMAIL.decode(item)
    except msgspec.ValidationError as error:
        return _wrong_type(error)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return _malformed(error)


def decode_body(
    decoder: "msgspec.json.Decoder[T]",
    body: bytes,
    explain: Callable[[msgspec.ValidationError], AppError],
) -> T:
    """What a body says; explain makes an error of ours of a value that does not fit.

    Raises that error, MalformedJSON, JSONTooDeep, JSONTooIntricate.
    """
    # Some clients announce JSON on a request without a body; that means the empty object.
    text = body if body.strip() else b"{}"
    # First, for decoding millions of small values takes seconds and a gigabyte.
    require_simple(text)
    try:
        return decoder.decode(text)
    except msgspec.ValidationError as error:
        raise explain(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _malformed(error) from None


def require_simple(text: bytes, *, max_depth: int = MAX_JSON_DEPTH) -> None:
    """Raise JSONTooDeep or JSONTooIntricate unless JSON has a modest structure.

    Text that is not well-formed may pass; a decoder finds it nested at most twice as deep.
    Works by whole-text operations, and bounds the number of what the slower ones see: a loop
    over the characters of 40 MB would stop the event loop for seconds.
    """
    # In this order: to count the quotes of a megabyte takes as long as all that follows. A text has
    # no more of them than characters, so most need not be counted.
    if _has_at_most(max_depth, text, b"[{") and (
        len(text) <= 2 * MAX_JSON_NODES or text.count(b'"') <= 2 * MAX_JSON_NODES
    ):
        return
    # Strings go, for they may hold brackets; before them their escapes, for they may hold quotes.
    unescaped = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    marks = unescaped.translate(_BRACES_AS_BRACKETS, _NEITHER_BRACKET_NOR_QUOTE)
    if marks.count(b'"') > 2 * MAX_JSON_NODES:
        raise JSONTooIntricate
    brackets = _STRING.sub(b"", marks)
    if len(brackets) > 2 * MAX_JSON_NODES:
        raise JSONTooIntricate
    for _ in range(max_depth):
        # One pass takes away the innermost level, no more: it does not look at what it joined.
        brackets = brackets.replace(b"[]", b"")
    # Unpaired ones are left of what is not well-formed; the decoder says what is wrong with it.
    if b"[]" in brackets or brackets.count(b"[") > max_depth:
        raise JSONTooDeep


def _has_at_most(most: int, text: bytes, characters: bytes) -> bool:
    """True where there are at most so many of these characters; stops looking beyond that."""
    count = 0
    for character in characters:
        position = text.find(character)
        while position >= 0:
            count += 1
            if count > most:
                return False
            position = text.find(character, position + 1)
    return True


def _wrong_type(error: msgspec.ValidationError) -> WrongType:
    match = _TYPE_ERROR.match(str(error))
    field = match["field"] if match else None
    what = match["what"] if match else str(error)
    what = what[:1].lower() + what[1:]
    if not field:
        return WrongType(f"The request body has the wrong type: {what}.")
    return WrongType(f"The `{field}` field has the wrong type: {what}.", field=field)


def _malformed(error: Exception) -> MalformedJSON:
    if isinstance(error, UnicodeDecodeError):
        return MalformedJSON("The request body is not JSON: it holds text that is not UTF-8.")
    reason = str(error).removeprefix(_MALFORMED_PREFIX)
    return MalformedJSON(f"The request body is not JSON: {reason}.")
