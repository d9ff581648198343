"""Verifies AWS Signature Version 4 of a request, from the specification alone.

Source: "Create a signed AWS API request" in the IAM user guide.
"""

import datetime as dt
import hashlib
import hmac
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, quote

from aiohttp import web

from tallypost_simulators.ses_errors import SESError

ALLOWED_SKEW = dt.timedelta(minutes=5)

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key_id>[^/]+)/(?P<date>\d{8})/(?P<region>[^/]+)/"
    r"(?P<service>[^/]+)/aws4_request, ?SignedHeaders=(?P<names>[a-z0-9;-]+), ?"
    r"Signature=(?P<signature>[0-9a-f]{64})"
)
_STAMP = "%Y%m%dT%H%M%SZ"


def verify_signature(
    request: web.Request, body: bytes, secrets: Mapping[str, str], region: str, now: dt.datetime
) -> None:
    """Raise SESError unless the request is signed with one of the secrets, known by key id."""
    header = request.headers.get("Authorization")
    if header is None:
        raise SESError(403, "MissingAuthenticationTokenException", "Missing Authentication Token")
    match = _AUTHORIZATION.fullmatch(header)
    stamp = request.headers.get("X-Amz-Date", "")
    if match is None or not re.fullmatch(r"\d{8}T\d{6}Z", stamp):
        raise SESError(403, "IncompleteSignatureException", "The signature is incomplete.")
    secret = secrets.get(match["key_id"])
    if secret is None:
        message = "The security token included in the request is invalid."
        raise SESError(403, "UnrecognizedClientException", message)
    _require_fresh(stamp, now)
    if (match["region"], match["service"]) != (region, "ses") or match["date"] != stamp[:8]:
        raise _mismatch("Credential should be scoped to a valid region and service.")
    names = match["names"].split(";")
    if not {"host", "x-amz-date"} <= set(names):
        raise _mismatch("'Host' and 'X-Amz-Date' must be signed.")
    scope = f"{stamp[:8]}/{region}/ses/aws4_request"
    canonical = _canonical_request(request, names, body)
    text = "\n".join(("AWS4-HMAC-SHA256", stamp, scope, _sha256(canonical.encode())))
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    if not hmac.compare_digest(
        hmac.new(key, text.encode(), "sha256").hexdigest(), match["signature"]
    ):
        raise _mismatch(
            "The request signature we calculated does not match the signature you provided. Check "
            "your AWS Secret Access Key and signing method. Consult the service documentation for "
            "details."
        )


def _require_fresh(stamp: str, now: dt.datetime) -> None:
    signed_at = dt.datetime.strptime(stamp, _STAMP).replace(tzinfo=dt.UTC)
    earliest, latest = now - ALLOWED_SKEW, now + ALLOWED_SKEW
    if signed_at < earliest:
        raise _mismatch(
            f"Signature expired: {stamp} is now earlier than {earliest:{_STAMP}} "
            f"({now:{_STAMP}} - 5 min.)"
        )
    if signed_at > latest:
        raise _mismatch(
            f"Signature not yet current: {stamp} is still later than {latest:{_STAMP}} "
            f"({now:{_STAMP}} + 5 min.)"
        )


def _canonical_request(request: web.Request, names: list[str], body: bytes) -> str:
    sent_path, _, sent_query = request.raw_path.partition("?")
    # The path is encoded a second time, for every service but S3.
    path = quote(sent_path, safe="/~")
    pairs = sorted(
        (quote(key, safe="~"), quote(value, safe="~"))
        for key, value in parse_qsl(sent_query, keep_blank_values=True)
    )
    query = "&".join(f"{key}={value}" for key, value in pairs)
    headers = "".join(f"{name}:{_values(request, name)}\n" for name in names)
    return "\n".join((request.method, path, query, headers, ";".join(names), _sha256(body)))


def _values(request: web.Request, name: str) -> str:
    return ",".join(" ".join(value.split()) for value in request.headers.getall(name, []))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _mismatch(message: str) -> SESError:
    return SESError(403, "InvalidSignatureException", message)
