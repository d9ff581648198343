"""What a trace shows of an email's way through a worker: claimed, in turn, handed over, recorded.

Without a trace of the email nothing here does anything.
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple
from uuid import UUID

from tallypost_domain.queue.claims import FIRST_FENCE_AGAIN
from tallypost_domain.queue.loading import LoadedEmail
from tallypost_domain.queue.types import Claim, worst_outcome
from tallypost_providers.types import Outcome, Provider, SendResult
from tallypost_telemetry import conventions as names
from tallypost_telemetry import message_spans, tracing

# The code of a provider that breaks the contract could be any text.
_ENHANCED_CODE = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")


class Peer(NamedTuple):
    """Whom a provider account speaks to."""

    protocol: str
    address: str
    port: int


class WaitingSpans:
    """The spans of deliveries that wait for the recorder, by what each has given it."""

    def __init__(self) -> None:
        self._contexts: dict[tuple[UUID, int], str] = {}

    def note(self, claim: Claim) -> None:
        """The caller's span waits for what becomes of this claim."""
        context = tracing.current_span().context
        if context is not None:
            self._contexts[(claim.email_id, claim.fence)] = context.stored()

    def of(self, claims: Iterable[Claim]) -> Sequence[str]:
        """The spans, as they are stored, that wait for these claims."""
        if not self._contexts:
            return ()
        keys = dict.fromkeys((claim.email_id, claim.fence) for claim in claims)
        return [self._contexts[key] for key in keys if key in self._contexts]

    def forget(self, claims: Iterable[Claim]) -> None:
        """They do not wait any more."""
        for claim in claims:
            self._contexts.pop((claim.email_id, claim.fence), None)


def receiving(emails: Sequence[LoadedEmail], started_s: float) -> None:
    """Note one claim that is over and loaded; started_s is of `clock.monotonic_s`."""
    if not tracing.is_on():
        return
    traced = [email for email in emails if email.trace_context is not None]
    message_spans.receiving(
        [email.trace_context for email in traced if email.trace_context is not None],
        len(emails),
        is_first=all(_is_first(email.claim) for email in traced),
        started_s=started_s,
    )


def processing(email: LoadedEmail) -> tracing.Span:
    """Around one email's turn."""
    if email.trace_context is None:
        return tracing.NO_SPAN
    claim = email.claim
    return message_spans.processing(
        email.trace_context,
        claim.email_id,
        claim.tenant_id,
        lane=claim.lane,
        attempt=claim.attempt + 1,
        is_first=_is_first(claim),
    )


def handing_over(provider: Provider, peer: Peer | None) -> tracing.Span:
    """Around one handover, within an email's turn."""
    if not tracing.current_span():
        return tracing.NO_SPAN
    span = tracing.child(
        f"hand over {provider.name}",
        tracing.Kind.CLIENT,
        {names.PROVIDER: provider.name, names.ACCOUNT: provider.account},
    )
    if peer is not None:
        span.note(
            {
                names.NETWORK_PROTOCOL_NAME: peer.protocol,
                names.SERVER_ADDRESS: peer.address,
                names.SERVER_PORT: peer.port,
            }
        )
    return span


def note_result(span: tracing.Span, result: SendResult) -> None:
    """Note what the provider said, without its words: those may quote an address."""
    if not span:
        return
    outcome = worst_outcome(result)
    shown = next(recipient for recipient in result.recipients if recipient.outcome is outcome)
    span.note({names.OUTCOME: outcome.value, names.RECIPIENTS: len(result.recipients)})
    if shown.reply_code is not None:
        span.note({names.SMTP_REPLY_CODE: shown.reply_code})
    if shown.enhanced_code is not None and _ENHANCED_CODE.fullmatch(shown.enhanced_code):
        span.note({names.SMTP_ENHANCED_CODE: shown.enhanced_code})
    if outcome is not Outcome.ACCEPTED:
        span.fail(outcome.value)


def _is_first(claim: Claim) -> bool:
    """Whether nothing was tried before; who is sent again begins to count anew."""
    return claim.attempt == 0 and claim.fence < FIRST_FENCE_AGAIN
