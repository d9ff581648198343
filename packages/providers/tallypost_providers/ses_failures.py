"""What an answer or a silence of Amazon SES means, as a table.

Names of errors come from two pages of AWS: that of SendEmail (docs.aws.amazon.com/ses/latest/
APIReference-V2/API_SendEmail.html) and that of the errors of every service (CommonErrors.html
beside it). The name decides: AWS has given the same name other statuses over the years. A message
that SES refuses is not sent: it returns an error "and does not send the email" (developer guide,
troubleshoot-error-messages).
"""

from tallypost_providers.http_failures import HTTPRow, HTTPSignal, find_row
from tallypost_providers.types import Outcome

NOT_ASKED = 0
"""The status of an answer that the SDK gave itself, before any request."""

NO_CREDENTIALS = "NoCredentials"

UNVERIFIED = "MessageRejected-Unverified"
PAUSED = "MessageRejected-Paused"

MAIL_FROM_UNVERIFIED = "MailFromDomainNotVerifiedException"

_SEND = "API_SendEmail: "
_COMMON = "CommonErrors: "
_SIGNING = "IAM user guide, troubleshooting Signature Version 4: "

FAILURES: tuple[HTTPRow, ...] = (
    HTTPRow("200", Outcome.ACCEPTED, _SEND + "a MessageId, SES has taken responsibility"),
    # Nothing has left.
    HTTPRow("0 NoCredentials", Outcome.SUSPENDED, "the SDK found no credentials to sign with"),
    HTTPRow("unreachable", Outcome.UNAVAILABLE, "not a byte of the request has left"),
    # Too fast, or too much.
    HTTPRow("429 TooManyRequestsException", Outcome.THROTTLED, _SEND + "too many requests"),
    HTTPRow("4xx LimitExceededException", Outcome.THROTTLED, _SEND + "a quota of ours is used up"),
    HTTPRow(
        "xxx ThrottlingException",
        Outcome.THROTTLED,
        "dg/manage-sending-quotas-errors: daily quota or sending rate; wait, then try again",
    ),
    HTTPRow("xxx Throttling", Outcome.THROTTLED, "the same by its name in the older API"),
    # Our account, its set-up or its credentials.
    HTTPRow("4xx AccountSuspendedException", Outcome.SUSPENDED, _SEND + "permanently restricted"),
    HTTPRow("4xx SendingPausedException", Outcome.SUSPENDED, _SEND + "sending is paused"),
    HTTPRow(
        f"4xx {MAIL_FROM_UNVERIFIED}",
        Outcome.SUSPENDED,
        _SEND + "the sending domain is not verified at this account",
    ),
    HTTPRow(
        f"4xx {UNVERIFIED}",
        Outcome.SUSPENDED,
        "dg/troubleshoot-error-messages: an identity of ours is not verified in this Region, or "
        "the account is in the sandbox",
    ),
    HTTPRow(
        f"4xx {PAUSED}", Outcome.SUSPENDED, "dg/troubleshoot-error-messages: account is paused"
    ),
    HTTPRow(
        "404 NotFoundException",
        Outcome.SUSPENDED,
        _SEND + "no such configuration set or tenant: our settings",
    ),
    HTTPRow("4xx AccessDeniedException", Outcome.SUSPENDED, _COMMON + "our IAM policy"),
    HTTPRow("4xx AccessDenied", Outcome.SUSPENDED, "the same by its name in the older API"),
    HTTPRow("4xx NotAuthorized", Outcome.SUSPENDED, _COMMON + "no permission"),
    HTTPRow("4xx OptInRequired", Outcome.SUSPENDED, _COMMON + "the key needs a subscription"),
    HTTPRow("4xx ExpiredTokenException", Outcome.SUSPENDED, _COMMON + "our token is expired"),
    HTTPRow("4xx ExpiredToken", Outcome.SUSPENDED, "the same by its name in the older API"),
    HTTPRow("4xx UnrecognizedClientException", Outcome.SUSPENDED, _COMMON + "unknown key id"),
    HTTPRow("4xx InvalidClientTokenId", Outcome.SUSPENDED, "the same in the older API"),
    HTTPRow("4xx MissingAuthenticationToken", Outcome.SUSPENDED, _SIGNING + "not signed"),
    HTTPRow("4xx MissingAuthenticationTokenException", Outcome.SUSPENDED, _SIGNING + "not signed"),
    HTTPRow("4xx IncompleteSignature", Outcome.SUSPENDED, _COMMON + "the signature's form"),
    HTTPRow("4xx IncompleteSignatureException", Outcome.SUSPENDED, _SIGNING + "its form"),
    HTTPRow("4xx InvalidSignatureException", Outcome.SUSPENDED, _SIGNING + "secret, or our clock"),
    HTTPRow("4xx SignatureDoesNotMatch", Outcome.SUSPENDED, _SIGNING + "secret, or our clock"),
    HTTPRow("4xx RequestTimeTooSkewed", Outcome.SUSPENDED, _SIGNING + "our clock"),
    HTTPRow("4xx RequestExpired", Outcome.SUSPENDED, _COMMON + "our clock is 15 minutes off"),
    HTTPRow("404 UnknownOperationException", Outcome.SUSPENDED, _COMMON + "no SES at this address"),
    # This message or its recipients.
    HTTPRow("4xx MessageRejected", Outcome.REJECTED, _SEND + "invalid content"),
    HTTPRow("4xx BadRequestException", Outcome.REJECTED, _SEND + "invalid input"),
    HTTPRow("4xx ValidationException", Outcome.REJECTED, "the same, by its newer name"),
    HTTPRow("4xx ValidationError", Outcome.REJECTED, _COMMON + "input against a constraint"),
    HTTPRow("413 RequestEntityTooLargeException", Outcome.REJECTED, _COMMON + "too large"),
    # Stated, and it is nobody's fault but theirs.
    HTTPRow("500 InternalServiceErrorException", Outcome.UNAVAILABLE, "the SDK's model of SES v2"),
    HTTPRow("500 InternalServerError", Outcome.UNAVAILABLE, "the same, by another name"),
    HTTPRow("500 InternalFailure", Outcome.UNAVAILABLE, _COMMON + "failed by an unknown error"),
    HTTPRow("503 ServiceUnavailable", Outcome.UNAVAILABLE, _COMMON + "a temporary failure"),
    HTTPRow("503 ServiceUnavailableException", Outcome.UNAVAILABLE, "the same, by another name"),
    HTTPRow("400 MalformedHttpRequestException", Outcome.UNAVAILABLE, _COMMON + "not understood"),
    # Whether SES had begun is open.
    HTTPRow("4xx RequestAbortedException", Outcome.AMBIGUOUS, _COMMON + "when it broke is open"),
    HTTPRow("408", Outcome.AMBIGUOUS, "RFC 9110, 15.5.9: any hop says so, SES may have it"),
    HTTPRow("499", Outcome.AMBIGUOUS, "a proxy's word for a connection that ended"),
    # RFC 6585, section 4: the status itself says that this request was one too many.
    HTTPRow("429", Outcome.THROTTLED, "too many requests, by a name that we do not know"),
    HTTPRow("429 undocumented", Outcome.THROTTLED, "too many requests, whoever counts them"),
    # A name that says that SES had begun, or nothing about it.
    HTTPRow("xxx undocumented", Outcome.AMBIGUOUS, "no error of SES: it may be a gateway's"),
    HTTPRow("4xx", Outcome.UNAVAILABLE, "stated that it was not taken, by a name we do not know"),
    HTTPRow("5xx", Outcome.AMBIGUOUS, "a failure by a name that is documented for no SendEmail"),
    HTTPRow("any", Outcome.AMBIGUOUS, "sent, and no statement came back"),
)


def classify(signal: HTTPSignal) -> Outcome:
    """The outcome of the first row that fits."""
    return find_row(FAILURES, signal).outcome
