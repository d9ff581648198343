"""One SMTP session, one command at a time, so that it is always known how far it came.

aiosmtplib speaks the protocol; its one-call functions are not used, because they do not tell
whether a byte of the body had left when something went wrong.
"""

import asyncio
import ssl
from typing import cast

import aiosmtplib
from aiosmtplib import SMTPResponse

from tallypost_core.clock import monotonic_s
from tallypost_core.settings.groups import SMTPSettings
from tallypost_providers.smtp_failures import Phase, Reply, Signal, Silence

# The longest that a peer may take before the body, whatever the deadline. RFC 5321, section
# 4.5.3.2 allows minutes because a relay has days; here the email goes back to its queue.
_PHASE_LIMIT_S: dict[Phase, float] = {
    "connect": 15.0,
    "tls": 15.0,
    "hello": 15.0,
    "auth": 30.0,
    "mail": 60.0,
    "rcpt": 60.0,
    "data": 60.0,
}
# A kept connection that a firewall forgot stays silent; a fresh one then takes its place.
_RESET_LIMIT_S = 3.0
_QUIT_LIMIT_S = 1.0


class _Client(aiosmtplib.SMTP):
    # CRAM-MD5 protects nothing that TLS does not, and makes the peer keep the password itself.
    AUTH_METHODS = ("plain", "login")


class HandoverStopped(Exception):
    """The dialogue ended early: in which phase, and at what answer or silence."""

    def __init__(self, phase: Phase, signal: Signal, note: str = "") -> None:
        """note describes a silence; an answer describes itself."""
        super().__init__(phase)
        self.phase = phase
        self.signal = signal
        self.note = note

    @property
    def is_broken(self) -> bool:
        """True where nobody knows what the peer would say next.

        That is after a silence, after 421 (the peer hangs up), and after a reply that made no
        sense where it came, such as 250 to DATA: then replies and commands are out of step.
        """
        if isinstance(self.signal, Silence):
            return True
        return self.signal.code == 421 or self.signal.code < 400


class Budget:
    """The time of one handover, part of which is kept back for the final reply.

    Once the body is out, running out of time is ambiguous; before it, harmless. So the phases
    before the body share two thirds, and the body starts only if the last third is left.
    """

    def __init__(self, timeout_s: float) -> None:
        started_s = monotonic_s()
        self._body_starts_by_s = started_s + timeout_s * 2 / 3
        self._ends_by_s = started_s + timeout_s

    def before_body_s(self, limit_s: float) -> float:
        """Seconds for the next step before the body, at most limit_s; 0 where none are left."""
        return max(0.0, min(limit_s, self._body_starts_by_s - monotonic_s()))

    def final_reply_s(self) -> float:
        """Seconds until the whole handover must be over."""
        return max(0.0, self._ends_by_s - monotonic_s())


class SMTPConnection:
    """A session that is open, greeted and, where the settings say so, encrypted and logged in."""

    def __init__(self, client: aiosmtplib.SMTP, greeting: str) -> None:
        self._client = client
        self.greeting = greeting
        self.opened_at_s = monotonic_s()
        self.idle_since_s = self.opened_at_s
        self.is_reused = False

    @property
    def is_alive(self) -> bool:
        """False once the peer's end of the connection is known to be closed."""
        return self._client.is_connected

    @property
    def takes_size(self) -> bool:
        """True where the peer wants the size announced (RFC 1870)."""
        return self._client.supports_extension("size")

    async def command(self, phase: Phase, *words: bytes, budget: Budget) -> Reply:
        """Send one command line and return its reply, of whatever code.

        Raises HandoverStopped for silence, and for 421, after which the peer hangs up.
        """
        limit_s = _RESET_LIMIT_S if words == (b"RSET",) else _PHASE_LIMIT_S[phase]
        timeout_s = _require_time(phase, limit_s, budget)
        try:
            response = await self._client.execute_command(*words, timeout=timeout_s)
        except (OSError, aiosmtplib.SMTPException) as error:
            raise _stopped(phase, error) from error
        reply = _as_reply(phase, response)
        if reply.code == 421:
            raise HandoverStopped(phase, reply)
        return reply

    async def send_body(self, message: bytes, budget: Budget) -> Reply:
        """Send the content after a 354 and return the final reply, of whatever code.

        message has CRLF line ends, the last one included.
        Raises HandoverStopped: in phase data where not a byte left, else in phase final.
        """
        content = _dot_stuffed(message) + b".\r\n"
        protocol = self._client.protocol
        _require_time("data", _PHASE_LIMIT_S["data"], budget)
        if protocol is None:
            raise HandoverStopped("data", Silence.RESET, "the connection ended")
        try:
            protocol.write(content)
        except (OSError, aiosmtplib.SMTPException) as error:
            raise _stopped("data", error) from error
        try:
            response = await protocol.read_response(timeout=budget.final_reply_s())
        except (OSError, aiosmtplib.SMTPException) as error:
            raise _stopped("final", error) from error
        return _as_reply("final", response)

    async def quit(self) -> None:
        """Take leave as RFC 5321, section 4.1.1.10 asks, then hang up; never raises, never waits
        long."""
        try:
            await self._client.execute_command(b"QUIT", timeout=_QUIT_LIMIT_S)
        except (OSError, aiosmtplib.SMTPException):
            # The work is done; a peer that does not say goodbye changes nothing.
            pass
        finally:
            self.abort()

    def abort(self) -> None:
        """Hang up at once, dropping what is still to be written."""
        _abort(self._client)


