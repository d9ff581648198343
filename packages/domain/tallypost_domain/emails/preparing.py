"""Makes a submission of a request: everything that can be decided before it is written."""

from collections.abc import Sequence
from typing import NamedTuple

from tallypost_core.crypto import KeyRing
from tallypost_core.errors import AppError, ErrorKind
from tallypost_domain.emails.attachments import INLINE_LIMIT_BYTES
from tallypost_domain.emails.errors import EmailTooLarge, FieldNotSupported
from tallypost_domain.emails.limits import Limits
from tallypost_domain.emails.remote_attachments import fetch_remote_attachments
from tallypost_domain.emails.rows import Item, build_item
from tallypost_domain.emails.senders import OriginDirectory
from tallypost_domain.emails.statements import Claim
from tallypost_domain.emails.submissions import Submission
from tallypost_domain.emails.types import Acceptance, BatchError, NewEmail, Sender
from tallypost_domain.usage.quotas import Quotas, Reservation
from tallypost_resilience.deadline import Deadline
from tallypost_resilience.egress import Egress


class Request(NamedTuple):
    """A valid request to send; an AppError stands for an email that is not valid."""

    sender: Sender
    emails: Sequence[NewEmail | AppError]
    is_strict: bool
    claim: Claim | None
    trace_context: str | None
    """Of the span that accepts it, where that is sampled."""

    @property
    def has_objects(self) -> bool:
        """True where something has to be fetched, or to be put in the object store."""
        return any(
            attachment.remote is not None or len(attachment.body) > INLINE_LIMIT_BYTES
            for email in self.emails
            # Most emails have none, and most requests one email: no loop within a loop for those.
            if not isinstance(email, AppError) and email.attachments
            for attachment in email.attachments
        )


class Preparer:
    """Finds what emails are sent from, fetches attachments and reserves units of quotas."""

    def __init__(
        self,
        origins: OriginDirectory,
        quotas: Quotas,
        peppers: KeyRing,
        egress: Egress | None,
        limits: Limits,
    ) -> None:
        self._origins = origins
        self._quotas = quotas
        self._peppers = peppers
        self._egress = egress
        self._limits = limits

    async def prepare(self, request: Request) -> Submission:
        """The submission of a request.

        Strict, the first bad email is raised; otherwise bad ones are left out and listed. Raises
        as `Acceptor.accept`.
        """
        items: list[Item] = []
        errors: list[BatchError] = []
        deadline = Deadline.after(self._limits.fetch_within_s)
        left_bytes = self._limits.fetched_bytes
        for index, email in enumerate(request.emails):
            try:
                item = await self._prepare_one(request, email, deadline, left_bytes)
            except AppError as error:
                # An outage is no fault of the email, so it fails the whole request.
                if error.kind is ErrorKind.UNAVAILABLE:
                    raise
                if request.is_strict:
                    raise _at_index(error, index, len(request.emails)) from error
                errors.append(BatchError(index=index, message=error.message))
            else:
                items.append(item)
                left_bytes -= item.size_bytes
        return Submission(
            request.sender,
            tuple(items),
            Acceptance(ids=tuple(item.id for item in items), errors=tuple(errors)),
            request.claim,
            await self._reserve(request.sender, items),
        )

    async def _prepare_one(
        self, request: Request, email: NewEmail | AppError, deadline: Deadline, left_bytes: int
    ) -> Item:
        if isinstance(email, AppError):
            raise email
        sender = request.sender
        origin = await self._origins.get_origin(sender, email)
        if email.attachments:
            email = await self._fetch(email, deadline)
        item = build_item(sender.tenant_id, origin, email, self._peppers, request.trace_context)
        if item.size_bytes > left_bytes:
            raise EmailTooLarge("The emails are larger than 40 MB with the attachments fetched.")
        return item

    async def _fetch(self, email: NewEmail, deadline: Deadline) -> NewEmail:
        if self._egress is not None:
            return await fetch_remote_attachments(email, self._egress, deadline)
        for index, attachment in enumerate(email.attachments):
            if attachment.remote is not None:
                field = f"attachments[{index}].path"
                raise FieldNotSupported(f"The `{field}` field is not supported here.", field=field)
        return email

    async def _reserve(self, sender: Sender, items: Sequence[Item]) -> Reservation | None:
        # Mail of test mode goes nowhere and is not metered.
        if sender.mode != "live" or not items:
            return None
        units = sum(len(item.addressees) for item in items)
        return await self._quotas.reserve(sender.tenant_id, units)


def _at_index(error: AppError, index: int, count: int) -> AppError:
    # Alone, an email needs no number.
    if count == 1:
        return error
    field = f"[{index}].{error.field}" if error.field else f"[{index}]"
    return type(error)(f"Email at index {index}: {error.message}", field=field)
