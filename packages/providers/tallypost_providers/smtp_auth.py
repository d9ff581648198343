"""Logs in to an SMTP peer: PLAIN, LOGIN or CRAM-MD5."""

import base64
import binascii
import hashlib
import hmac
from functools import partial

from tallypost_providers.smtp_deadlines import Budget
from tallypost_providers.smtp_failures import HandoverStopped, Reply, Silence
from tallypost_providers.smtp_protocol import SMTPProtocol

# Inside TLS the password is safe, and CRAM-MD5 only makes the peer keep it in the clear. Without
# TLS, which the settings allow on loopback only, CRAM-MD5 at least does not show it.
_BEST_FIRST_ENCRYPTED = ("PLAIN", "LOGIN", "CRAM-MD5")
_BEST_FIRST_PLAIN = ("CRAM-MD5", "PLAIN", "LOGIN")
# RFC 4954, sections 4 and 6: the mechanism, not the password, is what the peer does not want.
_OTHER_MECHANISM_CODES = frozenset({504, 534})
_LEAST_TO_HIDE = 4


class Login:
    """One login on one connection; see `log_in`."""

    def __init__(self, wire: SMTPProtocol, budget: Budget, username: str, password: str) -> None:
        self._wire = wire
        self._budget = budget
        self._username = username.encode("utf-8")
        self._password = password.encode("utf-8")

    async def run(self, mechanism: str) -> Reply:
        """The peer's verdict; raises HandoverStopped where there is none."""
        if mechanism == "PLAIN":
            # RFC 4616, section 2, as an initial response (RFC 4954, section 4).
            secret = b"\0".join((b"", self._username, self._password))
            return await self._say(b"AUTH PLAIN " + base64.b64encode(secret))
        if mechanism == "LOGIN":
            reply = await self._say(b"AUTH LOGIN")
            for secret in (self._username, self._password):
                if reply.code != 334:
                    return reply
                reply = await self._say(base64.b64encode(secret))
            return reply
        reply = await self._say(b"AUTH CRAM-MD5")
        if reply.code != 334:
            return reply
        return await self._say(base64.b64encode(self._answer_to(reply.text)))

    def without_secrets(self, reply: Reply) -> Reply:
        """The reply without what a peer may repeat of a login: replies are kept and shown."""
        plain = b"\0".join((b"", self._username, self._password))
        text = reply.text
        # The longest first, so that no part of it is left.
        for secret in (base64.b64encode(plain), base64.b64encode(self._password), self._password):
            # Of fewer characters it would be any word's part, and tell by its absence.
            if len(secret) >= _LEAST_TO_HIDE:
                text = text.replace(secret.decode("utf-8"), "***")
        return Reply(reply.code, text)

    def _answer_to(self, challenge: str) -> bytes:
        """RFC 2195, section 2: the name, and the challenge keyed with the password."""
        try:
            decoded = base64.b64decode(challenge, validate=True)
        except (binascii.Error, ValueError) as error:
            note = "the peer's challenge is not base64"
            raise HandoverStopped("auth", Silence.GARBAGE, note) from error
        # A build of Python that forbids MD5 for security allows it where that is disclaimed.
        md5 = partial(hashlib.md5, usedforsecurity=False)
        digest = hmac.new(self._password, decoded, md5).hexdigest()
        return self._username + b" " + digest.encode("ascii")

    async def _say(self, line: bytes) -> Reply:
        self._wire.send("auth", line + b"\r\n", 1)
        try:
            return await self._wire.reply("auth", self._budget)
        except HandoverStopped as stop:
            if isinstance(stop.signal, Reply):
                raise HandoverStopped(stop.phase, self.without_secrets(stop.signal)) from stop
            raise


async def log_in(
    wire: SMTPProtocol,
    offered: str,
    username: str,
    password: str,
    budget: Budget,
    *,
    is_encrypted: bool,
) -> None:
    """Log in by the best mechanism of those offered.

    offered is the parameter of the keyword AUTH. A wrong password is tried once: another
    mechanism would only count towards the limit after which accounts are locked.
    Raises HandoverStopped: MISSING where none of the mechanisms is ours.
    """
    names = offered.upper().split()
    best_first = _BEST_FIRST_ENCRYPTED if is_encrypted else _BEST_FIRST_PLAIN
    mechanisms = [name for name in best_first if name in names]
    login = Login(wire, budget, username, password)
    reply = None
    for mechanism in mechanisms:
        reply = await login.run(mechanism)
        if reply.is_positive:
            return
        if reply.code not in _OTHER_MECHANISM_CODES:
            break
    if reply is None:
        note = "the peer offers no way to log in that is known here"
        raise HandoverStopped("auth", Silence.MISSING, note)
    raise HandoverStopped("auth", login.without_secrets(reply))
