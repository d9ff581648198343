"""Has SendGrid authenticate a sending domain (twilio.com/docs/sendgrid/api-reference/
domain-authentication): by three CNAME records, behind which it keeps its own keys."""

from collections.abc import Mapping
from typing import Final, Literal, TypeVar

import msgspec
from msgspec import Struct

from tallypost_providers.base import clip
from tallypost_providers.errors import DomainNotChecked
from tallypost_providers.provider_domains import DomainStanding, WantedRecord
from tallypost_providers.sendgrid_api import SendGridAPI
from tallypost_providers.sendgrid_failures import EGRESS_ERRORS, read_errors
from tallypost_resilience.deadline import Deadline
from tallypost_resilience.egress import EgressResponse

_PATH: Final = "/v3/whitelabel/domains"
# The search may find what only contains the name, and an account has up to 3,000 domains.
_PAGE: Final = 100
_RECORD_TYPES: Final[dict[str, Literal["CNAME", "TXT", "MX"]]] = {
    "cname": "CNAME",
    "txt": "TXT",
    "mx": "MX",
}

# The domain cannot be had, or the account has its 3,000 domains. 401 and 403 are about the key.
_ABOUT_THE_DOMAIN: Final = frozenset({400, 409, 422})

T = TypeVar("T")


class _Record(Struct):
    type: str
    host: str
    data: str
    valid: bool = False


class _Domain(Struct):
    id: int
    domain: str
    dns: dict[str, _Record]
    valid: bool = False


class _Check(Struct):
    valid: bool = False
    reason: str | None = None


class _Validation(Struct):
    valid: bool
    validation_results: dict[str, _Check] = {}


class _Refused(Exception):
    """SendGrid said why it does not do what was asked."""


async def ensure_domain(
    api: SendGridAPI, name: str, region: str, deadline: Deadline
) -> DomainStanding:
    """Register the domain where the account does not have it, and ask SendGrid to look at its DNS
    where it has not found all of it yet.

    Raises DomainNotChecked.
    """
    calls = _Calls(api, deadline)
    try:
        domain = await calls.find(name) or await calls.create(name, region)
        if domain.valid:
            return DomainStanding(is_verified=True, records=_records(domain, {}))
        validation = await calls.validate(domain.id)
    except _Refused as refused:
        return DomainStanding(is_verified=False, detail=clip(str(refused)))
    checks = validation.validation_results
    reasons = [check.reason for check in checks.values() if check.reason and not check.valid]
    return DomainStanding(
        is_verified=validation.valid,
        records=_records(domain, checks),
        detail=clip("; ".join(reasons)),
    )


class _Calls:
    """The requests; each raises _Refused for what SendGrid says against the domain, and
    DomainNotChecked for anything else that is no answer."""

    def __init__(self, api: SendGridAPI, deadline: Deadline) -> None:
        self._api = api
        self._deadline = deadline

    async def find(self, name: str) -> _Domain | None:
        """The account's entry for exactly this domain; of several the one that is verified, or the
        oldest."""
        same: list[_Domain] = []
        offset, is_last = 0, False
        while not is_last:
            query = {"domain": name, "limit": str(_PAGE), "offset": str(offset)}
            page = _read(await self._fetch("GET", _PATH, query=query), list[_Domain])
            same += [entry for entry in page if entry.domain.lower() == name.lower()]
            offset, is_last = offset + _PAGE, len(page) < _PAGE
        return min(same, key=lambda entry: (not entry.valid, entry.id), default=None)

    async def create(self, name: str, region: str) -> _Domain:
        wanted: dict[str, object] = {"domain": name, "automatic_security": True}
        if region != "global":
            wanted["region"] = region
        return _read(await self._fetch("POST", _PATH, body=msgspec.json.encode(wanted)), _Domain)

    async def validate(self, domain_id: int) -> _Validation:
        return _read(await self._fetch("POST", f"{_PATH}/{domain_id}/validate"), _Validation)

    async def _fetch(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> EgressResponse:
        try:
            response = await self._api.fetch(
                method, path, query=query, body=body, deadline=self._deadline
            )
        except EGRESS_ERRORS as error:
            raise DomainNotChecked from error
        if response.status < 300:
            return response
        words = read_errors(response.body)
        if words is not None and response.status in _ABOUT_THE_DOMAIN:
            raise _Refused(words)
        # Not its words, which name the domain: errors end up in logs.
        raise DomainNotChecked(
            f"SendGrid did not say where the domain stands: status {response.status}."
        )


def _read(response: EgressResponse, type_: type[T]) -> T:
    try:
        return msgspec.json.decode(response.body, type=type_)
    except msgspec.MsgspecError as error:
        raise DomainNotChecked("SendGrid's answer about the domain made no sense.") from error


def _records(domain: _Domain, checks: Mapping[str, _Check]) -> tuple[WantedRecord, ...]:
    """In the order of SendGrid's answer; a check that was made just now is newer than what the
    domain itself says."""
    records: list[WantedRecord] = []
    for key, record in domain.dns.items():
        check = checks.get(key)
        records.append(
            WantedRecord(
                type=_RECORD_TYPES.get(record.type.lower(), "TXT"),
                name=record.host.rstrip("."),
                value=record.data,
                is_found=record.valid if check is None else check.valid,
            )
        )
    return tuple(records)
