"""What an adapter promises, and the small things that all adapters need.

The Protocol is `types.Provider`; its contract suite is `tests/contract/providers`. A class that
passes the suite and stands under the entry point group `tallypost.providers` is a provider.

1. **One entry per recipient.** `send` returns exactly one RecipientResult for each recipient of
   `email.recipients`, in that order, whatever happened.
2. **Every answer and every silence is an Outcome.** `send` raises for nothing that a peer or a
   network does. It raises EmailNotBuildable for an email that can never become a message, and
   ProviderBusy where no connection becomes free in time or it is closed, each before any contact;
   a programming error may raise anything.
3. **The class says what is known, not what is likely.** ACCEPTED, REJECTED, DEFERRED, THROTTLED,
   SUSPENDED and UNAVAILABLE each rest on a statement by the peer, or on the fact that no byte
   of the body had left. Once one byte has left and no statement came, it is AMBIGUOUS.
4. **The mapping is a table** (for SMTP `smtp_failures.FAILURES`), each row with its source, each
   row tested.
5. **Time is bounded.** `send` returns within timeout_s, waiting for a connection included. It
   does not wait so long that too little time is left for the dialogue, nor begin the body when
   too little is left to hear the answer.
6. **A repeat is the same bytes.** With raw_mime the message is `message.render(email)`, a pure
   function of the email, so that a duplicate can be recognised by its Message-ID.
7. **Nothing is shared but connections.** Calls may run at the same time; one that fails or is
   cancelled never leaves a connection in an unknown state for the next.
8. **Settings are judged once.** The class states them in `settings`, a frozen Struct whose fields
   have a `Meta` with a description; its constructor takes `(settings, account)`. It raises
   ProviderMisconfigured that names the variable; it does no network I/O. `close` gives back every
   connection and may run twice. A handover that is under way finishes first, with the outcome
   that it would have had; further emails are handed over as before or refused with ProviderBusy.
9. **No secrets, no bodies.** `detail` and `evidence` hold the peer's words, clipped; they may
   name an address, so they go to the tenant's timeline and never to a log.
10. **Whoever says `lookup` can be asked.** An account with this capability has `look_up`
   (`look_ups.LooksUp`): what it finds was taken, and what it does not find may have been.
11. **An account may have a check.** `async def check(timeout_s)` tells step by step
   (`account_checks.CheckStep`) whether it would send, and sends nothing. Like `send` it raises
   for nothing that a peer does, is bounded by its time, and shows no secret. Nobody has to have it.
12. **An account may have to know domains.** `async def ensure_domain(domain)` makes a sending
   domain (`provider_domains.ProviderDomain`) known to the provider and tells where it stands. It is
   asked about one domain again and again, so to repeat it changes nothing. It raises
   DomainNotChecked, whose words are shown, where the provider does not say, and ProviderBusy as
   `send` does. While it says that the domain may not send, the account gets no mail from there.
13. **An account may spare receivers.** `connections_per_domain`, None or a whole number above 0, is
   how many handovers to one recipient domain a worker process lets go on at a time.
"""

import re
from collections.abc import Mapping

from tallypost_providers.types import Outcome, OutgoingEmail, RecipientResult, SendResult

DETAIL_MAX_CHARS = 500

# C0, DEL, C1 and the two Unicode line breaks; lone surrogates come from bytes that were not UTF-8
# and can be stored nowhere.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_SURROGATES = re.compile("[\ud800-\udfff]")


def clip(text: str) -> str:
    """A peer's words made safe to store and show: one line, at most DETAIL_MAX_CHARS long."""
    if text.isascii() and text.isprintable():
        return text.strip()[:DETAIL_MAX_CHARS]
    printable = _SURROGATES.sub("\ufffd", _CONTROLS.sub(" ", text))
    return printable.strip()[:DETAIL_MAX_CHARS]


def same_for_all(
    email: OutgoingEmail,
    outcome: Outcome,
    *,
    phase: str,
    reply_code: int | None = None,
    enhanced_code: str | None = None,
    detail: str = "",
    evidence: Mapping[str, str] | None = None,
) -> SendResult:
    """A result that is the same for every recipient; detail is clipped."""
    clipped = clip(detail)
    return SendResult(
        recipients=tuple(
            RecipientResult(
                recipient_id=recipient.recipient_id,
                outcome=outcome,
                reply_code=reply_code,
                enhanced_code=enhanced_code,
                detail=clipped,
            )
            for recipient in email.recipients
        ),
        phase=phase,
        evidence=evidence or {},
    )
