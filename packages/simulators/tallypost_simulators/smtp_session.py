"""The dialogue of the SMTP sink with one client."""

import asyncio
import logging
import re
from collections.abc import Callable

from tallypost_core.clock import utc_now
from tallypost_simulators.keeping import MessageRefused, OutcomeUnknown
from tallypost_simulators.smtp_connection import Connection
from tallypost_simulators.smtp_faults import Fault
from tallypost_simulators.smtp_reception import OnMessage, ReceivedMessage, Reception

_log = logging.getLogger(__name__)

_LINE_MAX_BYTES = 4096
_MAIL = re.compile(r"FROM:\s*<([^>]*)>(.*)", re.IGNORECASE)
_RCPT = re.compile(r"TO:\s*<([^>]+)>.*", re.IGNORECASE)
_SIZE = re.compile(r"\bSIZE=(\d{1,12})\b", re.IGNORECASE)


class SMTPSession(Connection):
    """One connection. Commands are taken one after the other, however they were pipelined.

    While a reply is late, input waits in the buffer; replies to commands that came together
    leave together.
    """

    def __init__(self, reception: Reception, sessions: set[Connection]) -> None:
        """sessions holds every session that still does something; this one keeps itself there."""
        super().__init__(reception.faults, sessions)
        self._reception = reception
        self._buffer = bytearray()
        self._searched = 0
        self._is_in_body = False
        self._body_has_begun = False
        self._sender: str | None = None
        self._recipients: list[str] = []
        self._commands: dict[str, Callable[[str], None]] = {
            "EHLO": self._ehlo,
            "HELO": self._helo,
            "MAIL": self._mail,
            "RCPT": self._rcpt,
            "DATA": self._data,
            "RSET": self._rset,
            "NOOP": self._noop,
            "QUIT": self._quit,
        }

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if not self._fails("connect"):
            self._say("220 localhost ESMTP")
        self._flush()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._advance()

    def _advance(self) -> None:
        while self._transport is not None and not (self._is_waiting or self._is_closing):
            if not (self._take_body() if self._is_in_body else self._take_line()):
                break
        self._flush()

    def _take_line(self) -> bool:
        end = self._buffer.find(b"\r\n")
        if not 0 <= end <= _LINE_MAX_BYTES:
            if len(self._buffer) > _LINE_MAX_BYTES:
                self._say("421 4.5.2 line too long")
            return False
        line = self._buffer[:end].decode("utf-8", "replace")
        del self._buffer[: end + 2]
        verb, _, rest = line.partition(" ")
        command = self._commands.get(verb.upper())
        if command is None:
            self._say("502 5.5.1 not implemented")
        else:
            command(rest.strip())
        return True

    def _take_body(self) -> bool:
        if self._buffer and not self._body_has_begun:
            self._body_has_begun = True
            if self._fails("body"):
                self._is_closing = True
                return False
            if self._is_hanging:
                self._go_on_late()
                return False
        if self._buffer.startswith(b".\r\n"):
            end, next_command = 0, 3
        else:
            found = self._buffer.find(b"\r\n.\r\n", max(0, self._searched - 4))
            if found < 0:
                self._searched = len(self._buffer)
                if self._searched > self._reception.max_size_bytes:
                    self._say("552 5.3.4 message too big")
                    self._is_closing = True
                return False
            end, next_command = found + 2, found + 5
        body = bytes(self._buffer[:end])
        del self._buffer[:next_command]
        self._is_in_body = False
        self._finish(_unstuffed(body))
        return True

    def _finish(self, body: bytes) -> None:
        message = ReceivedMessage(self._sender or "", tuple(self._recipients), body, utc_now())
        self._forget()
        fault = None if self._faults.is_quiet else self._faults.take("final", message.email_id)
        released = self._faults.replaced
        if fault is not None and fault.action == "reply":
            self._say(fault.reply)
        elif self._reception.on_message is None:
            self._reception.note(message)
            self._acknowledge(fault, released)
        else:
            self._is_waiting = True
            self._start(self._hand_on(self._reception.on_message, message, fault, released))

    async def _hand_on(
        self,
        on_message: OnMessage,
        message: ReceivedMessage,
        fault: Fault | None,
        released: asyncio.Event,
    ) -> None:
        try:
            await on_message(message)
        except OutcomeUnknown:
            _log.warning("smtp_sink.outcome_unknown")
            self._abort()
        except MessageRefused as refusal:
            self._is_waiting = False
            self._say(f"554 5.6.0 {refusal}")
        # The callback is foreign code at the edge of this task: whatever it raised, the client
        # must hear that the message was not taken.
        except Exception as error:
            _log.warning("smtp_sink.not_stored error=%s", type(error).__name__)
            self._is_waiting = False
            self._say("451 4.3.0 not stored")
        else:
            self._reception.note(message)
            self._is_waiting = False
            self._acknowledge(fault, released)
        self._advance()

    def _acknowledge(self, fault: Fault | None, released: asyncio.Event) -> None:
        if fault is None or not self._carry_out(fault, released):
            self._say(f"250 2.0.0 ok: queued as {self._reception.taken}")

    def _ehlo(self, rest: str) -> None:
        if self._fails("hello"):
            return
        self._forget()
        size = self._reception.max_size_bytes
        self._say(
            "250-localhost\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n"
            f"250-ENHANCEDSTATUSCODES\r\n250 SIZE {size}"
        )

    def _helo(self, rest: str) -> None:
        if self._fails("hello"):
            return
        self._forget()
        self._say("250 localhost")

    def _mail(self, rest: str) -> None:
        match = _MAIL.fullmatch(rest)
        if match is None:
            self._say("501 5.5.4 syntax: MAIL FROM:<address>")
        elif self._sender is not None:
            self._say("503 5.5.1 nested MAIL")
        elif (size := _SIZE.search(match[2])) and int(size[1]) > self._reception.max_size_bytes:
            self._say("552 5.3.4 message too big")
        elif not self._fails("mail", match[1]):
            self._sender = match[1]
            self._say("250 2.1.0 ok")

    def _rcpt(self, rest: str) -> None:
        match = _RCPT.fullmatch(rest)
        if match is None:
            self._say("501 5.5.4 syntax: RCPT TO:<address>")
        elif self._sender is None:
            self._say("503 5.5.1 MAIL first")
        elif not self._fails("rcpt", match[1]):
            self._recipients.append(match[1])
            self._say("250 2.1.5 ok")

    def _data(self, rest: str) -> None:
        if self._sender is None:
            self._say("503 5.5.1 MAIL first")
        elif not self._recipients:
            self._say("554 5.5.1 no valid recipients")
        elif not self._fails("data"):
            self._is_in_body = True
            self._body_has_begun = False
            self._searched = 0
            self._say("354 go ahead")

    def _rset(self, rest: str) -> None:
        self._forget()
        self._say("250 2.0.0 ok")

    def _noop(self, rest: str) -> None:
        self._say("250 2.0.0 ok")

    def _quit(self, rest: str) -> None:
        self._say("221 2.0.0 bye")
        self._is_closing = True

    def _forget(self) -> None:
        self._sender = None
        self._recipients = []


def _unstuffed(body: bytes) -> bytes:
    """Take the first dot off every line that starts with one (RFC 5321, section 4.5.2)."""
    if body.startswith(b"."):
        body = body[1:]
    return body.replace(b"\r\n.", b"\r\n")
