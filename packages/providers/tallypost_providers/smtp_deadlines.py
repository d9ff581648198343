"""How long each phase of a handover may take."""

from tallypost_core.clock import monotonic_s
from tallypost_providers.smtp_failures import HandoverStopped, Phase, Silence

# The longest that a peer may take for one reply before the body. RFC 5321, section 4.5.3.2 allows
# minutes because a relay has days; here the email goes back to its queue. Less than two thirds of
# the usual handover, so that one slow phase is told from a peer that is slow in all of them.
PHASE_LIMIT_S = 10.0


class Budget:
    """The time of one handover, shared out so that nothing is begun that cannot be ended.

    Waiting for a place in the pool may take the first third, so that whoever gets one has time
    for the dialogue. What the wait leaves of two thirds is for all that comes before the body.
    Once the body is out, running out of time is ambiguous, so it starts only if the last third
    is left for the final reply.
    """

    def __init__(self, timeout_s: float) -> None:
        started_s = monotonic_s()
        self._place_by_s = started_s + timeout_s / 3
        self._body_starts_by_s = started_s + timeout_s * 2 / 3
        self._ends_by_s = started_s + timeout_s

    def left_for_place_s(self) -> float:
        """Seconds that waiting for a place may still take; 0 where none are left."""
        return max(0.0, self._place_by_s - monotonic_s())

    def deadline_s(self, phase: Phase, limit_s: float | None = None) -> float:
        """When what is now begun in this phase must be over, on the monotonic clock.

        limit_s takes the place of PHASE_LIMIT_S. The final phase has no limit but the end.
        """
        if phase == "final":
            return self._ends_by_s
        allowed_s = PHASE_LIMIT_S if limit_s is None else limit_s
        return min(monotonic_s() + allowed_s, self._body_starts_by_s)

    def require_time(self, phase: Phase) -> None:
        """Raise HandoverStopped where no time is left for anything that comes before the reply
        to the body."""
        if monotonic_s() >= self._body_starts_by_s:
            note = "the time for this handover was used up"
            raise HandoverStopped(phase, Silence.TIMEOUT, note)

    def left_s(self, phase: Phase, limit_s: float | None = None) -> float:
        """Seconds until `deadline_s`; 0 where none are left."""
        return max(0.0, self.deadline_s(phase, limit_s) - monotonic_s())
