"""When each email was acknowledged and when a provider took it, as the product has it on record."""

import math
from collections.abc import Iterable

from msgspec import Struct

from tests.support.database import SeededTenant
from tests.support.platform import Platform

# All times are of the database server's clock, which is this machine's.
_HANDOVERS = """
    SELECT extract(epoch FROM e.created_at)::float8 AS accepted_at,
           (extract(epoch FROM min(a.created_at) FILTER (WHERE a.outcome = 'accepted')))::float8
               AS taken_at,
           coalesce(bool_or(a.outcome = 'ambiguous'), false) AS was_in_doubt
    FROM emails e LEFT JOIN attempts a ON a.tenant_id = e.tenant_id AND a.email_id = e.id
    WHERE e.tenant_id = $1
    GROUP BY e.tenant_id, e.id, e.created_at
"""
_NOT_CLOSED = """
    SELECT count(*) FROM account_states WHERE account = $1 AND state IN ('open', 'half_open')
"""


class Handover(Struct, frozen=True):
    """What became of one email; times in Unix seconds."""

    accepted_at: float
    """When the API acknowledged it."""
    taken_at: float | None
    """When the first acknowledgement of a provider was recorded; None without one."""
    was_in_doubt: bool
    """It left for a provider once that did not say what became of it."""


def read_handovers(platform: Platform, tenant: SeededTenant) -> list[Handover]:
    """All emails of a tenant."""
    return [
        Handover(row["accepted_at"], row["taken_at"], row["was_in_doubt"])
        for row in platform.fetch(_HANDOVERS, tenant.id)
    ]


def accepted_between(
    handovers: Iterable[Handover], first_at: float, last_at: float
) -> list[Handover]:
    """Those that were acknowledged from one time to before another."""
    return [one for one in handovers if first_at <= one.accepted_at < last_at]


def waits_s(handovers: Iterable[Handover], *, since: float = 0.0) -> list[float]:
    """From the acknowledgement, or from a later time, until a provider took each email; infinite
    where none did."""
    return [
        math.inf if one.taken_at is None else one.taken_at - max(one.accepted_at, since)
        for one in handovers
    ]


def count_open_breakers(platform: Platform, account: str) -> int:
    """How many workers report that they send an account nothing but probes."""
    return platform.count(_NOT_CLOSED, account)
