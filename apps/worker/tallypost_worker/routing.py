"""Which accounts may take a loaded email, and which of them after an answer."""

from collections.abc import Sequence

from tallypost_domain.emails.types import Lane
from tallypost_domain.queue.loading import LoadedEmail
from tallypost_providers import router
from tallypost_providers.errors import EnvelopeNotKept, NoRouteAvailable
from tallypost_providers.types import Outcome, Provider, SendResult
from tallypost_worker.fleet import Fleet
from tallypost_worker.settlements import may_fail_over

_SETTLED = frozenset({Outcome.ACCEPTED, Outcome.REJECTED})


def is_bulk(email: LoadedEmail) -> bool:
    """Whether it lets other mail go first."""
    return email.claim.lane == Lane.BULK


def ways_of(email: LoadedEmail, fleet: Fleet) -> Sequence[Provider]:
    """The accounts that may take it, the one to ask first at the head."""
    mail = router.Mail(
        email_id=email.claim.email_id,
        mode=email.mode,
        domain_id=email.domain_id,
        lane=email.claim.lane,
        tags={tag.name: tag.value for tag in email.tags},
        is_partial=email.is_partial,
    )
    named = router.pick((), mail, fleet.platform)
    return router.candidates(
        named, fleet.accounts, mail, refused_by=email.refused_by, warm_share=fleet.warm_share
    )


def no_way(email: LoadedEmail, fleet: Fleet) -> Exception:
    """Why `ways_of` gave none: for good, or until somebody adds an account."""
    is_outside = email.mode == "live"
    exists = any(
        account.capabilities.reaches_outside == is_outside for account in fleet.accounts.values()
    )
    return EnvelopeNotKept() if exists else NoRouteAvailable()


def others_after(
    provider: Provider, result: SendResult, email: LoadedEmail, ways: Sequence[Provider]
) -> list[Provider]:
    """The accounts that may be asked in the same round after this answer; none where it settles
    the email, or leaves somebody to wait."""
    if not may_fail_over(result):
        return []
    # Whoever is settled now is not to get it again, though the headers name them.
    is_partial = email.is_partial or any(to.outcome in _SETTLED for to in result.recipients)
    return [
        way
        for way in ways
        if way is not provider
        and way.account not in email.refused_by
        and (way.capabilities.keeps_envelope or not is_partial)
    ]
