"""Talks to the controller of `tallypost demo`, which sends sample mail and breaks things."""

import ipaddress
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

import msgspec
from msgspec import Struct
from yarl import URL

from tallypost_core.errors import AppError, ErrorKind
from tallypost_core.settings import Secret
from tallypost_resilience.egress import Egress
from tallypost_resilience.egress_rules import (
    EgressFailed,
    EgressRedirected,
    EgressRules,
    EgressTimedOut,
    EgressTooLarge,
)

# Killing a worker and the like answer at once; nothing here takes long.
_TIMEOUT_S: Final = 5.0
_LOOPBACK: Final = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))


class DemoAway(AppError):
    """The demo's controller does not answer. Was it started by `make demo`, and does it run?"""

    code: ClassVar[str] = "demo_away"
    kind: ClassVar[ErrorKind] = ErrorKind.UNAVAILABLE


class DemoRefused(AppError):
    """The demo cannot do this now."""

    code: ClassVar[str] = "demo_refused"
    kind: ClassVar[ErrorKind] = ErrorKind.CONFLICT


class DemoAction(Struct, frozen=True):
    """Something that was done."""

    at: str
    text: str


class DemoTraffic(Struct, frozen=True):
    """How much sample mail is sent, and what became of it at the API."""

    rate_per_s: float
    accepted: int
    failed: int


class DemoKnobs(Struct, frozen=True):
    """How the knobs of a provider's simulator stand."""

    latency_ms: int
    knob: str
    share: float


class DemoStep(Struct, frozen=True):
    """A step of the story."""

    name: str
    text: str


class DemoStory(Struct, frozen=True):
    """The story; step is the place of the one that plays."""

    is_playing: bool
    step: int | None
    steps: Sequence[DemoStep]


class DemoState(Struct, frozen=True):
    """What the controller answers to everything; simulators are by their provider, in order."""

    traffic: DemoTraffic
    simulators: Mapping[str, DemoKnobs]
    story: DemoStory
    workers: int
    last_actions: Sequence[DemoAction]


class _Refusal(Struct, frozen=True):
    """Why the controller does not do something, in its own words."""

    message: str


class Demo:
    """The controller's client. It is on this machine, and nowhere else."""

    def __init__(self, url: str, token: Secret) -> None:
        """url is its address without a path. Connects with the first call.

        Raises ValueError for a host that is not an address of this machine.
        """
        self._url = URL(url)
        if not ipaddress.ip_address(self._url.host or "").is_loopback:
            raise ValueError("the demo's controller is not on this machine")
        self._token = token
        self._egress: Egress | None = None

    async def get_state(self) -> DemoState:
        """How everything stands. Raises DemoAway."""
        return await self._call("GET", "/state", None)

    async def command(self, path: str, fields: Mapping[str, object]) -> DemoState:
        """Do something, and tell how everything stands then. Raises DemoAway, DemoRefused."""
        return await self._call("POST", path, msgspec.json.encode(fields))

    async def close(self) -> None:
        """Give back the connections."""
        if self._egress is not None:
            await self._egress.aclose()

    async def _call(self, method: str, path: str, body: bytes | None) -> DemoState:
        headers = {
            "authorization": f"Bearer {self._token.reveal()}",
            "content-type": "application/json",
        }
        try:
            answer = await self._connected().fetch(
                method, str(self._url.with_path(path)), headers=headers, body=body
            )
        except (EgressFailed, EgressTimedOut, EgressRedirected, EgressTooLarge) as error:
            raise DemoAway from error
        # Another demo has another token, and something else at that port does not know ours.
        if answer.status == 401 or answer.status >= 500:
            raise DemoAway
        try:
            if answer.status >= 400:
                raise DemoRefused(msgspec.json.decode(answer.body, type=_Refusal).message)
            return msgspec.json.decode(answer.body, type=DemoState)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise DemoAway from error

    def _connected(self) -> Egress:
        # Not at once: its client wants a running loop.
        if self._egress is None:
            rules = EgressRules(
                ports=frozenset({self._url.port or 80}),
                allowed_networks=_LOOPBACK,
                timeout_s=_TIMEOUT_S,
            )
            self._egress = Egress("demo", rules)
        return self._egress
