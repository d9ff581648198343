"""What workers did lately, second by second: written beside deliveries, summed for a page.

A sample may be lost. What has to be true to the last email is in attempts and in the ledger.
"""

import bisect
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final
from uuid import UUID

from msgspec import Struct

from tallypost_domain.db.errors import translated
from tallypost_domain.db.pools import Pool
from tallypost_providers.types import Outcome

AGE_BOUNDS_S: Final = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0),
)
"""Upper bounds of all classes of age but the last, which is open. Stored samples are counts by
these: a change of them needs a new column."""

_OUTCOMES = tuple(Outcome)
_INSERT = f"""
    INSERT INTO delivery_samples (worker_id, provider, ages, {", ".join(_OUTCOMES)})
    VALUES ($1, $2, $3, {", ".join(f"${n}" for n, _ in enumerate(_OUTCOMES, start=4))})
"""  # noqa: S608 - words of ours

DELETE_OLD = """
    WITH old AS (
        SELECT s.ctid FROM delivery_samples s
        WHERE s.at < now() - interval '1 hour'
        ORDER BY s.at LIMIT $1
    ), deleted AS (
        DELETE FROM delivery_samples s USING old WHERE s.ctid = old.ctid RETURNING 1
    )
    SELECT count(*) FROM deleted
"""
"""Forgets samples after an hour, a bounded number at a time; returns how many."""


class Sample(Struct):
    """What was handed to one provider."""

    outcomes: Counter[Outcome]
    """Of recipients."""
    ages: list[int]
    """Emails by their age at the answer to their first handover, one number for each class."""

    @classmethod
    def empty(cls) -> "Sample":
        """Nothing so far."""
        return cls(Counter(), [0] * (len(AGE_BOUNDS_S) + 1))

    def add_age(self, age_s: float) -> None:
        """Count one email of this age."""
        self.ages[bisect.bisect_left(AGE_BOUNDS_S, age_s)] += 1


async def write_samples(pool: Pool, worker_id: UUID, samples: Iterable[tuple[str, Sample]]) -> None:
    """Write what a worker gathered, by provider; pool logs in as tp_worker.

    Raises DatabaseUnavailable.
    """
    rows = [
        (worker_id, provider, sample.ages, *(sample.outcomes[outcome] for outcome in _OUTCOMES))
        for provider, sample in samples
    ]
    with translated():
        await pool.executemany(_INSERT, rows)


def percentile_s(ages: Sequence[int], share: float) -> float | None:
    """The age that this share of the emails did not exceed, about; None without emails.

    Within a class ages are taken as spread evenly. In the open class it is the class's beginning.
    """
    total = sum(ages)
    if not total:
        return None
    wanted = share * total
    below = [0, *accumulate(ages)]
    position = bisect.bisect_left(below, wanted) - 1
    if position >= len(AGE_BOUNDS_S):
        return AGE_BOUNDS_S[-1]
    start_s = AGE_BOUNDS_S[position - 1] if position else 0.0
    within = (wanted - below[position]) / ages[position]
    return start_s + within * (AGE_BOUNDS_S[position] - start_s)
