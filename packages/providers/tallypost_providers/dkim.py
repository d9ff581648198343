"""Signs messages with DKIM (RFC 6376), relaxed/relaxed, RSA and Ed25519 (RFC 8463) side by side.

A signature is put in front of the message; the message itself is never touched. Both algorithms
are deterministic (RSASSA-PKCS1-v1_5 and Ed25519), so a retry has the same bytes.
"""

import base64
import datetime as dt
import hashlib
import re
import threading
from collections import OrderedDict
from collections.abc import Sequence
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

_HEADER_START = re.compile(rb"\r\n(?![ \t])")
_WSP_RUN = re.compile(rb"[ \t]+")
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
    head, separator, body = message.partition(b"\r\n\r\n")
    if not separator:
        head, body = message.removesuffix(b"\r\n"), b""
    fields = [_split_field(field) for field in _HEADER_START.split(head)]
    body_hash = base64.b64encode(hashlib.sha256(_relaxed_body(body)).digest()).decode("ascii")
    names, signed_fields = _select(fields)
    prefix = b"".join(
        _signature_field(key, names, signed_fields, body_hash, signed_at) for key in keys
    )
    return prefix + message


def _signature_field(
    key: DKIMKey, names: list[str], signed_fields: bytes, body_hash: str, signed_at: dt.datetime
) -> bytes:
    value = (
        f"v=1; a={key.algorithm}; c=relaxed/relaxed; d={key.domain};\r\n"
        f"\ts={key.selector}; t={int(signed_at.timestamp())};\r\n"
        f"\th={_fold_names(names)};\r\n"
        f"\tbh={body_hash};\r\n"
        "\tb="
    )
    # The field itself is signed last, with an empty b= and without its line end (section 3.7).
    own = _relaxed_field(b"dkim-signature", value.encode("ascii")).removesuffix(b"\r\n")
    signature = base64.b64encode(_signature(key, signed_fields + own)).decode("ascii")
    pieces = (
        signature[start : start + _FOLD_CHARS] for start in range(0, len(signature), _FOLD_CHARS)
    )
    folded = "\r\n\t".join(pieces)
    return f"DKIM-Signature: {value}{folded}\r\n".encode("ascii")


def _signature(key: DKIMKey, data: bytes) -> bytes:
    private_key = _parsed_keys.get(key)
    if isinstance(private_key, rsa.RSAPrivateKey):
        return private_key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    # Ed25519 signs the hash of the data, not the data (RFC 8463, section 3).
    return private_key.sign(hashlib.sha256(data).digest())


def _select(fields: list[tuple[bytes, bytes]]) -> tuple[list[str], bytes]:
    """The names for `h=` and the canonical fields in that order, last occurrence first."""
    present: dict[str, list[bytes]] = {}
    for name, value in fields:
        present.setdefault(name.decode("latin-1"), []).append(_relaxed_field(name, value))
    names: list[str] = []
    signed = b""
    for wanted in (*_OVERSIGNED, *_SIGNED):
        occurrences = present.get(wanted, [])
        names += [wanted] * (len(occurrences) + (wanted in _OVERSIGNED))
        signed += b"".join(reversed(occurrences))
    return names, signed


def _split_field(field: bytes) -> tuple[bytes, bytes]:
    name, _, value = field.partition(b":")
    return name.rstrip(b" \t").lower(), value


def _relaxed_field(name: bytes, value: bytes) -> bytes:
    """Section 3.4.2; name is in lower case already."""
    unfolded = _WSP_RUN.sub(b" ", value.replace(b"\r\n", b""))
    return name + b":" + unfolded.strip(b" ") + b"\r\n"


def _relaxed_body(body: bytes) -> bytes:
    """Section 3.4.4. Copies a body of megabytes only where there is something to change."""
    if b"\t" in body or b"  " in body:
        body = _WSP_RUN.sub(b" ", body)
    body = body.replace(b" \r\n", b"\r\n").removesuffix(b" ")
    end = len(body)
    while body.endswith(b"\r\n", 0, end):
        end -= 2
    return body[:end] + b"\r\n" if end else b""


def _fold_names(names: list[str]) -> str:
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
