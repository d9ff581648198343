"""Domain authentication of a simulated SendGrid account, once known as whitelabels."""

import re
from collections.abc import Iterable

from aiohttp import web
from msgspec import Struct

from tallypost_simulators.sendgrid_errors import (
    NOT_FOUND,
    FieldError,
    SendGridError,
    bad_request,
    json_response,
)

RECORDS = ("mail_cname", "dkim1", "dkim2")
_USER_ID = 1446226
_TARGET = f"u{_USER_ID}.wl.sendgrid.net"
_NAME = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)+")


class AuthenticatedDomain(Struct):
    """One entry of the account."""

    id: int
    domain: str
    subdomain: str
    found: set[str]
    """Which of RECORDS the last look at the DNS found."""

    @property
    def is_valid(self) -> bool:
        """All of its records were found, so that mail may be sent from it."""
        return self.found == set(RECORDS)

    def as_json(self) -> dict[str, object]:
        """As the API shows it."""
        hosts = {
            "mail_cname": (f"{self.subdomain}.{self.domain}", _TARGET),
            "dkim1": (f"s1._domainkey.{self.domain}", f"s1.domainkey.{_TARGET}"),
            "dkim2": (f"s2._domainkey.{self.domain}", f"s2.domainkey.{_TARGET}"),
        }
        dns = {
            key: {"valid": key in self.found, "type": "cname", "host": host, "data": data}
            for key, (host, data) in hosts.items()
        }
        return {
            "id": self.id,
            "user_id": _USER_ID,
            "subdomain": self.subdomain,
            "domain": self.domain,
            "username": "simulated",
            "ips": [],
            "custom_spf": False,
            "default": False,
            "legacy": False,
            "automatic_security": True,
            "valid": self.is_valid,
            "dns": dns,
        }


class AuthenticatedDomains:
    """The account's domains, and the DNS that SendGrid sees when it looks."""

    def __init__(self) -> None:
        self.entries: dict[int, AuthenticatedDomain] = {}
        self._published: dict[str, set[str]] = {}
        self._last_id = 302182

    def publish(self, domain: str, records: Iterable[str] = RECORDS) -> None:
        """From now on these records of a domain are in the DNS, and no others."""
        self._published[domain] = set(records)

    def add_verified(self, domain: str) -> None:
        """Register a domain and have its records found."""
        self.publish(domain)
        self._add(domain, f"em{self._last_id}").found = set(RECORDS)

    def may_send_from(self, domain: str) -> bool:
        """True where one of the entries for it is valid."""
        return any(entry.is_valid for entry in self.entries.values() if entry.domain == domain)

    async def create(self, request: web.Request) -> web.Response:
        """POST /v3/whitelabel/domains."""
        wanted = await request.json()
        domain = wanted.get("domain")
        if not isinstance(domain, str) or not _NAME.fullmatch(domain.lower()):
            raise bad_request([FieldError("Domain is invalid.", "domain")])
        subdomain = wanted.get("subdomain") or f"em{self._last_id}"
        known = {(entry.domain, entry.subdomain) for entry in self.entries.values()}
        if (domain.lower(), subdomain) in known:
            raise bad_request([FieldError("An authenticated domain already exists for this URL.")])
        return json_response(201, self._add(domain.lower(), subdomain).as_json())

    async def list(self, request: web.Request) -> web.Response:
        """GET /v3/whitelabel/domains, which finds what contains the text that is looked for."""
        text = request.query.get("domain", "").lower()
        found = [entry for entry in self.entries.values() if text in entry.domain]
        offset, limit = int(request.query.get("offset", 0)), int(request.query.get("limit", 50))
        return json_response(200, [entry.as_json() for entry in found[offset : offset + limit]])

    async def get(self, request: web.Request) -> web.Response:
        """GET /v3/whitelabel/domains/{id}."""
        return json_response(200, self._entry(request).as_json())

    async def validate(self, request: web.Request) -> web.Response:
        """POST /v3/whitelabel/domains/{id}/validate."""
        entry = self._entry(request)
        entry.found = set(self._published.get(entry.domain, ()))
        results = {
            key: {"valid": key in entry.found, "reason": _reason(entry, key)} for key in RECORDS
        }
        return json_response(
            200, {"id": entry.id, "valid": entry.is_valid, "validation_results": results}
        )

    async def delete(self, request: web.Request) -> web.Response:
        """DELETE /v3/whitelabel/domains/{id}."""
        del self.entries[self._entry(request).id]
        return web.Response(status=204)

    def _add(self, domain: str, subdomain: str) -> AuthenticatedDomain:
        self._last_id += 1
        entry = AuthenticatedDomain(self._last_id, domain, subdomain, set())
        self.entries[entry.id] = entry
        return entry

    def _entry(self, request: web.Request) -> AuthenticatedDomain:
        entry = self.entries.get(int(request.match_info["id"]))
        if entry is None:
            raise SendGridError(NOT_FOUND)
        return entry


def _reason(entry: AuthenticatedDomain, key: str) -> str | None:
    if key in entry.found:
        return None
    return f"Expected CNAME for the {key} record of {entry.domain} but found none."
