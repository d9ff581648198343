"""Measures how much is due and for how long it has waited; what scaling follows."""

from msgspec import Struct

from tallypost_domain.db.errors import translated
from tallypost_domain.db.pools import Pool
from tallypost_domain.emails.types import Lane


class LaneDepth(Struct, frozen=True):
    """What is due in one lane now."""

    due_count: int
    oldest_due_age_s: float


async def measure_depth(pool: Pool) -> dict[Lane, LaneDepth]:
    """Depth of each lane that has something due; it counts up to 100,000."""
    with translated():
        rows = await pool.fetch("SELECT * FROM measure_queue()")
    return {Lane(row["lane"]): LaneDepth(row["due_count"], row["oldest_due_age_s"]) for row in rows}
