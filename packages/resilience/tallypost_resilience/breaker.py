"""Stops calling a peer that keeps failing, and finds out by single probes when it is well again.

Each process counts for itself: what it saw is enough to protect it, and no call waits for a
counter elsewhere. Only a probe needs leave from Redis, so that a peer that is just getting up
meets one call of the whole cluster, not one of each process.
"""

import asyncio
import secrets
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

import structlog
from redis.asyncio import Redis

from tallypost_core.clock import monotonic_s
from tallypost_core.errors import AppError, ErrorKind
from tallypost_resilience.circuit import (
    BreakerConfig,
    BreakerState,
    Circuit,
    Refusal,
    Ticket,
    Verdict,
)
from tallypost_resilience.probe_leases import ProbeLeases
from tallypost_resilience.redis_client import REDIS_TIMEOUT_S
from tallypost_telemetry import breaker_states, metrics

# How often a process asks again while another call is the probe.
_ASK_AGAIN_S: Final = 1.0

log = structlog.get_logger()


class BreakerOpen(AppError):
    """The other side has failed too often lately; it is not asked again before a while."""

    code = "breaker_open"
    kind = ErrorKind.UNAVAILABLE


def judge_error(error: BaseException) -> Verdict:
    """What an error says about the peer, where a breaker is not told otherwise.

    Outages and timeouts are failures. Any other AppError was an answer, so the peer is well. The
    rest, cancellation included, says nothing: a fault of ours must not cut a peer off.
    """
    if isinstance(error, AppError):
        return Verdict.FAILURE if error.kind is ErrorKind.UNAVAILABLE else Verdict.SUCCESS
    return Verdict.FAILURE if isinstance(error, OSError) else Verdict.NONE


class GuardedCall:
    """One call that a breaker let through."""

    def __init__(self) -> None:
        self.verdict = Verdict.SUCCESS

    def record_failure(self) -> None:
        """Count the call as failed, though it raises nothing."""
        self.verdict = Verdict.FAILURE

    def record_nothing(self) -> None:
        """The call has said nothing about the peer, though it raises nothing."""
        self.verdict = Verdict.NONE

    def record_down(self) -> None:
        """The peer said that it takes nothing from us; no further call is needed to open."""
        self.verdict = Verdict.DOWN


class Breaker:
    """Circuits by key: a provider's account, or a host. Keys are ids and may be logged."""

    def __init__(
        self,
        name: str,
        config: BreakerConfig,
        *,
        redis: Redis | None = None,
        redis_timeout_s: float = REDIS_TIMEOUT_S,
        judge: Callable[[BaseException], Verdict] = judge_error,
        max_keys: int = 10_000,
        clock: Callable[[], float] = monotonic_s,
    ) -> None:
        """name, a fixed word, is of the metric and the log; redis is of `redis_client.connect`.

        Without redis, and while it does not answer within redis_timeout_s, each process probes by
        itself. Beyond max_keys the circuit that was used least recently is forgotten, and is
        closed when it is used again.
        """
        if max_keys < 1:
            raise ValueError("max_keys must be at least 1")
        self.name = name
        self._config = config
        self._leases = None if redis is None else ProbeLeases(redis, name, redis_timeout_s)
        self._judge = judge
        self._max_keys = max_keys
        self._clock = clock
        # Least recently used first.
        self._circuits: OrderedDict[str, Circuit] = OrderedDict()
        breaker_states.watch(self)

    @asynccontextmanager
    async def guard(self, key: str) -> AsyncIterator[GuardedCall]:
        """Around one call to the peer: `async with breaker.guard(key):`.

        Raises BreakerOpen, with the time to wait, instead of entering. An error that leaves the
        block is judged; where a failure is no error, say so by `record_failure`. Put timeouts
        inside the block: one outside cancels it, and a cancelled call says nothing about a peer.
        """
        circuit = self._find_circuit(key)
        ticket, token = await self._admit(key, circuit)
        call = GuardedCall()
        try:
            yield call
        except BaseException as error:
            call.verdict = self._judge(error)
            raise
        finally:
            await self._record(key, circuit, ticket, token, call.verdict)

    def wait_s(self, key: str) -> float:
        """How long to wait before this process may let a call through; 0 where it would now."""
        circuit = self._circuits.get(key)
        return 0.0 if circuit is None else circuit.wait_s(self._clock(), busy_s=_ASK_AGAIN_S)

    def state(self, key: str) -> BreakerState:
        """The state of a key's circuit in this process."""
        circuit = self._circuits.get(key)
        return BreakerState.CLOSED if circuit is None else circuit.state(self._clock())

    def forget(self, key: str) -> None:
        """Begin anew with a peer: what was learned of another one that bore its key says nothing.

        Of this process. Calls that are under way count for nothing.
        """
        self._circuits.pop(key, None)

    def count_states(self) -> Mapping[str, int]:
        """How many of the remembered circuits are in each state in this process."""
        now_s = self._clock()
        counts = Counter({state.value: 0 for state in BreakerState})
        counts.update(circuit.state(now_s).value for circuit in self._circuits.values())
        return counts

    def __len__(self) -> int:
        """How many circuits are remembered."""
        return len(self._circuits)

    def _find_circuit(self, key: str) -> Circuit:
        circuit = self._circuits.get(key)
        if circuit is None:
            circuit = self._circuits[key] = Circuit(self._config)
            if len(self._circuits) > self._max_keys:
                self._circuits.popitem(last=False)
        else:
            self._circuits.move_to_end(key)
        return circuit

    async def _admit(self, key: str, circuit: Circuit) -> tuple[Ticket, str]:
        """A ticket, and for a probe the token of its lease; raises BreakerOpen."""
        ticket = circuit.ask(self._clock(), busy_s=_ASK_AGAIN_S)
        if isinstance(ticket, Refusal):
            raise BreakerOpen(retry_after_s=ticket.retry_after_s)
        if not ticket.is_probe:
            return ticket, ""
        token = secrets.token_hex(8)
        await self._require_lease(key, circuit, ticket, token)
        self._report(key, BreakerState.HALF_OPEN)
        return ticket, token

    async def _require_lease(self, key: str, circuit: Circuit, ticket: Ticket, token: str) -> None:
        if self._leases is None:
            return
        try:
            wait_s = await self._leases.take(key, token, self._config.probe_s)
        except BaseException:
            # Cancelled; Redis may have given the lease all the same.
            await self._record(key, circuit, ticket, token, Verdict.NONE)
            raise
        if wait_s > 0:
            wait_s = min(wait_s, _ASK_AGAIN_S)
            circuit.postpone(ticket, self._clock() + wait_s)
            raise BreakerOpen(retry_after_s=wait_s)

    async def _record(
        self, key: str, circuit: Circuit, ticket: Ticket, token: str, verdict: Verdict
    ) -> None:
        state = circuit.record(ticket, verdict, self._clock())
        if state is not None:
            self._report(key, state)
        if ticket.is_probe and self._leases is not None:
            # After a failure nobody else needs to find out the same before open_s has passed.
            keep_s = circuit.open_s if verdict in {Verdict.FAILURE, Verdict.DOWN} else 0.0
            # In a task of its own: inside one that is being cancelled a timeout ends in another
            # cancellation, up to Python 3.11.2, which is Debian 12's.
            await asyncio.create_task(self._leases.keep(key, token, keep_s))

    def _report(self, key: str, state: BreakerState) -> None:
        metrics.record_breaker_change(self.name, state.value)
        log.warning("breaker.changed", breaker=self.name, key=key, state=state.value)
