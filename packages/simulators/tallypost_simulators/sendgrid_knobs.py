"""The knobs of the simulated SendGrid; they are about Mail Send only."""

from tallypost_simulators.fault_control import FaultBoard
from tallypost_simulators.http_faults import HTTPFault, HTTPFaults
from tallypost_simulators.http_knobs import HTTPKnobs, http_board
from tallypost_simulators.sendgrid_errors import TOO_MANY, UNAVAILABLE, Refusal


def sendgrid_board(faults: HTTPFaults) -> FaultBoard[HTTPKnobs, HTTPFault]:
    """The knobs of the simulator whose faults these are."""
    throttled = _fault_of(TOO_MANY)
    throttled.headers = {**throttled.headers, "Retry-After": "1"}
    return http_board(faults, throttled=throttled, failed=_fault_of(UNAVAILABLE))


def _fault_of(refusal: Refusal) -> HTTPFault:
    headers = {"Content-Type": "application/json"}
    return HTTPFault(status=refusal.status, headers=headers, body=refusal.body)
