"""Sends an email again, as a new one, because a person asks for it.

It goes through the one way by which emails are accepted, so that validation, suppressions, quotas
and metering hold for it as for the first. As accepting owns its transaction, this has one before it
and one after it.
"""

import asyncio
import base64
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_core import clock
from tallypost_core.object_store import ObjectStore
from tallypost_domain.api_keys.errors import TenantSuspended
from tallypost_domain.audit import service as audit
from tallypost_domain.audit.types import Actor
from tallypost_domain.db.sessions import SessionMaker, tenant_session
from tallypost_domain.emails.accept import Acceptor
from tallypost_domain.emails.attachments import AttachmentRequest
from tallypost_domain.emails.errors import InvalidIdempotencyKey
from tallypost_domain.emails.messages import EmailSource, fetch_attachments, load_source
from tallypost_domain.emails.types import Idempotency, NewEmail, Sender
from tallypost_domain.emails.validation import EmailRequest, TagRequest, validate
from tallypost_domain.tenants.models import Tenant
from tallypost_providers.types import Attachment
from tallypost_resilience.idempotency import fingerprint, is_usable_key

ROUTE: Final = "console resend"
"""What the idempotency keys of resending stand under, apart from those of the API's routes."""


class Resender:
    """Sends stored emails again."""

    def __init__(self, acceptor: Acceptor, sessions: SessionMaker, objects: ObjectStore) -> None:
        """sessions log in as tp_console; objects is the acceptor's store."""
        self._acceptor = acceptor
        self._sessions = sessions
        self._objects = objects

    async def resend(self, tenant_id: UUID, email_id: UUID, *, key: str, actor: Actor) -> UUID:
        """Accept an email like this one, and return its id; with the same key, the same id.

        The new one has the mode, stream, tags, headers and all recipients of the first, also those
        who have it, and goes out at once. It names the first one's API key as its own, even where
        that was revoked since: the key says how the email came in, and what it takes to send it
        again is the actor's permission, which the caller checks.

        The audit log has `email.resend_requested` before anything is sent, and afterwards
        `email.resent` of the new email. Where only the latter fails, the call does too; repeated
        with the same key it makes up for it. Raises EmailNotFound, TenantSuspended, AttachmentGone,
        InvalidIdempotencyKey, and as `Acceptor.accept`.
        """
        if not is_usable_key(key):
            raise InvalidIdempotencyKey
        source = await self._begin(tenant_id, email_id, actor)
        attachments = await fetch_attachments(self._objects, source.attachments)
        # Megabytes of base64 take their time.
        email = await asyncio.to_thread(_new_email, source, attachments)
        # A stream that only a key's default may name, no header may: so it goes as the default.
        sender = Sender(tenant_id, source.api_key_id, source.mode, default_stream=source.stream)
        idempotency = Idempotency(ROUTE, key, fingerprint(email_id))
        (new_id,) = (await self._acceptor.accept(sender, email, idempotency)).ids
        await self._finish(tenant_id, email_id, new_id, actor)
        return new_id

    async def _begin(self, tenant_id: UUID, email_id: UUID, actor: Actor) -> EmailSource:
        async with tenant_session(self._sessions, tenant_id) as session:
            await _require_active(session, tenant_id)
            source = await load_source(session, tenant_id, email_id)
            await audit.record(
                session,
                tenant_id,
                "email.resend_requested",
                actor=actor,
                subject_kind="email",
                subject_id=email_id,
            )
        return source

    async def _finish(self, tenant_id: UUID, email_id: UUID, new_id: UUID, actor: Actor) -> None:
        async with tenant_session(self._sessions, tenant_id) as session:
            await audit.record_once(
                session,
                tenant_id,
                "email.resent",
                actor=actor,
                subject_kind="email",
                subject_id=new_id,
                changes={"resent_from": str(email_id)},
            )


async def _require_active(session: AsyncSession, tenant_id: UUID) -> None:
    # Where programs send, their key is refused for this.
    status = await session.scalar(select(Tenant.status).where(Tenant.id == tenant_id))
    if status != "active":
        raise TenantSuspended


def _new_email(source: EmailSource, attachments: Sequence[Attachment]) -> NewEmail:
    """The email as its tenant would write it today; raises as `validate`."""
    request = EmailRequest(
        from_=source.from_header,
        to=[*source.to],
        cc=[*source.cc],
        bcc=[*source.bcc],
        reply_to=[*source.reply_to],
        subject=source.subject,
        html=source.html,
        text=source.text,
        headers={**source.headers},
        tags=[TagRequest(tag.name, tag.value) for tag in source.tags],
        attachments=[
            AttachmentRequest(
                filename=attachment.filename,
                content=base64.b64encode(attachment.body).decode("ascii"),
                content_type=attachment.content_type,
                content_id=attachment.content_id,
            )
            for attachment in attachments
        ],
    )
    return validate(request, now=clock.utc_now())
