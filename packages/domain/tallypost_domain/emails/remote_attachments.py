"""Fetches the attachments that a request names by URL, before the email is stored.

A network call to addresses that a tenant chose: it goes through guarded egress, outside any
transaction. Whatever fails is a fault of the request, as the URL is part of it: the caller is told
which one, and repeats when it is mended.
"""

import asyncio
from typing import Final

import msgspec

from tallypost_domain.emails.attachments import content_type_of_answer
from tallypost_domain.emails.errors import EmailTooLarge, InvalidAttachment
from tallypost_domain.emails.types import NewAttachment, NewEmail
from tallypost_domain.emails.validation import MAX_EMAIL_BYTES, size_bytes
from tallypost_resilience.deadline import Deadline
from tallypost_resilience.egress import Egress
from tallypost_resilience.egress_bodies import ByteBudget
from tallypost_resilience.egress_rules import (
    EgressFailed,
    EgressForbidden,
    EgressRedirected,
    EgressTimedOut,
    EgressTooLarge,
)

_AT_ONCE: Final = 4


async def fetch_remote_attachments(email: NewEmail, egress: Egress, deadline: Deadline) -> NewEmail:
    """The email with the bodies of all its attachments; itself where they are here already.

    At most four are fetched at a time, all before the deadline, and together with what is here
    they may have MAX_EMAIL_BYTES. Raises InvalidAttachment or EmailTooLarge naming the first
    field that failed; the other fetches end then.
    """
    if all(attachment.remote is None for attachment in email.attachments):
        return email
    fetcher = _Fetcher(egress, deadline, ByteBudget(MAX_EMAIL_BYTES - size_bytes(email)))
    try:
        async with asyncio.TaskGroup() as group:
            fetches = [
                group.create_task(fetcher.fetch(attachment, f"attachments[{index}].path"))
                for index, attachment in enumerate(email.attachments)
            ]
    except ExceptionGroup as failures:
        # Of several that failed together one is enough to act on.
        raise failures.exceptions[0] from None
    return msgspec.structs.replace(email, attachments=tuple(fetch.result() for fetch in fetches))


class _Fetcher:
    def __init__(self, egress: Egress, deadline: Deadline, budget: ByteBudget) -> None:
        self._egress = egress
        self._deadline = deadline
        self._budget = budget
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def fetch(self, attachment: NewAttachment, field: str) -> NewAttachment:
        """The attachment with its body."""
        remote = attachment.remote
        if remote is None:
            return attachment
        async with self._places:
            body, told_type = await self._get(remote.url, field)
        content_type = attachment.content_type
        if remote.is_type_open:
            content_type = content_type_of_answer(told_type, attachment.filename)
        return msgspec.structs.replace(
            attachment, body=body, content_type=content_type, remote=None
        )

    async def _get(self, url: str, field: str) -> tuple[bytes, str | None]:
        try:
            answer = await self._egress.fetch(
                "GET", url, deadline=self._deadline, budget=self._budget
            )
        except EgressTooLarge as error:
            raise EmailTooLarge(field=field) from error
        except (EgressForbidden, EgressRedirected, EgressTimedOut, EgressFailed) as error:
            raise InvalidAttachment(
                f"The `{field}` field cannot be fetched: {error.message}", field=field
            ) from error
        if not 200 <= answer.status < 300:
            raise InvalidAttachment(
                f"The `{field}` field cannot be fetched: "
                f"its server answered with status {answer.status}.",
                field=field,
            )
        return answer.body, answer.headers.get("content-type")
