"""Turns a loaded email into what a provider takes: attachments fetched, signing keys opened."""

from tallypost_core.object_store import ObjectStore
from tallypost_domain.db.pools import Pool
from tallypost_domain.domains.signing import SigningKeyDirectory
from tallypost_domain.emails.messages import fetch_attachment
from tallypost_domain.emails.types import Lane
from tallypost_domain.queue.loading import LoadedEmail, load_content
from tallypost_providers.types import EnvelopeRecipient, OutgoingEmail

# Base64 makes a body 37 % larger with its line ends, and the message exists twice while it is
# built and signed.
_MEMORY_FACTOR = 4


class Assembler:
    """Builds outgoing emails from loaded ones."""

    def __init__(self, pool: Pool, objects: ObjectStore, signing_keys: SigningKeyDirectory) -> None:
        """pool logs in as tp_deliver."""
        self._pool = pool
        self._objects = objects
        self._signing_keys = signing_keys

    async def close(self) -> None:
        """Give back what the object store holds open."""
        await self._objects.close()

    async def assemble(self, email: LoadedEmail) -> OutgoingEmail:
        """The email for those of its recipients that may get it.

        Raises ObjectStoreUnavailable, ObjectNotFound, DatabaseUnavailable and CryptoError:
        nothing has left then.
        """
        content = email.content or await load_content(self._pool, email.claim)
        attachments = [
            await fetch_attachment(self._objects, stored) for stored in content.attachments
        ]
        tenant_id = email.claim.tenant_id
        return OutgoingEmail(
            tenant_id=tenant_id,
            email_id=email.claim.email_id,
            mode=email.mode,
            created_at=email.created_at,
            from_header=email.from_header,
            envelope_sender=email.from_address,
            to=email.to,
            cc=email.cc,
            reply_to=email.reply_to,
            subject=email.subject,
            html=content.html,
            text=content.text,
            headers=email.headers,
            attachments=tuple(attachments),
            recipients=tuple(
                EnvelopeRecipient(
                    recipient_id=recipient.id, address=recipient.address, kind=recipient.kind
                )
                for recipient in email.recipients
                if not recipient.is_suppressed
            ),
            dkim_keys=await self._signing_keys.list_keys(tenant_id, email.domain_id),
            tags={tag.name: tag.value for tag in email.tags},
            is_bulk=email.claim.lane == Lane.BULK,
        )


def memory_bytes(email: LoadedEmail) -> int:
    """About how much memory an email takes from assembly to the end of its handover."""
    return _MEMORY_FACTOR * email.size_bytes
