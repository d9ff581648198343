"""The table of SES's answers: every row by hand, and that nothing falls through."""

import pytest

from tallypost_providers.http_failures import HTTPAnswer, HTTPSignal, HTTPSilence, find_row
from tallypost_providers.ses_failures import FAILURES, classify
from tallypost_providers.types import Outcome

ACCEPTED, REJECTED, THROTTLED = Outcome.ACCEPTED, Outcome.REJECTED, Outcome.THROTTLED
SUSPENDED, UNAVAILABLE, AMBIGUOUS = Outcome.SUSPENDED, Outcome.UNAVAILABLE, Outcome.AMBIGUOUS

# Each line: what SES does, what it means. One line at least for each row of the table.
EXPECTED: list[tuple[HTTPSignal, Outcome]] = [
    (HTTPAnswer(408, "RequestTimeout"), AMBIGUOUS),
    (HTTPAnswer(499, "ClientClosedRequest"), AMBIGUOUS),
    (HTTPAnswer(200), ACCEPTED),
    (HTTPAnswer(0, "NoCredentials"), SUSPENDED),
    (HTTPSilence.UNREACHABLE, UNAVAILABLE),
    (HTTPSilence.TIMEOUT, AMBIGUOUS),
    (HTTPSilence.RESET, AMBIGUOUS),
    (HTTPAnswer(429, "TooManyRequestsException"), THROTTLED),
    (HTTPAnswer(400, "LimitExceededException"), THROTTLED),
    (HTTPAnswer(400, "ThrottlingException"), THROTTLED),
    (HTTPAnswer(503, "ThrottlingException"), THROTTLED),
    (HTTPAnswer(400, "Throttling"), THROTTLED),
    (HTTPAnswer(400, "AccountSuspendedException"), SUSPENDED),
    (HTTPAnswer(400, "SendingPausedException"), SUSPENDED),
    (HTTPAnswer(400, "MailFromDomainNotVerifiedException"), SUSPENDED),
    (HTTPAnswer(400, "MessageRejected-Unverified"), SUSPENDED),
    (HTTPAnswer(400, "MessageRejected-Paused"), SUSPENDED),
    (HTTPAnswer(404, "NotFoundException"), SUSPENDED),
    (HTTPAnswer(403, "AccessDeniedException"), SUSPENDED),
    (HTTPAnswer(400, "AccessDeniedException"), SUSPENDED),
    (HTTPAnswer(403, "AccessDenied"), SUSPENDED),
    (HTTPAnswer(401, "NotAuthorized"), SUSPENDED),
    (HTTPAnswer(403, "OptInRequired"), SUSPENDED),
    (HTTPAnswer(403, "ExpiredTokenException"), SUSPENDED),
    (HTTPAnswer(403, "ExpiredToken"), SUSPENDED),
    (HTTPAnswer(403, "UnrecognizedClientException"), SUSPENDED),
    (HTTPAnswer(403, "InvalidClientTokenId"), SUSPENDED),
    (HTTPAnswer(403, "MissingAuthenticationToken"), SUSPENDED),
    (HTTPAnswer(403, "MissingAuthenticationTokenException"), SUSPENDED),
    (HTTPAnswer(403, "IncompleteSignature"), SUSPENDED),
    (HTTPAnswer(403, "IncompleteSignatureException"), SUSPENDED),
    (HTTPAnswer(403, "InvalidSignatureException"), SUSPENDED),
    (HTTPAnswer(403, "SignatureDoesNotMatch"), SUSPENDED),
    (HTTPAnswer(403, "RequestTimeTooSkewed"), SUSPENDED),
    (HTTPAnswer(400, "RequestExpired"), SUSPENDED),
    (HTTPAnswer(404, "UnknownOperationException"), SUSPENDED),
    (HTTPAnswer(400, "MessageRejected"), REJECTED),
    (HTTPAnswer(400, "BadRequestException"), REJECTED),
    (HTTPAnswer(400, "ValidationException"), REJECTED),
    (HTTPAnswer(400, "ValidationError"), REJECTED),
    (HTTPAnswer(413, "RequestEntityTooLargeException"), REJECTED),
    (HTTPAnswer(500, "InternalServiceErrorException"), UNAVAILABLE),
    (HTTPAnswer(500, "InternalServerError"), UNAVAILABLE),
    (HTTPAnswer(500, "InternalFailure"), UNAVAILABLE),
    (HTTPAnswer(503, "ServiceUnavailable"), UNAVAILABLE),
    (HTTPAnswer(503, "ServiceUnavailableException"), UNAVAILABLE),
    (HTTPAnswer(400, "MalformedHttpRequestException"), UNAVAILABLE),
    (HTTPAnswer(408, "RequestTimeoutException"), AMBIGUOUS),
    (HTTPAnswer(400, "RequestAbortedException"), AMBIGUOUS),
    (HTTPAnswer(400, "NewNameException"), UNAVAILABLE),
    (HTTPAnswer(500, "NewNameException"), AMBIGUOUS),
    (HTTPAnswer(502, "ServiceUnavailable"), AMBIGUOUS),
    (HTTPAnswer(504, "ServiceUnavailable"), AMBIGUOUS),
    (HTTPAnswer(202), AMBIGUOUS),
    (HTTPAnswer(302), AMBIGUOUS),
    *(
        (HTTPAnswer(status, is_documented=False), AMBIGUOUS)
        for status in (200, 302, 400, 403, 404, 500, 502, 503, 504)
    ),
    (HTTPAnswer(429, "NewNameException"), THROTTLED),
    (HTTPAnswer(429, is_documented=False), THROTTLED),
]


@pytest.mark.parametrize(("signal", "wanted"), EXPECTED)
def test_signal_means_what_the_documentation_says(signal: HTTPSignal, wanted: Outcome) -> None:
    assert classify(signal) is wanted


def test_every_row_decides_about_something() -> None:
    assert {find_row(FAILURES, signal) for signal, _ in EXPECTED} == set(FAILURES)


def test_every_row_names_its_reason() -> None:
    assert all(len(row.reason) > 10 for row in FAILURES)


def test_only_a_statement_or_an_unmade_connection_lets_another_provider_try() -> None:
    for signal, _ in EXPECTED:
        if classify(signal).may_fail_over:
            if isinstance(signal, HTTPAnswer):
                assert signal.status == 429 or (signal.is_documented and signal.code)
            else:
                assert signal is HTTPSilence.UNREACHABLE
