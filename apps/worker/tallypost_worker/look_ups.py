"""Asks providers whether they took the emails whose handover got no answer.

Whoever is found is settled by it. For the others the stream's policy counts once the provider's
records can be late no longer. Until then the email waits in its queue row, and no attempt is
counted, so that a worker may end at any point between two questions. A question that was not put
proves nothing: it is put off, however old the silence is, unless it never can be put.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from typing import Final
from uuid import UUID

import msgspec
import structlog
from msgspec import Struct

from tallypost_core import clock
from tallypost_domain.db.errors import DatabaseUnavailable
from tallypost_domain.emails.types import ASKED
from tallypost_domain.queue.loading import LoadedEmail, Silence
from tallypost_providers.base import clip
from tallypost_providers.errors import LookUpFailed, LookUpRefused, ProviderBusy
from tallypost_providers.look_ups import FoundMessage, LooksUp, address_key, find_look_up
from tallypost_providers.types import Outcome, Provider, SendResult
from tallypost_telemetry import metrics
from tallypost_worker.look_up_patience import Patience
from tallypost_worker.recorder import Recorder
from tallypost_worker.settlements import looked_up, put_off_look_up
from tallypost_worker.tenant_routes import AccountNotUsable, RouteBook

MOST_AT_ONCE: Final = 2
"""Look-ups of one account in a process: each holds a delivery's place while it lasts."""

MOST_IN_ALL: Final = 10
"""Of all accounts, so that the feeds of many tenants leave room for their mail."""

# Within what a worker that ends has for its deliveries.
_TIMEOUT_S: Final = 6.0
_LONGEST_PAUSE_S: Final = 600.0

_NOT_FOUND: Final = "not found when the provider was asked"
_NOT_TOLD: Final = "the provider was asked and did not tell in time"
_NOT_OPENED: Final = "the account that was silent could not be opened to be asked"
_NOT_THERE: Final = "the account that was silent cannot be asked any more"

log = structlog.get_logger()


class LookUpWaits(Struct, frozen=True, kw_only=True):
    """When a provider is asked about an email, in seconds."""

    first_s: float = 60.0
    """From the silence until the first look-up: the records are late by minutes."""
    again_s: float = 120.0
    """From one look-up of an email to the next."""
    window_s: float = 300.0
    """From the silence: whoever is not found later than this counts as not found."""
    patience_s: float = 3600.0
    """From the first look-up of an email that failed in a process: a provider that has still not
    told is not waited for any longer."""
    longest_s: float = 6 * 3600.0
    """From the silence: whoever is asked about in vain later than this is not waited for, whichever
    process asked before. A provider that says when it wants to be asked again is not meant."""
    pause_s: float = 30.0
    """During which an account is not asked that did not tell, and named no time itself."""
    spread_s: float = 30.0
    """Over which emails are spread that were put off together, and half their age if that is more,
    up to half the patience: those that wait in numbers are claimed and put off again less and
    less."""


class _Pause(Struct, frozen=True):
    """An account is not asked for a while."""

    until_s: float
    refusal: str | None
    """Why asking would be of no use, where that is known."""


class _Told(Struct, frozen=True, kw_only=True):
    """What became of one look-up."""

    found: tuple[FoundMessage, ...] | None = None
    """None where the provider did not tell."""
    was_asked: bool = True
    refusal: str | None = None
    has_named_time: bool = False
    """It did not tell, and said when it wants to be asked again."""
    duration_s: float = 0.0


