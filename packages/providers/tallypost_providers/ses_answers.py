"""What came of one request to SES, in the words of its table."""

import datetime as dt
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
from botocore.exceptions import BotoCoreError, ClientError
from msgspec import Struct

from tallypost_core.clock import utc_now
from tallypost_providers.base import clip
from tallypost_providers.http_failures import RETRY_AFTER_MAX_S, HTTPAnswer, HTTPSignal, HTTPSilence
from tallypost_providers.ses_failures import NO_CREDENTIALS, NOT_ASKED, PAUSED, UNVERIFIED
from tallypost_providers.ses_session import AnswerUndocumented, Departure

# What MessageRejected is about stands in its text only (docs.aws.amazon.com/ses/latest/dg/
# troubleshoot-error-messages.html).
_KINDS_OF_REJECTION = (
    ("Email address is not verified", UNVERIFIED),
    ("Account is paused", PAUSED),
    ("Sending paused for this account", PAUSED),
    ("Sending suspended for this account", PAUSED),
)
# Errors that a clock which is wrong may cause.
_ABOUT_TIME = frozenset(
    {
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "RequestTimeTooSkewed",
        "RequestExpired",
    }
)
# AWS refuses a signature that is 5 minutes old (IAM user guide, Signature Version 4).
_SKEW_WORTH_TELLING_S = 240
_ERROR_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")


class SESReply(Struct, frozen=True, kw_only=True):
    """One answer or silence, read."""

    signal: HTTPSignal
    body: Mapping[str, Any] = {}
    """The fields of a good answer."""
    detail: str = ""
    """The words of SES or of the network, clipped. Of the account they may tell what is the
    platform's affair alone."""
    hint: str = ""
    """What we know besides, for whoever tends the account."""
    evidence: Mapping[str, str] = {}

    @property
    def is_good(self) -> bool:
        """True for an answer that the request was carried out."""
        return isinstance(self.signal, HTTPAnswer) and 200 <= self.signal.status < 300

    def require(self, field: str) -> "SESReply":
        """This reply, or an undocumented one in its place where a good answer lacks a text."""
        if not self.is_good or isinstance(self.body.get(field), str):
            return self
        return SESReply(
            signal=HTTPAnswer(int(self.evidence["status"]), is_documented=False),
            detail=f"an answer without {field}",
            evidence=self.evidence,
        )

    @property
    def error_name(self) -> str:
        """The name of the error that SES gave; empty for anything else."""
        return self.signal.code if isinstance(self.signal, HTTPAnswer) else ""


def read_answer(answer: Mapping[str, Any]) -> SESReply:
    """A good answer, as the SDK gives it."""
    metadata = answer.get("ResponseMetadata", {})
    status = int(metadata.get("HTTPStatusCode", 200))
    return SESReply(
        signal=HTTPAnswer(status),
        body=answer,
        evidence=_evidence(status, metadata.get("HTTPHeaders", {})),
    )


def read_error(error: ClientError) -> SESReply:
    """An error that SES stated, or an answer with an error's status that is JSON all the same."""
    metadata = error.response.get("ResponseMetadata", {})
    headers: Mapping[str, str] = metadata.get("HTTPHeaders", {})
    status = int(metadata.get("HTTPStatusCode", 0))
    name = str(error.response.get("Error", {}).get("Code", ""))
    text = str(error.response.get("Error", {}).get("Message", ""))
    # The SDK puts the status in the place of a name where there is none.
    is_documented = _ERROR_NAME.fullmatch(name) is not None
    answer = HTTPAnswer(
        status,
        _refine(name, text) if is_documented else "",
        clip(text),
        is_documented,
        _retry_after_s(headers),
    )
    evidence = _evidence(status, headers) | ({"error": clip(name)} if is_documented else {})
    return SESReply(
        signal=answer, detail=clip(text), hint=_clock_hint(name, headers), evidence=evidence
    )


def read_undocumented(answer: AnswerUndocumented) -> SESReply:
    """An answer that SES does not give."""
    text = clip(answer.text)
    return SESReply(
        signal=HTTPAnswer(answer.status, text=text, is_documented=False),
        detail=text or f"HTTP status {answer.status} without an error of SES",
        evidence=_evidence(answer.status, answer.headers),
    )


def read_missing_credentials(error: BotoCoreError) -> SESReply:
    """The SDK has nothing to sign with, so SES was not asked."""
    return SESReply(
        signal=HTTPAnswer(NOT_ASKED, NO_CREDENTIALS),
        detail=clip(f"{type(error).__name__}: {error}"),
        evidence={"error": type(error).__name__},
    )


def read_silence(error: Exception, departure: Departure) -> SESReply:
    """No answer: harmless while nothing had left, unknown afterwards."""
    kind = HTTPSilence.TIMEOUT if isinstance(error, TimeoutError) else HTTPSilence.RESET
    signal = kind if departure.has_begun else HTTPSilence.UNREACHABLE
    return SESReply(
        signal=signal, detail=_describe(error, signal), evidence={"silence": signal.value}
    )


def _describe(error: Exception, signal: HTTPSilence) -> str:
    if isinstance(error, TimeoutError):
        word = "connection" if signal is HTTPSilence.UNREACHABLE else "answer"
        return f"no {word} in time"
    # Only of these are the words known to name hosts and reasons, and nothing of the request.
    words = f": {error}" if isinstance(error, aiohttp.ClientConnectorError) else ""
    return clip(f"{type(error).__name__}{words}")


def _refine(name: str, text: str) -> str:
    if name != "MessageRejected":
        return name
    return next((kind for start, kind in _KINDS_OF_REJECTION if text.startswith(start)), name)


def _evidence(status: int, headers: Mapping[str, str]) -> dict[str, str]:
    evidence = {"status": str(status)}
    if request_id := headers.get("x-amzn-requestid"):
        evidence["request_id"] = clip(request_id)[:100]
    if retry_after := headers.get("retry-after"):
        evidence["retry_after"] = clip(retry_after)[:100]
    return evidence


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """SES documents no such header, but what stands before it may send one; seconds only."""
    value = headers.get("retry-after", "")
    return min(float(value), RETRY_AFTER_MAX_S) if re.fullmatch("[0-9]{1,9}", value) else None


def _clock_hint(name: str, headers: Mapping[str, str]) -> str:
    """What a person can do about a signature that is refused for its time."""
    if name not in _ABOUT_TIME:
        return ""
    try:
        theirs = parsedate_to_datetime(headers.get("date", ""))
    except ValueError:
        return ""
    ahead_s = (utc_now() - theirs.replace(tzinfo=theirs.tzinfo or dt.UTC)).total_seconds()
    if abs(ahead_s) < _SKEW_WORTH_TELLING_S:
        return " (The clocks agree: check the secret access key.)"
    word = "ahead of" if ahead_s > 0 else "behind"
    return f" (This machine's clock is {abs(ahead_s):.0f} s {word} AWS's: set it by NTP.)"
