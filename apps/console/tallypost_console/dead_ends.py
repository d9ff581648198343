"""Whether an email that waits has nobody to ask, in words."""

from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_console.route_previews import Dispatch, find_dispatch, load_situation
from tallypost_domain.emails.lifecycle import RecipientStatus
from tallypost_domain.emails.views import EmailView
from tallypost_domain.queue.waiting import Turn
from tallypost_providers.router import Mail

_TO_BE_SENT: Final = frozenset({RecipientStatus.QUEUED, RecipientStatus.DEFERRED})


async def find_dead_end(
    session: AsyncSession, tenant_id: UUID, email: EmailView, turn: Turn
) -> str:
    """Why no account may be asked to take the email; empty where one may.

    Test mail goes to the Inbox, whatever routes say.
    """
    if email.mode == "test" or email.status not in _TO_BE_SENT:
        return ""
    mail = Mail(
        email_id=email.id,
        mode=email.mode,
        domain_id=turn.domain_id,
        lane=turn.lane,
        tags={tag.name: tag.value for tag in email.tags},
    )
    return describe_dead_end(find_dispatch(await load_situation(session, tenant_id), mail))


def describe_dead_end(dispatch: Dispatch) -> str:
    """Each account that is left out, with the reason; empty where one is not."""
    if not dispatch.waits:
        return ""
    said = "; ".join(f"{way.name}: {way.left_out}" for way in dispatch.ways)
    if dispatch.is_by_route:
        return f"No account of its route may be asked: {said}."
    return f"No account may be asked: {said}."
