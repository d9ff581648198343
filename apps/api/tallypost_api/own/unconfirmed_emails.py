"""Mail of which nobody knows whether it arrived, and what its sender decides about it."""

import datetime as dt
from typing import Annotated, Any, Final
from uuid import UUID

from litestar import Controller, Request, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter
from msgspec import UNSET, Struct, UnsetType, field

from tallypost_api.bodies import BODY_KEY
from tallypost_api.caller import Caller
from tallypost_api.ids import read_cursor, require_email_id
from tallypost_api.own.bodies import read_object
from tallypost_api.own.reading import get
from tallypost_api.permissions import OPT_KEY, Permission
from tallypost_api.style import STYLE_KEY, Style
from tallypost_domain.emails.lifecycle import RecipientStatus
from tallypost_domain.queue.requeueing import SkipReason
from tallypost_domain.queue.unconfirmed import (
    MAX_PAGE,
    NextStep,
    SilentAttempt,
    UnconfirmedEmail,
    list_unconfirmed,
)
from tallypost_domain.queue.unconfirmed_decisions import SettledAs, resend, settle

DEFAULT_LIMIT: Final = 20

_READ = {OPT_KEY: Permission.EMAILS_READ}
_DECIDE = {OPT_KEY: Permission.UNCONFIRMED_DECIDE}


class ResendRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """What the decision to send again is about; may be left out."""

    attempt_id: UUID | UnsetType = UNSET
    """The silent attempt that it is about: nothing is sent where there was another one since, so
    the request may be repeated at any time."""


class SettleRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """What its sender knows about an email."""

    as_: SettledAs = field(name="as")
    """`sent`: it arrived. `canceled`: it did not, and is not to be sent again."""
    attempt_id: UUID | UnsetType = UNSET
    """The silent attempt that it is about: nothing is settled where there was another one since."""


class WhatNext(Struct, frozen=True):
    """What becomes of the recipients if nobody does anything."""

    step: NextStep
    """`look_up`: the provider is asked about it first. `resend`: it is sent to them again.
    `decision`: nothing, until somebody decides. `after_others`: other recipients of the email are
    sent to first, then somebody has to decide."""
    at: dt.datetime | None
    """When it is due to be looked up or sent again; null where it is not, or where it is held until
    the account or the domain may send."""


class UnconfirmedRecipientAnswer(Struct, frozen=True):
    """Somebody who may have the email."""

    id: UUID
    address: str


class SilentAttemptAnswer(Struct, frozen=True, kw_only=True):
    """A handover that ended without a statement."""

    id: UUID
    provider: str
    """`unknown` where our process was lost with the handover; so is the account."""
    account: str
    phase: str
    """How far it came; `lookup` where the provider was to be asked about an earlier one: it did not
    know it, did not tell, or could not be asked."""
    at: dt.datetime
    """When it was recorded."""
    look_up_due: bool
    """The provider is still to be asked whether it took the email."""


class UnconfirmedAnswer(Struct, frozen=True, kw_only=True):
    """An email with recipients who may have it."""

    id: UUID
    subject: str
    stream: str
    created_at: dt.datetime
    recipients: tuple[UnconfirmedRecipientAnswer, ...]
    """Those who may have it, and no other."""
    attempt: SilentAttemptAnswer | None
    """The newest one of which nobody knows how it ended."""
    next: WhatNext


class UnconfirmedList(Struct, frozen=True):
    """A page of them, the one first that was accepted first."""

    data: tuple[UnconfirmedAnswer, ...]
    next: UUID | None
    """Give it as `after` for the next page; null at the end. A page may be short, or empty, and
    yet not be the last."""


class ResentAnswer(Struct, frozen=True):
    """What sending again did."""

    id: UUID
    recipients: int
    """Who is sent to again; 0 where an earlier call had done it."""
    skipped: dict[SkipReason, int]
    """What was left as it is, by the reason: recipients that are `suppressed`, or the email."""


class SettledAnswer(Struct, frozen=True):
    """What settling did."""

    id: UUID
    status: RecipientStatus
    """Of the email by now."""
    recipients: int
    """Who was settled; 0 where an earlier call had done it."""


class UnconfirmedEmailController(Controller):
    """`/unconfirmed-emails`."""

    path = "/unconfirmed-emails"
    tags = ("Unconfirmed emails",)
    opt = {STYLE_KEY: Style.OURS}  # noqa: RUF012 - Litestar reads it from the class

    @get(opt=_READ)
    async def list_unconfirmed_emails(
        self,
        caller: NamedDependency[Caller],
        limit: Annotated[
            int, QueryParameter(ge=1, le=MAX_PAGE, description="Emails in the page.")
        ] = DEFAULT_LIMIT,
        after: Annotated[
            str | None, QueryParameter(description="`next` of the page before.")
        ] = None,
    ) -> UnconfirmedList:
        """List the emails of the key's mode that may have arrived, oldest first."""
        start = read_cursor("after", after)
        async with caller.session() as session:
            page = await list_unconfirmed(
                session, caller.tenant_id, caller.mode, limit=limit, after=start
            )
        return UnconfirmedList(tuple(_answer(email) for email in page.items), page.after)

    @post(
        "/{email_id:str}/resend",
        status_code=200,
        opt=_DECIDE | {BODY_KEY: ResendRequest},
    )
    async def resend(
        self,
        request: Request[Any, Any, Any],
        caller: NamedDependency[Caller],
        email_id: FromPath[str],
    ) -> ResentAnswer:
        """Send an email that waits for a decision again, though it may arrive twice."""
        wanted = await read_object(request, ResendRequest)
        known_id = require_email_id(email_id)
        async with caller.session() as session:
            done = await resend(
                session,
                caller.tenant_id,
                caller.mode,
                known_id,
                actor=caller.as_actor(request),
                peppers=caller.services.peppers,
                attempt_id=None if wanted.attempt_id is UNSET else wanted.attempt_id,
            )
        return ResentAnswer(known_id, done.recipients, dict(done.skipped))

    @post(
        "/{email_id:str}/settle",
        status_code=200,
        opt=_DECIDE | {BODY_KEY: SettleRequest},
    )
    async def settle(
        self,
        request: Request[Any, Any, Any],
        caller: NamedDependency[Caller],
        email_id: FromPath[str],
    ) -> SettledAnswer:
        """Say whether an email arrived: it is not sent again, and is billed only if it did."""
        wanted = await read_object(request, SettleRequest)
        known_id = require_email_id(email_id)
        async with caller.session() as session:
            done = await settle(
                session,
                caller.tenant_id,
                caller.mode,
                known_id,
                wanted.as_,
                actor=caller.as_actor(request),
                attempt_id=None if wanted.attempt_id is UNSET else wanted.attempt_id,
            )
        return SettledAnswer(known_id, done.status, done.recipients)


def _answer(email: UnconfirmedEmail) -> UnconfirmedAnswer:
    return UnconfirmedAnswer(
        id=email.id,
        subject=email.subject,
        stream=email.stream,
        created_at=email.accepted_at,
        recipients=tuple(
            UnconfirmedRecipientAnswer(one.id, one.address) for one in email.recipients
        ),
        attempt=None if email.attempt is None else _attempt(email.attempt),
        next=WhatNext(email.next_step, email.next_at),
    )


def _attempt(attempt: SilentAttempt) -> SilentAttemptAnswer:
    return SilentAttemptAnswer(
        id=attempt.id,
        provider=attempt.provider,
        account=attempt.account,
        phase=attempt.phase,
        at=attempt.recorded_at,
        look_up_due=attempt.is_look_up_due,
    )
