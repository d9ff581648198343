"""The knobs of the simulated SES; they are about SendEmail only."""

from collections.abc import Mapping

from tallypost_simulators.fault_control import FaultBoard
from tallypost_simulators.http_faults import HTTPFault, HTTPFaults
from tallypost_simulators.http_knobs import HTTPKnobs, http_board
from tallypost_simulators.ses_errors import SESError

_THROTTLED = SESError(429, "TooManyRequestsException", "Maximum sending rate exceeded.")
_FAILED = SESError(503, "ServiceUnavailable", "The request failed for a while; send it again.")
_REQUEST_ID = "00000000-0000-0000-0000-000000000000"


def ses_board(faults: HTTPFaults) -> FaultBoard[HTTPKnobs, HTTPFault]:
    """The knobs of the simulator whose faults these are."""
    return http_board(
        faults,
        throttled=_fault_of(_THROTTLED, {"Retry-After": "1"}),
        failed=_fault_of(_FAILED, {}),
    )


def _fault_of(error: SESError, others: Mapping[str, str]) -> HTTPFault:
    headers = {**error.headers(_REQUEST_ID), **others}
    return HTTPFault(status=error.status, headers=headers, body=error.body)