async def open_connection(
    settings: SMTPSettings,
    host: str,
    local_name: str,
    tls_context: ssl.SSLContext | None,
    budget: Budget,
) -> SMTPConnection:
    """Connect, encrypt, greet and log in, as the settings say.

    Raises HandoverStopped with the phase that failed; nothing is left open then.
    """
    client = _Client(
        hostname=host,
        port=settings.port,
        local_hostname=local_name,
        use_tls=settings.security == "tls",
        start_tls=False,
        tls_context=tls_context,
    )
    phase: Phase = "connect"
    try:
        greeting = await client.connect(timeout=_require_time(phase, _PHASE_LIMIT_S[phase], budget))
        phase = "hello"
        await client.ehlo(timeout=_require_time(phase, _PHASE_LIMIT_S[phase], budget))
        if settings.security == "starttls":
            phase = "tls"
            await client.starttls(timeout=_require_time(phase, _PHASE_LIMIT_S[phase], budget))
            phase = "hello"
            await client.ehlo(timeout=_require_time(phase, _PHASE_LIMIT_S[phase], budget))
        if settings.username is not None and settings.password is not None:
            phase = "auth"
            await client.login(
                settings.username,
                settings.password.reveal(),
                timeout=_require_time(phase, _PHASE_LIMIT_S[phase], budget),
            )
    except (OSError, aiosmtplib.SMTPException) as error:
        _abort(client)
        raise _stopped(phase, error) from error
    except BaseException:
        # No time left, or cancelled: either way nobody will close it later.
        _abort(client)
        raise
    return SMTPConnection(client, greeting.message)


def _dot_stuffed(message: bytes) -> bytes:
    """RFC 5321, section 4.5.2: a line that starts with a dot gets another one."""
    stuffed = message.replace(b"\r\n.", b"\r\n..")
    return b"." + stuffed if stuffed.startswith(b".") else stuffed


def _require_time(phase: Phase, limit_s: float, budget: Budget) -> float:
    timeout_s = budget.before_body_s(limit_s)
    if timeout_s <= 0:
        raise HandoverStopped(phase, Silence.TIMEOUT, "the time for this handover was used up")
    return timeout_s


def _as_reply(phase: Phase, response: SMTPResponse) -> Reply:
    if not 200 <= response.code <= 599:
        raise HandoverStopped(phase, Silence.GARBAGE, "the peer sent an impossible reply code")
    return Reply(response.code, response.message)


def _stopped(phase: Phase, error: Exception) -> HandoverStopped:
    """Sort a library exception; the order matters, since many of them are OSErrors at once."""
    cause = error.__cause__ if isinstance(error, aiosmtplib.SMTPConnectError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return HandoverStopped("tls", Silence.UNTRUSTED, "the peer's certificate is not trusted")
    if isinstance(cause, ssl.SSLError):
        return HandoverStopped("tls", Silence.GARBAGE, "the TLS handshake failed")
    if isinstance(error, aiosmtplib.SMTPResponseException):
        if not 200 <= error.code <= 599:
            return HandoverStopped(phase, Silence.GARBAGE, "the peer's answer is no SMTP reply")
        return HandoverStopped(phase, Reply(error.code, error.message))
    if isinstance(error, TimeoutError):
        return HandoverStopped(phase, Silence.TIMEOUT, "no answer in time")
    if phase == "connect" and not isinstance(cause, aiosmtplib.SMTPServerDisconnected):
        return HandoverStopped(phase, Silence.REFUSED, "no connection to the peer")
    if isinstance(error, OSError):
        return HandoverStopped(phase, Silence.RESET, "the connection ended")
    return HandoverStopped(phase, Silence.MISSING, "the peer does not offer what is needed")


def _abort(client: aiosmtplib.SMTP) -> None:
    transport = client.transport
    client.close()
    # close() alone would first wait until a peer that has stopped reading takes the rest.
    if transport is not None:
        # uvloop's transports have the methods and not the base class.
        cast("asyncio.WriteTransport", transport).abort()
