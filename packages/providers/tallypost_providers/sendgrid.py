"""Hands emails to SendGrid by its v3 Web API."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self
from uuid import UUID

from msgspec.structs import replace

from tallypost_core.clock import utc_now
from tallypost_core.settings.providers import SendGridSettings
from tallypost_providers.account_checks import CheckStep
from tallypost_providers.base import clip, same_for_all
from tallypost_providers.errors import ProviderMisconfigured
from tallypost_providers.http_failures import HTTPAnswer, HTTPSilence, find_row
from tallypost_providers.look_ups import FoundMessage
from tallypost_providers.places import Places
from tallypost_providers.provider_domains import DomainStanding, ProviderDomain
from tallypost_providers.sendgrid_activity import find_messages
from tallypost_providers.sendgrid_api import SendGridAPI
from tallypost_providers.sendgrid_check import check_account
from tallypost_providers.sendgrid_domains import ensure_domain
from tallypost_providers.sendgrid_envelope import Envelope, read_envelope
from tallypost_providers.sendgrid_failures import (
    EGRESS_ERRORS,
    FAILURES,
    SENDER_UNVERIFIED,
    TOO_LARGE_ON_THE_WAY,
    read_answer,
    read_evidence,
    read_pause_s,
    read_silence,
)
from tallypost_providers.sendgrid_limits import (
    Refusal,
    find_obstacle,
    find_refusal,
    require_buildable,
)
from tallypost_providers.sendgrid_mail import write_body_async
from tallypost_providers.smtp_deadlines import PHASE_LIMIT_S, Budget
from tallypost_providers.tenant_settings import SendGridTenantSettings
from tallypost_providers.types import Capabilities, Outcome, OutgoingEmail, SendResult
from tallypost_resilience.deadline import Deadline
from tallypost_resilience.egress import EgressResponse
from tallypost_resilience.egress_rules import EgressRules

_BAD_ADDRESS_CODE = "5.1.3"
_CONTROL_TIMEOUT_S = 20.0
# Much shorter than a worker waits for all of a look-up: it takes one that it broke off for a
# question that was put, and one that finds no place never was.
_LOOK_UP_PLACE_S = 2.0


class SendGridProvider:
    """One SendGrid account as a provider; see `base` for what it promises.

    An email is one request and has one answer for all of its recipients. SendGrid sends to
    everybody whom To and Cc name, so `find_obstacle` is to be asked before an email is routed here.
    """

    name = "sendgrid"
    settings = SendGridSettings

    def __init__(self, settings: SendGridSettings, account: str) -> None:
        """Raises ProviderMisconfigured, which names the variable; connects to nothing."""
        self.account = account
        self.capabilities = Capabilities(
            raw_mime=False,
            keeps_message_id=False,
            keeps_envelope=False,
            signs_dkim=True,
            idempotent=False,
            lookup=settings.activity_lookup,
            events=True,
            reaches_outside=True,
        )
        self.rate_per_s = settings.rate_per_s
        self._region = settings.region
        self._api = SendGridAPI(settings)
        self._places = Places(settings.connections)
        self._is_closed = False

    @classmethod
    def for_tenant(
        cls,
        settings: SendGridTenantSettings,
        account: str,
        *,
        rules: EgressRules,
        owner: str,
        endpoint: str | None = None,
    ) -> Self:
        """An account of a tenant; the address is that of its region, or the operator's endpoint.

        A tenant chooses no host, so that rules have nothing to judge and owner nothing to bound.
        """
        return cls(
            SendGridSettings(
                api_key=settings.api_key,
                region=settings.region,
                endpoint=endpoint,
                activity_lookup=settings.activity_lookup,
                rate_per_s=settings.rate_per_s,
                connections=settings.connections,
            ),
            account,
        )

    @staticmethod
    def find_obstacle(email: OutgoingEmail) -> str | None:
        """Why an email must not be routed here, or None; see `sendgrid_limits`."""
        return find_obstacle(email)

    async def send(self, email: OutgoingEmail, timeout_s: float) -> SendResult:
        """Hand one email over; see `types.Provider.send`.

        Raises ProviderBusy where no connection becomes free in one third of the time.
        """
        budget = Budget(timeout_s)
        connect_limit_s = min(PHASE_LIMIT_S, timeout_s / 3)
        envelope = read_envelope(email)
        require_buildable(email)
        refusal = find_refusal(email, envelope)
        if refusal is not None:
            return _set_apart(email, envelope, _refused(email, refusal))
        async with self._place(budget.left_for_place_s(), is_bulk=email.is_bulk):
            # Not sooner: those who wait would each keep a body in memory.
            body = await write_body_async(email, envelope)
            leave_by = Deadline(budget.deadline_s("connect", connect_limit_s))
            result = await self._hand_over(
                email, body, leave_by, Deadline(budget.deadline_s("final"))
            )
        return _set_apart(email, envelope, result)

    async def close(self) -> None:
        """Close the connections; while some are in use, the last handover does it."""
        self._is_closed = True
        self._places.close()
        await self._close_if_unused()

    async def ensure_domain(self, domain: ProviderDomain) -> DomainStanding:
        """Register a sending domain for authentication, once, and have SendGrid look at its DNS.

        SendGrid makes its own keys, so those of the domain stay where they are.
        Raises DomainNotChecked, and ProviderBusy as `send` does.
        """
        deadline = Deadline.after(_CONTROL_TIMEOUT_S)
        async with self._place(_CONTROL_TIMEOUT_S / 3, is_bulk=False):
            return await ensure_domain(self._api, domain.name, self._region, deadline)

    async def look_up(self, email_id: UUID) -> tuple[FoundMessage, ...]:
        """What SendGrid's activity feed knows of an email; each entry proves that it was taken.

        None at all leaves it unknown: the feed is late by minutes, and some accounts have none.
        Raises ProviderMisconfigured where the setting for it is off, LookUpRefused and
        LookUpFailed, and ProviderBusy as `send` does.
        """
        if not self.capabilities.lookup:
            raise ProviderMisconfigured("TALLYPOST_SENDGRID_ACTIVITY_LOOKUP is off.")
        deadline = Deadline.after(_CONTROL_TIMEOUT_S)
        async with self._place(_LOOK_UP_PLACE_S, is_bulk=True):
            return await find_messages(self._api, email_id, deadline)

    async def check(self, timeout_s: float) -> tuple[CheckStep, ...]:
        """Ask SendGrid what the key may do; sends nothing. Raises ProviderBusy as `send` does."""
        deadline = Deadline.after(timeout_s)
        async with self._place(timeout_s / 3, is_bulk=False):
            return await check_account(self._api, deadline, has_look_ups=self.capabilities.lookup)

    @asynccontextmanager
    async def _place(self, within_s: float, *, is_bulk: bool) -> AsyncIterator[None]:
        await self._places.take(within_s, is_bulk=is_bulk)
        try:
            yield
        finally:
            self._places.give_back()
            await self._close_if_unused()

    async def _close_if_unused(self) -> None:
        if self._is_closed and not self._places.taken:
            await self._api.aclose()

    async def _hand_over(
        self, email: OutgoingEmail, body: bytes, leave_by: Deadline, deadline: Deadline
    ) -> SendResult:
        try:
            response = await self._api.fetch(
                "POST", "/v3/mail/send", body=body, leave_by=leave_by, deadline=deadline
            )
        except EGRESS_ERRORS as error:
            signal, note = read_silence(error)
            return same_for_all(
                email,
                find_row(FAILURES, signal).outcome,
                phase="connect" if signal is HTTPSilence.UNREACHABLE else "http",
                detail=note,
                evidence={"silence": signal.value},
            )
        return _answered(email, response)


def _answered(email: OutgoingEmail, response: EgressResponse) -> SendResult:
    now = utc_now()
    answer = read_answer(response, now)
    row = find_row(FAILURES, answer)
    message_id = clip(response.headers.get("x-message-id", ""))[:100] or None
    result = same_for_all(
        email,
        row.outcome,
        phase="http",
        reply_code=answer.status,
        detail=_describe(answer),
        evidence=read_evidence(response),
    )
    return replace(
        result,
        provider_message_id=message_id,
        concerns="sender" if row.pattern == SENDER_UNVERIFIED else "account",
        # It says of this email that another account may take it, and nothing of this account.
        was_asked=row.pattern != TOO_LARGE_ON_THE_WAY,
        pause_s=read_pause_s(response, now),
        recipients=tuple(
            replace(entry, retry_after_s=answer.retry_after_s) for entry in result.recipients
        ),
    )


def _describe(answer: HTTPAnswer) -> str:
    if answer.is_documented:
        return answer.text
    return f"HTTP status {answer.status} without an error in SendGrid's form"


def _refused(email: OutgoingEmail, refusal: Refusal) -> SendResult:
    result = same_for_all(
        email,
        refusal.outcome,
        phase=refusal.phase,
        enhanced_code=refusal.enhanced_code,
        detail=refusal.detail,
    )
    return replace(result, was_asked=False)


def _set_apart(email: OutgoingEmail, envelope: Envelope, result: SendResult) -> SendResult:
    """The result, but for the recipients whom the request did not name."""
    if not envelope.unusable:
        return result
    bad = same_for_all(
        email,
        Outcome.REJECTED,
        phase=result.phase,
        enhanced_code=_BAD_ADDRESS_CODE,
        detail="SendGrid takes no such address.",
    )
    entries = zip(result.recipients, bad.recipients, strict=True)
    return replace(
        result,
        recipients=tuple(
            other if entry.recipient_id in envelope.unusable else entry for entry, other in entries
        ),
    )
