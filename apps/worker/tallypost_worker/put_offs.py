"""How long an email waits that could not be handed over for a reason that is not its own.

It may stay so for days, and for all mail of a tenant: an account that is off, a route that leads
nowhere. So an email that is put off again and again comes back ever more rarely, and not together
with the others.
"""

import random
from typing import Final

from tallypost_core.clock import utc_now
from tallypost_core.ids import time_of
from tallypost_domain.queue.claims import FIRST_FENCE_RELEASED
from tallypost_domain.queue.types import Claim

LONGEST_S: Final = 300.0
"""Nothing wakes such an email: a person who has switched its account on waits for it so long."""

# A wait is about half of all before it, so that an email waits at most half as long again as
# whatever stands in its way lasts. Those of the first seconds are alike: often it is merely busy
# there, and who is put off makes room for others. Waits are counted by claims, of which those that
# moved an email on to another account are some too: so none is longer than half the email's age.
# The age alone would not do: mail that was scheduled, or is retried, is old from the beginning.
_GROWTH: Final = 1.5
_ALIKE_S: Final = 10.0
_MOST_STEPS: Final = 20


def next_wait_s(claim: Claim, wait_s: float, spread_s: float) -> float:
    """Seconds until an email is due again, at most LONGEST_S.

    wait_s is how long what stands in its way is known to last; spread_s is how much longer a first
    wait may be.
    """
    # Each claim has raised the fence by one since the row was made or let go on; those that led to
    # a handover are no put-offs.
    times = claim.fence % FIRST_FENCE_RELEASED - 1 - claim.attempt
    steps = min(max(times - int(_ALIKE_S / spread_s), 0), _MOST_STEPS)
    most_s = min(spread_s * _GROWTH**steps, max(spread_s, _age_s(claim) / 2))
    return random.uniform(  # noqa: S311 - nothing secret
        min(wait_s + (most_s - spread_s) / 2, LONGEST_S / 2), min(wait_s + most_s, LONGEST_S)
    )


def _age_s(claim: Claim) -> float:
    return (utc_now() - time_of(claim.email_id)).total_seconds()
