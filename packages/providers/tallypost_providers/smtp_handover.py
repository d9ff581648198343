"""One email's dialogue with an SMTP peer."""

from collections.abc import Sequence

from tallypost_providers.errors import EmailNotBuildable
from tallypost_providers.smtp_answers import Answers, is_path
from tallypost_providers.smtp_connection import Commands, SMTPConnection
from tallypost_providers.smtp_deadlines import Budget
from tallypost_providers.smtp_failures import HandoverStopped, Silence
from tallypost_providers.types import OutgoingEmail, SendResult

# A kept connection that a firewall forgot stays silent; a fresh one then takes its place.
_RESET_LIMIT_S = 3.0


class SMTPHandover:
    """One email on its way; `run` once per connection, then `result`.

    Recipients whose address no envelope can hold are refused here and never named to the peer.
    """

    def __init__(self, email: OutgoingEmail, budget: Budget) -> None:
        """Raises EmailNotBuildable where the envelope sender, which is ours, is unusable."""
        sender = email.envelope_sender
        if sender and not (sender.isascii() and is_path(sender)):
            raise EmailNotBuildable("The envelope sender is unusable.", field="envelope_sender")
        self.budget = budget
        self._sender = sender
        self._addresses = [recipient.address for recipient in email.recipients]
        self._are_all_ascii = all(address.isascii() for address in self._addresses)
        self._answers = Answers(email)

    @property
    def is_over(self) -> bool:
        """True where something is known about every recipient."""
        return self._answers.is_complete

    async def run(self, connection: SMTPConnection, message: bytes) -> None:
        """Go through the whole dialogue; the connection is left in step if it can be.

        message has CRLF line ends and is the same on each connection. Answers of an earlier run on
        another connection that broke before the body are kept only where they refused a
        recipient.
        Raises HandoverStopped.
        """
        self._answers.evidence = {
            "greeting": connection.greeting,
            "connection": "kept" if connection.is_reused else "new",
        }
        if not self._are_all_ascii and not connection.takes_utf8:
            self._refuse_what_needs_utf8()
        places = self._answers.list_open()
        self.budget.require_time("mail")
        if not places or not await self._announce(connection, message, places):
            self._answers.phase = "rcpt"
            return
        # Before the first byte: nothing may be begun whose end cannot be waited for.
        self.budget.require_time("data")
        content = as_data(message)
        self._answers.settle("final", await connection.wire.send_body(content, self.budget))

    def stop(self, stop: HandoverStopped) -> None:
        """Settle everybody who has no answer by where and why the dialogue ended."""
        self._answers.settle(stop.phase, stop.signal, stop.note)

    def result(self) -> SendResult:
        """One entry for each recipient, in the email's order; it must be over."""
        return self._answers.result()

    def _refuse_what_needs_utf8(self) -> None:
        places = [
            place for place in self._answers.list_open() if not self._addresses[place].isascii()
        ]
        note = "The address needs SMTPUTF8, which the peer does not offer."
        self._answers.record(places, "rcpt", Silence.MISSING, note)

    async def _announce(
        self, connection: SMTPConnection, message: bytes, places: Sequence[int]
    ) -> bool:
        """All that comes before the body; False where the peer took no recipient."""
        lines = self._lines(connection, message, places)
        commands = Commands(connection, self.budget, lines)
        try:
            if await self._go_to_data(commands, places, is_reused=connection.is_reused):
                return True
        except HandoverStopped as stop:
            if stop.is_broken:
                connection.abort()
            else:
                await commands.forgo_rest()
            raise
        await commands.forgo_rest()
        return False

    def _lines(
        self, connection: SMTPConnection, message: bytes, places: Sequence[int]
    ) -> list[bytes]:
        """The commands; raises HandoverStopped for a message that the peer cannot take."""
        size_bytes = len(message)
        limit_bytes = connection.size_limit_bytes
        if limit_bytes is not None and size_bytes > limit_bytes:
            note = f"The message has {size_bytes} bytes, the peer takes {limit_bytes}."
            raise HandoverStopped("mail", Silence.TOO_LARGE, note)
        mail = f"MAIL FROM:<{self._sender}>"
        if connection.takes_size:
            mail += f" SIZE={size_bytes}"
        if not message.isascii():
            if not connection.takes_8bit:
                note = "The message needs 8BITMIME, which the peer does not offer."
                raise HandoverStopped("mail", Silence.MISSING, note)
            mail += " BODY=8BITMIME"
        paths = [self._addresses[place] for place in places]
        if not self._are_all_ascii and not all(path.isascii() for path in paths):
            mail += " SMTPUTF8"
        # RFC 5321, section 4.1.1.5: whatever became of the last transaction, a new one can begin.
        # It also asks a kept connection whether it is still alive. With pipelining it leaves in
        # one write with the others (RFC 2920, section 3.1) and costs no round trip.
        lines = [b"RSET\r\n"] if connection.is_reused else []
        lines.append(f"{mail}\r\n".encode("ascii"))
        lines += [f"RCPT TO:<{path}>\r\n".encode() for path in paths]
        lines.append(b"DATA\r\n")
        return lines

    async def _go_to_data(
        self, commands: Commands, places: Sequence[int], *, is_reused: bool
    ) -> bool:
        if is_reused and not (await commands.reply("mail", _RESET_LIMIT_S)).is_positive:
            raise HandoverStopped("mail", Silence.GARBAGE, "the peer refused RSET")
        reply = await commands.reply("mail")
        if not reply.is_positive:
            raise HandoverStopped("mail", reply)
        accepted = 0
        for place in places:
            reply = await commands.reply("rcpt")
            if reply.is_positive:
                accepted += 1
            elif reply.code < 400:
                raise HandoverStopped("rcpt", reply)
            else:
                self._answers.record([place], "rcpt", reply)
        if not accepted:
            return False
        reply = await commands.reply("data")
        if reply.code != 354:
            raise HandoverStopped("data", reply)
        return True


def as_data(message: bytes) -> bytes:
    """The message as it follows a 354: a line that starts with a dot gets another one
    (RFC 5321, section 4.5.2), and a dot on a line of its own ends it."""
    # Few messages have such a line, and CPython searches backwards in half the time that it takes
    # to search or replace forwards (4.7 against 10 µs for 14.6 kB).
    if message.rfind(b"\r\n.") >= 0:
        message = message.replace(b"\r\n.", b"\r\n..")
    if message.startswith(b"."):
        message = b"." + message
    # Without it the dot would stand at the end of a line, and the peer would wait for more.
    is_last_line_ended = message.endswith(b"\r\n") or not message
    return message + (b".\r\n" if is_last_line_ended else b"\r\n.\r\n")
