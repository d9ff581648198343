"""Signs messages with DKIM (RFC 6376), relaxed/relaxed, RSA and Ed25519 (RFC 8463) side by side.

A signature is put in front of the message; the message itself is never touched. Both algorithms
are deterministic (RSASSA-PKCS1-v1_5 and Ed25519), so a retry has the same bytes.
"""

import base64
import binascii
import datetime as dt
import hashlib
import re
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa

from tallypost_providers.errors import SigningKeyInvalid
from tallypost_providers.types import DKIMKey

Algorithm = Literal["rsa-sha256", "ed25519-sha256"]
PrivateKey = rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

RSA_BITS = 2048
# Verifiers must accept 1024 to 4096 (RFC 8301, section 3.2); below 1024 they must refuse.
_RSA_LEAST_BITS = 1024
_PARSED_KEYS_MAX = 1024

# Listed once more than they occur, so that a second one added on the way breaks the signature
# (RFC 6376, section 8.15). Mailing lists add Reply-To and Sender, which therefore are not here.
_OVERSIGNED = ("from", "to", "cc", "subject", "date")
_SIGNED = (
    "reply-to",
    "message-id",
    "in-reply-to",
    "references",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
    "list-id",
    "list-unsubscribe",
    "list-unsubscribe-post",
)

_WANTED = dict.fromkeys((*_OVERSIGNED, *_SIGNED))

_PADDING = padding.PKCS1v15()
_SHA256 = hashes.SHA256()

_HEADER_START = re.compile(r"\r\n(?![ \t])")
# Two literal spaces are found ten times as fast as a class of characters is.
_SPACES = re.compile(r"  +")
_SPACES_OF_BODY = re.compile(rb"  +")
_FOLD_CHARS = 72


class KeyPair(NamedTuple):
    """A new key: what to store sealed, and what to publish."""

    private_key: bytes
    """PKCS#8 DER, in the clear."""
    public_key: str
    """Base64, the value of `p=` in DNS."""


def generate_keypair(algorithm: Algorithm) -> KeyPair:
    """A fresh key for a sending domain; RSA has RSA_BITS bits and takes tens of milliseconds."""
    key: PrivateKey
    if algorithm == "rsa-sha256":
        key = rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
    else:
        key = ed25519.Ed25519PrivateKey.generate()
    private_key = key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return KeyPair(private_key, _public_key_text(key))


def dns_record(algorithm: Algorithm, public_key: str) -> str:
    """The TXT record at `<selector>._domainkey.<domain>`.

    An RSA record is longer than 255 characters: a zone file holds it as several strings, which
    a resolver joins (RFC 6376, section 3.6.2.2).
    """
    kind = "rsa" if algorithm == "rsa-sha256" else "ed25519"
    return f"v=DKIM1; k={kind}; p={public_key}"


def sign(message: bytes, keys: Sequence[DKIMKey], signed_at: dt.datetime) -> bytes:
    """The message with one DKIM-Signature in front for each key, in the order of the keys.

    message has CRLF line ends. signed_at, to the second, is `t=`: pass the email's created_at,
    so that the bytes stay the same. Without keys the message comes back as it is.
    Raises SigningKeyInvalid, which names the selector.
    """
    if not keys:
        return message
    head, separator, body = message.partition(b"\r\n\r\n")
    if not separator:
        head, body = message.removesuffix(b"\r\n"), b""
    # Latin-1 maps each byte to one character and back, whatever the header holds.
    fields = [_split_field(field) for field in _HEADER_START.split(head.decode("latin-1"))]
    return signature_fields(fields, [body], keys, signed_at) + message


def signature_fields(
    fields: Iterable[tuple[str, str]],
    body: Iterable[bytes],
    keys: Sequence[DKIMKey],
    signed_at: dt.datetime,
) -> bytes:
    """The header lines that `sign` puts in front, for whoever has the fields of a message at hand.

    fields are those of the head in their order, values as they stand there, folds included. body
    comes in pieces that each end with a line end; the last one need not.
    Raises SigningKeyInvalid, which names the selector.
    """
    if not keys:
        return b""
    names, signed = _select(fields)
    body_hash = binascii.b2a_base64(_hash_of_relaxed_body(body), newline=False).decode("ascii")
    seconds = int(signed_at.timestamp())
    return b"".join([_signature_field(key, names, signed, body_hash, seconds) for key in keys])


def _signature_field(
    key: DKIMKey, names: str, signed: str, body_hash: str, signed_at_s: int
) -> bytes:
    value = (
        f"v=1; a={key.algorithm}; c=relaxed/relaxed; d={key.domain};\r\n"
        f"\ts={key.selector}; t={signed_at_s};\r\n"
        f"\th={names};\r\n"
        f"\tbh={body_hash};\r\n"
        "\tb="
    )
    # The field itself is signed last, with an empty b= and without its line end (section 3.7).
    data = f"{signed}dkim-signature:{_relaxed_value(value)}".encode("latin-1")
    signature = binascii.b2a_base64(_signature(key, data), newline=False).decode("ascii")
    folded = "\r\n\t".join(
        [signature[start : start + _FOLD_CHARS] for start in range(0, len(signature), _FOLD_CHARS)]
    )
    return f"DKIM-Signature: {value}{folded}\r\n".encode("ascii")


