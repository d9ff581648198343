"""Settles several emails at once of which a person knows whether they arrived."""

from collections.abc import Mapping
from uuid import UUID

from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_domain.audit.types import Actor
from tallypost_domain.emails.errors import EmailNotFound
from tallypost_domain.queue.errors import AttemptSuperseded, EmailUnderWay, NothingUnconfirmed
from tallypost_domain.queue.requeue_choices import lock
from tallypost_domain.queue.requeue_steps import take_turn
from tallypost_domain.queue.requeueing import MAX_STEP
from tallypost_domain.queue.unconfirmed_decisions import SettledAs, settle
from tallypost_providers.types import Mode


class SettledSeveral(Struct, frozen=True, kw_only=True):
    """What became of the emails; each counts once."""

    emails: int
    """That were settled by this."""
    recipients: int
    """That were settled by it."""
    under_way: int
    """Emails that were left, because a worker has them just now."""
    silent_again: int
    """Emails that were left, because they were handed over once more since."""
    not_in_doubt: int
    """Emails that were left, because nobody doubts them any more, or there are none such."""


async def settle_several(
    session: AsyncSession,
    tenant_id: UUID,
    mode: Mode,
    seen: Mapping[UUID, UUID | None],
    settled_as: SettledAs,
    *,
    actor: Actor,
) -> SettledSeveral:
    """As `settle` for each of them; what stands in one's way does not stop the others.

    seen are emails, each with the silent attempt that the decision is about, where it is known.
    One step in one transaction, which the caller commits. Takes up to MAX_STEP emails; raises
    ValueError for more.
    """
    wanted = sorted(seen)
    if len(wanted) > MAX_STEP:
        raise ValueError(f"{len(wanted)} at once are more than {MAX_STEP}")
    await take_turn(session, tenant_id)
    # All at once, in the order of the workers: whoever locks one email after the other may wait for
    # a worker that waits for them.
    await lock(session, tenant_id, wanted)
    settled: list[int] = []
    under_way = silent_again = not_in_doubt = 0
    for email_id in wanted:
        try:
            # Where it refuses, it has written nothing.
            done = await settle(
                session,
                tenant_id,
                mode,
                email_id,
                settled_as,
                actor=actor,
                attempt_id=seen[email_id],
            )
        except EmailUnderWay:
            under_way += 1
        except AttemptSuperseded:
            silent_again += 1
        except (EmailNotFound, NothingUnconfirmed):
            not_in_doubt += 1
        else:
            settled += [done.recipients] if done.recipients else []
            not_in_doubt += not done.recipients
    return SettledSeveral(
        emails=len(settled),
        recipients=sum(settled),
        under_way=under_way,
        silent_again=silent_again,
        not_in_doubt=not_in_doubt,
    )
