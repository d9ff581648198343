"""Requests to the API of one SendGrid account."""

import ipaddress
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode, urlsplit

from tallypost_core.settings.providers import SendGridSettings
from tallypost_providers.errors import ProviderMisconfigured
from tallypost_providers.hosts import is_loopback
from tallypost_resilience.deadline import Deadline
from tallypost_resilience.egress import Egress, EgressResponse
from tallypost_resilience.egress_bodies import ByteBudget
from tallypost_resilience.egress_rules import EgressRules

# The two that SendGrid's own library knows.
_ENDPOINTS: Final = {
    "global": "https://api.sendgrid.com",
    "eu": "https://api.eu.sendgrid.com",
}
_JSON: Final = "application/json"
_PORTS: Final = {"https": 443, "http": 80}
_LOOPBACK: Final = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
# Each request brings a deadline of its own; this only has to be later.
_TIMEOUT_S: Final = 300.0
# An answer to a sent email is a few hundred bytes, a list of domains some 700 for each.
_MAX_ANSWER_BYTES: Final = 1_000_000


class SendGridAPI:
    """The way to one account, which connects to nothing before the first request."""

    def __init__(self, settings: SendGridSettings) -> None:
        """Raises ProviderMisconfigured, which names the variable."""
        if settings.api_key is None or not settings.api_key.reveal().strip():
            raise ProviderMisconfigured("TALLYPOST_SENDGRID_API_KEY is missing.")
        key = settings.api_key.reveal().strip()
        if not key.isascii() or not key.isprintable():
            raise ProviderMisconfigured("TALLYPOST_SENDGRID_API_KEY has a control character.")
        self._url = _url(settings)
        self._rules = _rules(settings)
        self._headers = {"authorization": f"Bearer {key}", "accept": _JSON}
        self._egress: Egress | None = None

    async def fetch(
        self,
        method: str,
        path: str,
        *,
        deadline: Deadline,
        leave_by: Deadline | None = None,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> EgressResponse:
        """One request; path starts with `/v3/`. Raises what `Egress.fetch` raises.

        A request that has not begun to leave at leave_by never does.
        """
        if self._egress is None:
            self._egress = Egress("sendgrid", self._rules)
        url = f"{self._url}{path}?{urlencode(query)}" if query else f"{self._url}{path}"
        headers = self._headers if body is None else self._headers | {"content-type": _JSON}
        return await self._egress.fetch(
            method,
            url,
            headers=headers,
            body=body,
            deadline=deadline,
            leave_by=leave_by,
            budget=ByteBudget(_MAX_ANSWER_BYTES),
        )

    async def aclose(self) -> None:
        """Close all connections; requests under way fail. May run twice, and be used again."""
        egress, self._egress = self._egress, None
        if egress is not None:
            await egress.aclose()


def address_of(settings: SendGridSettings) -> tuple[str, int]:
    """Host and port of the API; raises ProviderMisconfigured, which names the variable."""
    try:
        url = urlsplit(_url(settings))
        host, port = url.hostname, url.port
    except ValueError as error:
        raise ProviderMisconfigured("TALLYPOST_SENDGRID_ENDPOINT is no address.") from error
    if url.scheme not in _PORTS or not host:
        raise ProviderMisconfigured("TALLYPOST_SENDGRID_ENDPOINT is no address.")
    if url.scheme != "https" and not is_loopback(host):
        raise ProviderMisconfigured(
            "TALLYPOST_SENDGRID_ENDPOINT does not start with https: the key would travel in plain "
            "text."
        )
    return host, port or _PORTS[url.scheme]


def _url(settings: SendGridSettings) -> str:
    return (settings.endpoint or _ENDPOINTS[settings.region]).rstrip("/")


def _rules(settings: SendGridSettings) -> EgressRules:
    host, port = address_of(settings)
    return EgressRules(
        ports=frozenset({port}),
        allowed_networks=_LOOPBACK if is_loopback(host) else (),
        timeout_s=_TIMEOUT_S,
        connections=settings.connections,
    )