def _signature(key: DKIMKey, data: bytes) -> bytes:
    private_key = _parsed_keys.get(key)
    if isinstance(private_key, rsa.RSAPrivateKey):
        return private_key.sign(data, _PADDING, _SHA256)
    # Ed25519 signs the hash of the data, not the data (RFC 8463, section 3).
    return private_key.sign(hashlib.sha256(data).digest())


def _select(fields: Iterable[tuple[str, str]]) -> tuple[str, str]:
    """What `h=` says, and the canonical fields in that order, last occurrence first."""
    present: dict[str, list[str]] = {}
    for name, value in fields:
        lowered = name.lower()
        if lowered in _WANTED:
            field = f"{lowered}:{_relaxed_value(value)}\r\n"
            present.setdefault(lowered, []).insert(0, field)
    names: list[str] = []
    signed: list[str] = []
    for wanted in _WANTED:
        occurrences = present.get(wanted, ())
        names += [wanted] * (len(occurrences) + (wanted in _OVERSIGNED))
        signed += occurrences
    return _fold_names(tuple(names)), "".join(signed)


def _split_field(field: str) -> tuple[str, str]:
    name, _, value = field.partition(":")
    return name.rstrip(" \t"), value


def _relaxed_value(value: str) -> str:
    """Section 3.4.2, for what stands behind the colon."""
    if "\n" in value:
        value = value.replace("\r\n", "")
    if "\t" in value:
        value = value.replace("\t", " ")
    if "  " in value:
        value = _SPACES.sub(" ", value)
    return value.strip(" ")


def _hash_of_relaxed_body(pieces: Iterable[bytes]) -> bytes:
    """Section 3.4.4. Copies a piece of megabytes only where there is something to change."""
    relaxed = [_relaxed_lines(piece) for piece in pieces]
    # Empty lines at the end of the body do not count, and an empty body has not one line.
    end = 0
    while relaxed and not (end := _end_of_text(relaxed[-1])):
        relaxed.pop()
    digest = hashlib.sha256()
    for piece in relaxed[:-1]:
        digest.update(piece)
    if relaxed:
        digest.update(memoryview(relaxed[-1])[:end])
        digest.update(b"\r\n")
    return digest.digest()


def _end_of_text(lines: bytes) -> int:
    end = len(lines)
    while lines.endswith(b"\r\n", 0, end):
        end -= 2
    return end


def _relaxed_lines(lines: bytes) -> bytes:
    if b"\t" in lines:
        lines = lines.replace(b"\t", b" ")
    # To see that there is nothing to change takes a fraction of the time of changing nothing, and
    # CPython searches backwards faster than forwards.
    if lines.rfind(b"  ") >= 0:
        lines = _SPACES_OF_BODY.sub(b" ", lines)
    if lines.rfind(b" \r\n") >= 0:
        lines = lines.replace(b" \r\n", b"\r\n")
    return lines.removesuffix(b" ")


@lru_cache(maxsize=256)
def _fold_names(names: tuple[str, ...]) -> str:
    """The value of `h=`; mail of one tenant has few different ones."""
    lines = [""]
    for position, name in enumerate(names):
        piece = name if position == len(names) - 1 else f"{name}:"
        if len(lines[-1]) + len(piece) > _FOLD_CHARS:
            lines.append("")
        lines[-1] += piece
    return "\r\n\t ".join(lines)


def _public_key_text(key: PrivateKey) -> str:
    if isinstance(key, rsa.RSAPrivateKey):
        public = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    else:
        # The bare 32 bytes (RFC 8463, section 4), not SubjectPublicKeyInfo.
        public = key.public_key().public_bytes_raw()
    return base64.b64encode(public).decode("ascii")


def _parse(key: DKIMKey) -> PrivateKey:
    try:
        parsed = serialization.load_der_private_key(key.private_key, password=None)
    except (ValueError, TypeError) as error:
        raise SigningKeyInvalid(f"DKIM key {key.selector!r} cannot be read.") from error
    if key.algorithm == "rsa-sha256" and isinstance(parsed, rsa.RSAPrivateKey):
        if parsed.key_size < _RSA_LEAST_BITS:
            raise SigningKeyInvalid(f"DKIM key {key.selector!r} is too short.")
        return parsed
    if key.algorithm == "ed25519-sha256" and isinstance(parsed, ed25519.Ed25519PrivateKey):
        return parsed
    raise SigningKeyInvalid(f"DKIM key {key.selector!r} is not of kind {key.algorithm}.")


class _ParsedKeys:
    """The keys used last, parsed: parsing an RSA key costs as much as signing with it.

    Keyed by algorithm and hash, so that no second copy of a private key stays in memory.
    Thread-safe, because large messages are signed in a thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._keys: OrderedDict[tuple[str, bytes], PrivateKey] = OrderedDict()

    def get(self, key: DKIMKey) -> PrivateKey:
        name = (key.algorithm, hashlib.sha256(key.private_key).digest())
        with self._lock:
            parsed = self._keys.get(name)
            if parsed is not None:
                self._keys.move_to_end(name)
                return parsed
        parsed = _parse(key)
        with self._lock:
            self._keys[name] = parsed
            while len(self._keys) > _PARSED_KEYS_MAX:
                self._keys.popitem(last=False)
        return parsed


_parsed_keys = _ParsedKeys()
