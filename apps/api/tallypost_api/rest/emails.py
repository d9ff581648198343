"""Sending, reading, moving and canceling emails.

Bodies are read before a transaction opens: a slow client must not hold one.
"""

import datetime as dt
from typing import Annotated, Any, Final

from litestar import Controller, Request, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from tallypost_api.bodies import (
    BODY_KEY,
    BatchItem,
    RescheduleRequest,
    decode_batch,
    decode_email,
    decode_reschedule,
    read_body,
)
from tallypost_api.caller import Caller
from tallypost_api.direct import DIRECT_KEY
from tallypost_api.errors import InvalidParameter
from tallypost_api.ids import read_cursor, require_email_id
from tallypost_api.permissions import OPT_KEY, Permission
from tallypost_api.request_context import get_caller
from tallypost_api.request_headers import HEADERS_KEY, RequestHeader
from tallypost_api.rest.answers import (
    AcceptedBatch,
    ChangedEmail,
    EmailAnswer,
    EmailList,
    EmailRef,
    accepted_batch,
    email_answer,
    email_list,
)
from tallypost_api.rest.idempotency import find_idempotency
from tallypost_core.clock import utc_now
from tallypost_core.errors import AppError
from tallypost_domain.emails import service
from tallypost_domain.emails.errors import MissingField
from tallypost_domain.emails.scheduling import parse_scheduled_at
from tallypost_domain.emails.types import NewEmail
from tallypost_domain.emails.validation import EmailRequest, validate

DEFAULT_LIMIT: Final = 20

_READ = {OPT_KEY: Permission.EMAILS_READ}
_CHANGE = {OPT_KEY: Permission.EMAILS_CHANGE}

_BATCH_VALIDATION_HEADER = "x-batch-validation"

_IDEMPOTENCY_KEY = RequestHeader(
    "Idempotency-Key",
    "1 to 256 characters. For 24 hours a repeat with the same key and body gets the first answer.",
)
_BATCH_VALIDATION = RequestHeader(
    _BATCH_VALIDATION_HEADER,
    "`strict` stores all emails or none, `permissive` those that are valid.",
    default="strict",
)
_SEND = {OPT_KEY: Permission.EMAILS_SEND, DIRECT_KEY: True}


class EmailController(Controller):
    """`/emails`."""

    path = "/emails"
    tags = ("Emails",)

    @post(
        status_code=200,
        opt=_SEND | {BODY_KEY: EmailRequest, HEADERS_KEY: (_IDEMPOTENCY_KEY,)},
    )
    async def send(self, request: Request[Any, Any, Any]) -> EmailRef:
        """Send one email."""
        caller = get_caller(request.scope)
        decoded = decode_email(await read_body(request))
        acceptance = await caller.acceptor.accept(
            caller.sender,
            validate(decoded, now=utc_now()),
            find_idempotency(_IDEMPOTENCY_KEY.read(request), "POST /emails", decoded),
        )
        return EmailRef(acceptance.ids[0])

    @post(
        "/batch",
        status_code=200,
        opt=_SEND
        | {BODY_KEY: list[EmailRequest], HEADERS_KEY: (_IDEMPOTENCY_KEY, _BATCH_VALIDATION)},
    )
    async def send_batch(self, request: Request[Any, Any, Any]) -> AcceptedBatch:
        """Send up to 100 emails: all or none (strict), or those that are valid (permissive)."""
        caller = get_caller(request.scope)
        strict = _is_strict(_BATCH_VALIDATION.read(request))
        items = decode_batch(await read_body(request))
        now = utc_now()
        acceptance = await caller.acceptor.accept_batch(
            caller.sender,
            [_validate_item(item, now) for item in items],
            strict=strict,
            # The same emails in the other mode are another request, with another answer.
            idempotency=find_idempotency(
                _IDEMPOTENCY_KEY.read(request),
                "POST /emails/batch",
                {"strict": strict, "emails": [_canonical(item) for item in items]},
            ),
        )
        return accepted_batch(acceptance, strict=strict)

    @get(opt=_READ)
    async def list_emails(
        self,
        caller: NamedDependency[Caller],
        limit: Annotated[
            int, QueryParameter(ge=1, le=service.MAX_PAGE, description="Emails in the page.")
        ] = DEFAULT_LIMIT,
        after: Annotated[
            str | None, QueryParameter(description="Id after which the page begins.")
        ] = None,
        before: Annotated[
            str | None, QueryParameter(description="Id before which the page ends.")
        ] = None,
    ) -> EmailList:
        """List the emails of the key's mode, newest first."""
        if after is not None and before is not None:
            raise InvalidParameter("Give `after` or `before`, not both.", field="before")
        bounds = {"after": read_cursor("after", after), "before": read_cursor("before", before)}
        async with caller.session() as session:
            page = await service.list_emails(
                session, caller.tenant_id, caller.mode, limit=limit, **bounds
            )
        return email_list(page)

    @get("/{email_id:str}", opt=_READ)
    async def get_email(
        self,
        caller: NamedDependency[Caller],
        email_id: FromPath[str],
    ) -> EmailAnswer:
        """Read one email with its bodies."""
        known_id = require_email_id(email_id)
        async with caller.session() as session:
            view = await service.get_email(session, caller.tenant_id, caller.mode, known_id)
        return email_answer(view, with_bodies=True)

    @patch("/{email_id:str}", opt=_CHANGE | {BODY_KEY: RescheduleRequest})
    async def reschedule(
        self,
        request: Request[Any, Any, Any],
        caller: NamedDependency[Caller],
        email_id: FromPath[str],
    ) -> ChangedEmail:
        """Move a scheduled email to another time."""
        text = decode_reschedule(await read_body(request)).scheduled_at
        if text is None:
            raise MissingField("Missing `scheduled_at` field.", field="scheduled_at")
        scheduled_at = parse_scheduled_at(text, utc_now())
        known_id = require_email_id(email_id)
        async with caller.session() as session:
            await service.reschedule(session, caller.tenant_id, caller.mode, known_id, scheduled_at)
        return ChangedEmail(known_id)

    @post("/{email_id:str}/cancel", status_code=200, opt=_CHANGE)
    async def cancel(
        self,
        caller: NamedDependency[Caller],
        email_id: FromPath[str],
    ) -> ChangedEmail:
        """Take back a scheduled email."""
        known_id = require_email_id(email_id)
        async with caller.session() as session:
            await service.cancel(session, caller.tenant_id, caller.mode, known_id)
        return ChangedEmail(known_id)


def _is_strict(batch_validation: str | None) -> bool:
    if batch_validation not in ("strict", "permissive"):
        raise InvalidParameter(
            f"The `{_BATCH_VALIDATION_HEADER}` header is neither strict nor permissive.",
            field=_BATCH_VALIDATION_HEADER,
        )
    return batch_validation == "strict"


def _validate_item(item: BatchItem, now: dt.datetime) -> NewEmail | AppError:
    if isinstance(item.request, AppError):
        return item.request
    try:
        return validate(item.request, now=now)
    except AppError as error:
        return error


def _canonical(item: BatchItem) -> object:
    # What could not be decoded has no canonical form, so its own bytes stand for it.
    return item.raw if isinstance(item.request, AppError) else item.request
