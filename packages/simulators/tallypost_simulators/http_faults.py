"""Tells a simulator of an HTTP API how to misbehave."""

from collections.abc import Mapping
from typing import Literal

from tallypost_simulators.fault_list import FaultList, ProbableFault

HTTPFaultAction = Literal[
    "answer", "reset_before", "reset_after", "drop", "hang", "drip", "cut", "garbage"
]


class HTTPFault(ProbableFault, kw_only=True):
    """One way in which a request fails.

    What a request asks for is done under drop, hang, drip, cut and garbage, and the client learns
    so late, in part or never; under the others it is not done.
    """

    action: HTTPFaultAction = "answer"
    """answer gives `status`, `headers` and `body`; reset_before resets the connection once the
    request's headers are there, reset_after once its body is there too; drop does what was asked
    and resets; hang does it and answers once the faults are replaced; drip answers one byte at a
    time, drip_s apart; cut ends the connection in the middle of the answer; garbage answers with
    bytes that are no HTTP."""
    status: int = 503
    headers: Mapping[str, str] = {}
    body: bytes = b""
    drip_s: float = 0.01


class HTTPFaults(FaultList[HTTPFault]):
    """What goes wrong at a simulator of an HTTP API."""

    def take(self) -> HTTPFault | None:
        """The fault that happens now, counted as used; None where all goes well."""
        return self._take(lambda fault: True)