class LookUps:
    """The look-ups of a worker process."""

    def __init__(
        self,
        worker_id: UUID,
        routes: RouteBook,
        recorder: Recorder,
        waits: LookUpWaits,
        *,
        clock_s: Callable[[], float] = clock.monotonic_s,
    ) -> None:
        self._worker_id = worker_id
        self._routes = routes
        self._recorder = recorder
        self._waits = waits
        self._clock_s = clock_s
        self._patience = Patience(waits.patience_s, clock_s)
        self._under_way: Counter[str] = Counter()
        self._pauses: dict[str, _Pause] = {}

    def first_wait_s(self, provider: Provider, result: SendResult) -> float | None:
        """The time from a handover to its look-up; None where there will be none."""
        is_silent = any(to.outcome is Outcome.AMBIGUOUS for to in result.recipients)
        return self._waits.first_s if is_silent and provider.capabilities.lookup else None

    async def settle(self, email: LoadedEmail) -> bool:
        """Look up the last handover of an email; True where that was its whole turn.

        False means that there is nothing to look up: it is sent, or not, as its stream says.
        """
        silence = email.silence
        if silence is None or email.hold_reason is not None:
            return False
        pause = self._find_pause(silence.account)
        if pause is not None and pause.refusal is not None:
            self._leave_to_policy(email, silence, pause.refusal, was_asked=False)
        elif pause is not None:
            self._put_off(email, silence, pause.until_s - self._clock_s())
        elif self._has_no_place(silence.account):
            self._put_off(email, silence, 0.0)
        else:
            place = Counter((silence.account,))
            self._under_way += place
            try:
                await self._look_up(email, silence)
            finally:
                # This drops what has come down to nothing.
                self._under_way -= place
        return True

    def _has_no_place(self, account: str) -> bool:
        in_all = self._under_way.total()
        return self._under_way[account] >= MOST_AT_ONCE or in_all >= MOST_IN_ALL

    async def _look_up(self, email: LoadedEmail, silence: Silence) -> None:
        tenant_id, email_id = email.claim.tenant_id, email.claim.email_id
        try:
            # The platform's accounts and this tenant's own: no other's can be named.
            async with self._routes.opened(tenant_id, silence.account) as provider:
                account = None if provider is None else find_look_up(provider)
                if account is None:
                    self._leave_to_policy(email, silence, _NOT_THERE, was_asked=False)
                    return
                told = await self._ask(account, silence, email_id)
        except DatabaseUnavailable:
            self._put_off(email, silence, 0.0)
        except AccountNotUsable:
            if self._patience.is_over(email.claim.email_id, silence.age_s):
                self._leave_to_policy(email, silence, _NOT_OPENED, was_asked=False)
            else:
                self._put_off(email, silence, self._waits.pause_s)
        else:
            self._conclude(email, silence, told)

    async def _ask(self, account: LooksUp, silence: Silence, email_id: UUID) -> _Told:
        started_s = self._clock_s()
        found, was_asked, refusal, pause_s, has_named_time = None, True, None, None, False
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                found = _read(await account.look_up(email_id))
        except ProviderBusy:
            was_asked = False
        except LookUpFailed as error:
            pause_s = error.retry_after_s or self._waits.pause_s
            has_named_time = error.retry_after_s is not None
            if isinstance(error, LookUpRefused):
                refusal = clip(error.message)
            log.warning("look_up.failed", provider=silence.provider, error=error.code)
        except TimeoutError:
            pause_s = self._waits.pause_s
            log.warning("look_up.failed", provider=silence.provider, error="timeout")
        except Exception:
            # The edge to code that may be a plugin's. Nothing was sent, and nothing is known.
            pause_s = self._waits.pause_s
            log.exception("look_up.crashed", provider=silence.provider)
        if pause_s is not None:
            self._pause(silence.account, pause_s, refusal)
        return _Told(
            found=found,
            was_asked=was_asked,
            refusal=refusal,
            has_named_time=has_named_time,
            duration_s=self._clock_s() - started_s,
        )

    def _conclude(self, email: LoadedEmail, silence: Silence, told: _Told) -> None:
        if not told.was_asked:
            self._put_off(email, silence, 0.0)
            return
        if told.found is None:
            metrics.record_look_up(silence.provider, "failed")
            if told.refusal is not None:
                self._leave_to_policy(email, silence, told.refusal, was_asked=True)
            elif self._is_out_of_patience(email, silence, told):
                self._leave_to_policy(email, silence, _NOT_TOLD, was_asked=True)
            else:
                pause = self._find_pause(silence.account)
                self._put_off(email, silence, pause.until_s - self._clock_s() if pause else 0.0)
            return
        self._patience.forget(email.claim.email_id)
        messages = {address_key(message.address): message for message in told.found}
        found = {
            id_: messages[key]
            for id_, address in silence.recipients.items()
            if (key := address_key(address)) in messages
        }
        metrics.record_look_up(silence.provider, "found" if found else "missing")
        look_up_in_s = self._next_wait_s(silence) if len(found) < len(silence.recipients) else None
        if not found and look_up_in_s is not None:
            self._recorder.record(put_off_look_up(email, self._worker_id, look_up_in_s))
            return
        statuses = sorted({message.status for message in found.values()})
        self._recorder.record(
            looked_up(
                email,
                self._worker_id,
                silence,
                found,
                missing=_NOT_FOUND,
                evidence={
                    "asked about": str(len(silence.recipients)),
                    "found": str(len(found)),
                    **({"status": ", ".join(statuses)} if statuses else {}),
                },
                duration_s=told.duration_s,
                look_up_in_s=look_up_in_s,
            )
        )

    def _next_wait_s(self, silence: Silence) -> float | None:
        """Until an email is looked up again; None where its records are late no longer."""
        left_s = self._waits.window_s - silence.age_s
        return min(self._waits.again_s, left_s) if left_s > 0 else None

    def _is_out_of_patience(self, email: LoadedEmail, silence: Silence, told: _Told) -> bool:
        is_too_old = silence.age_s >= self._waits.longest_s and not told.has_named_time
        return self._patience.is_over(email.claim.email_id, silence.age_s) or is_too_old

    def _put_off(self, email: LoadedEmail, silence: Silence, wait_s: float) -> None:
        most_s = max(self._waits.spread_s, min(silence.age_s, self._waits.patience_s) / 2)
        spread_s = random.uniform(0, most_s)  # noqa: S311 - nothing secret
        self._recorder.record(put_off_look_up(email, self._worker_id, max(wait_s, 0.0) + spread_s))

    def _leave_to_policy(
        self, email: LoadedEmail, silence: Silence, why: str, *, was_asked: bool
    ) -> None:
        self._patience.forget(email.claim.email_id)
        self._recorder.record(
            looked_up(
                email,
                self._worker_id,
                silence,
                {},
                missing=why,
                evidence={} if was_asked else {ASKED: "no"},
                duration_s=0.0,
                look_up_in_s=None,
            )
        )

    def _pause(self, account: str, wait_s: float, refusal: str | None) -> None:
        now_s = self._clock_s()
        # Those that are over are of accounts that nobody has asked since.
        self._pauses = {name: each for name, each in self._pauses.items() if each.until_s > now_s}
        self._pauses[account] = _Pause(now_s + min(wait_s, _LONGEST_PAUSE_S), refusal)

    def _find_pause(self, account: str) -> _Pause | None:
        pause = self._pauses.get(account)
        return pause if pause is not None and pause.until_s > self._clock_s() else None


def _read(answer: object) -> tuple[FoundMessage, ...]:
    """An answer in a form that can be stored, whatever a plugin put into it; raises ValueError, or
    TypeError for a value that is no data, where it breaks the contract."""
    checked = msgspec.convert(msgspec.to_builtins(answer), tuple[FoundMessage, ...])
    return tuple(
        FoundMessage(message.address, clip(message.provider_message_id), clip(message.status))
        for message in checked
    )
