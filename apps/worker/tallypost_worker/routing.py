"""Which accounts may take a loaded email, and which of them after an answer."""

from collections.abc import Sequence

from tallypost_domain.emails.types import Lane
from tallypost_domain.queue.loading import LoadedEmail
from tallypost_providers import router
from tallypost_providers.errors import EnvelopeNotKept, NoRouteAvailable
from tallypost_providers.types import Outcome, Provider, SendResult
from tallypost_worker.fleet import Fleet
from tallypost_worker.settlements import may_fail_over
from tallypost_worker.tenant_routes import TenantRoutes

_SETTLED = frozenset({Outcome.ACCEPTED, Outcome.REJECTED})


def is_bulk(email: LoadedEmail) -> bool:
    """Whether it lets other mail go first."""
    return email.claim.lane == Lane.BULK


def receivers_of(email: LoadedEmail) -> frozenset[str]:
    """The domains of the recipients that it is still to be sent to."""
    return frozenset(to.address.rpartition("@")[2].lower() for to in email.recipients)


def ways_of(email: LoadedEmail, routes: TenantRoutes, fleet: Fleet) -> Sequence[Provider]:
    """The accounts that may take it, the one to ask first at the head."""
    return _candidates(email, routes, fleet, is_partial=email.is_partial)


def no_way(email: LoadedEmail, routes: TenantRoutes, fleet: Fleet) -> Exception:
    """Why `ways_of` gave none: for good, or until somebody changes an account or a record."""
    is_complete = _is_complete(email, routes, fleet)
    if email.is_partial and is_complete and _candidates(email, routes, fleet, is_partial=False):
        return EnvelopeNotKept()
    return NoRouteAvailable()


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


def _is_complete(email: LoadedEmail, routes: TenantRoutes, fleet: Fleet) -> bool:
    """Whether all accounts that its route names could be asked; one that is off, or where the
    domain is not verified, may be one that can send it."""
    named = router.pick(routes.routes, _mail(email, is_partial=True), fleet.platform)
    return all(
        name in routes.accounts and (name, email.domain_id) not in routes.unverified
        for name in named
    )


def _mail(email: LoadedEmail, *, is_partial: bool) -> router.Mail:
    return router.Mail(
        email_id=email.claim.email_id,
        mode=email.mode,
        domain_id=email.domain_id,
        lane=email.claim.lane,
        tags={tag.name: tag.value for tag in email.tags},
        is_partial=is_partial,
    )


def _candidates(
    email: LoadedEmail, routes: TenantRoutes, fleet: Fleet, *, is_partial: bool
) -> list[Provider]:
    mail = _mail(email, is_partial=is_partial)
    return router.candidates(
        router.pick(routes.routes, mail, fleet.platform),
        routes.accounts,
        mail,
        refused_by=email.refused_by,
        unverified=routes.unverified,
        warm_share=fleet.warm_share,
    )
