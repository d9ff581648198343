"""Which accounts may take a loaded email."""

from collections.abc import Sequence

from tallypost_domain.queue.loading import LoadedEmail
from tallypost_providers import router
from tallypost_providers.types import Provider
from tallypost_worker.fleet import Fleet


def ways_of(email: LoadedEmail, fleet: Fleet) -> Sequence[Provider]:
    """The accounts that may take it, the one to ask first at the head."""
    mail = router.Mail(
        email_id=email.claim.email_id,
        mode=email.mode,
        domain_id=email.domain_id,
        lane=email.claim.lane,
        tags={tag.name: tag.value for tag in email.tags},
        is_partial=_is_partial(email),
    )
    named = router.pick((), mail, fleet.platform)
    return router.candidates(
        named, fleet.accounts, mail, refused_by=email.refused_by, warm_share=fleet.warm_share
    )


def _is_partial(email: LoadedEmail) -> bool:
    """Whether somebody named in its headers is not to get it: settled before, or suppressed."""
    return len(email.recipients) < len(email.statuses) or any(
        recipient.is_suppressed for recipient in email.recipients
    )
