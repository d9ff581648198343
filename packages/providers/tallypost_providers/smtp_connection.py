"""One SMTP session with what its peer offers, and the commands of a transaction on it."""

from collections.abc import Awaitable, Mapping, Sequence

from tallypost_core.clock import monotonic_s
from tallypost_providers.smtp_deadlines import Budget
from tallypost_providers.smtp_failures import HandoverStopped, Phase, Reply
from tallypost_providers.smtp_protocol import SMTPProtocol

# What nobody's fate depends on is not waited for any longer: the goodbye, and the replies that
# are still to come after a transaction has failed.
_COURTESY_LIMIT_S = 1.0


class SMTPConnection:
    """A session that is open, greeted and, where the settings say so, encrypted and logged in."""

    def __init__(self, wire: SMTPProtocol, greeting: str, offers: Mapping[str, str]) -> None:
        """offers maps the keywords of EHLO, in capitals, to their parameters."""
        self.wire = wire
        self.greeting = greeting
        self.opened_at_s = monotonic_s()
        self.idle_since_s = self.opened_at_s
        self.is_reused = False
        self.takes_pipelining = "PIPELINING" in offers
        self.takes_8bit = "8BITMIME" in offers
        self.takes_utf8 = "SMTPUTF8" in offers
        self.takes_size = "SIZE" in offers
        self.size_limit_bytes = _size_limit(offers.get("SIZE", ""))

    @property
    def is_reusable(self) -> bool:
        """True where the peer has answered everything and its end is not known to be closed."""
        return self.wire.is_idle

    async def quit(self) -> None:
        """Take leave as RFC 5321, section 4.1.1.10 asks, then hang up; never raises, never waits
        long."""
        try:
            if self.wire.is_idle:
                self.wire.send("final", b"QUIT\r\n", 1)
                await self.wire.reply("final", Budget(_COURTESY_LIMIT_S))
        except HandoverStopped:
            # The work is done; a peer that does not say goodbye changes nothing.
            pass
        finally:
            self.abort()

    def abort(self) -> None:
        """Hang up at once, dropping what is still to be written."""
        self.wire.abort()


class Commands:
    """The commands of one transaction: all in one write where the peer takes it, else in turn.

    With PIPELINING (RFC 2920) a message costs two round trips, whatever its recipients: one for
    its commands, DATA the last of them, and one for its content.
    """

    def __init__(self, connection: SMTPConnection, budget: Budget, lines: Sequence[bytes]) -> None:
        """lines end with CRLF. Raises HandoverStopped where the connection is gone."""
        self._wire = connection.wire
        self._budget = budget
        self._lines = lines
        self._read = 0
        self._is_pipelined = connection.takes_pipelining
        if self._is_pipelined:
            self._wire.send("mail", b"".join(lines), len(lines))

    def reply(self, phase: Phase, limit_s: float | None = None) -> Awaitable[Reply]:
        """The reply to the next command; raises HandoverStopped as `SMTPProtocol.reply` does."""
        if not self._is_pipelined:
            self._wire.send(phase, self._lines[self._read], 1)
        self._read += 1
        return self._wire.reply(phase, self._budget, limit_s)

    async def forgo_rest(self) -> None:
        """Bring the session back into step after the transaction has failed; never raises.

        Commands that were not sent stay unsent, replies to the others are read. A peer that says
        354 although it took nobody gets the empty message that it then waits for (RFC 2920,
        section 3.1); one that did take somebody would deliver that, so it is hung up on.
        """
        if not self._is_pipelined:
            return
        courtesy = Budget(min(_COURTESY_LIMIT_S, self._budget.left_s("final")))
        replies: list[Reply] = []
        try:
            while self._read < len(self._lines):
                self._read += 1
                replies.append(await self._wire.reply("final", courtesy))
            is_anybody_taken = any(reply.is_positive for reply in replies)
            if replies and replies[-1].code == 354 and not is_anybody_taken:
                self._wire.send("final", b".\r\n", 1)
                await self._wire.reply("final", courtesy)
        except HandoverStopped:
            # What became of the recipients is known. The connection is not reusable.
            pass


def _size_limit(parameter: str) -> int | None:
    """RFC 1870, section 4: no number and 0 both mean that no limit is known."""
    digits = parameter.strip()
    is_number = digits.isascii() and digits.isdecimal() and len(digits) <= 20
    return int(digits) or None if is_number else None
