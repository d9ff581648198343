"""How the demo reaches the API and the knobs of simulators: over HTTP on 127.0.0.1."""

from collections.abc import Sequence
from ipaddress import ip_network

import msgspec
from msgspec import Struct

from tallypost_cli.demo.samples import SampleEmail
from tallypost_cli.demo.traffic import NotAccepted
from tallypost_cli.errors import StartUpError
from tallypost_core.errors import AppError
from tallypost_resilience.egress import Egress
from tallypost_resilience.egress_rules import EgressRules
from tallypost_simulators.control_app import ControlRefused
from tallypost_simulators.fault_control import Knobs

_API_TIMEOUT_S = 30.0
_SIMULATOR_TIMEOUT_S = 3.0
_JSON = {"content-type": "application/json"}
_ROUTES_UNKNOWN = (
    "The demo does not start, because it cannot see whether sample tenants have routes"
)


class _Routes(Struct, frozen=True):
    """What is read of the answer."""

    routes: list[msgspec.Raw]


class APIClient:
    """Sends emails as any program would, and counts a tenant's routes."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self._egress = Egress("demo-api", _loopback(port, _API_TIMEOUT_S))

    async def send(self, key: str, emails: Sequence[SampleEmail]) -> None:
        """Send one email, or several of them as a batch, all or none; raises NotAccepted."""
        is_batch = len(emails) > 1
        try:
            answer = await self._egress.fetch(
                "POST",
                f"{self._url}/emails/batch" if is_batch else f"{self._url}/emails",
                headers=_JSON | _authorization(key),
                body=msgspec.json.encode(emails if is_batch else emails[0]),
            )
        except AppError as error:
            raise NotAccepted("the API did not answer") from error
        if answer.status != 200:
            raise NotAccepted(f"the API answered {answer.status}")

    async def count_routes(self, key: str) -> int:
        """How many routes the tenant of a key has; raises StartUpError where that is not told."""
        try:
            answer = await self._egress.fetch(
                "GET", f"{self._url}/routes", headers=_authorization(key)
            )
        except AppError as error:
            raise StartUpError(f"{_ROUTES_UNKNOWN}: the API did not answer.") from error
        if answer.status != 200:
            raise StartUpError(f"{_ROUTES_UNKNOWN}: the API answered {answer.status}.")
        return len(msgspec.json.decode(answer.body, type=_Routes).routes)

    async def close(self) -> None:
        """Close the connections; what is under way fails."""
        await self._egress.aclose()


class Simulator:
    """Turns the knobs of the simulator that a provider speaks to."""

    def __init__(self, provider: str, kind: type[Knobs], port: int, token: str) -> None:
        """port and token are those of its control; kind is the Struct of its knobs."""
        self.kind = kind
        self._provider = provider
        self._url = f"http://127.0.0.1:{port}/faults"
        self._authorization = _authorization(token)
        self._egress = Egress(f"demo-{provider}", _loopback(port, _SIMULATOR_TIMEOUT_S))

    async def read_knobs(self) -> Knobs:
        """How they stand; raises ControlRefused where the simulator does not tell."""
        return await self._ask("GET", None)

    async def turn_knobs(self, knobs: Knobs) -> None:
        """Set all of them; raises ControlRefused where the simulator does not say that it did."""
        await self._ask("PUT", msgspec.json.encode(knobs))

    async def close(self) -> None:
        """Close the connections."""
        await self._egress.aclose()

    async def _ask(self, method: str, body: bytes | None) -> Knobs:
        try:
            answer = await self._egress.fetch(
                method, self._url, headers=self._authorization, body=body
            )
        except AppError as error:
            raise ControlRefused(f"{self._provider} does not answer; try again.") from error
        if answer.status != 200:
            raise ControlRefused(f"{self._provider} answered {answer.status}.")
        return msgspec.json.decode(answer.body, type=self.kind)


def _authorization(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def _loopback(port: int, timeout_s: float) -> EgressRules:
    return EgressRules(
        ports=frozenset({port}),
        allowed_networks=(ip_network("127.0.0.1/32"),),
        timeout_s=timeout_s,
    )
