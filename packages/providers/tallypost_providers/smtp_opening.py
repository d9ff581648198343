"""Opens SMTP sessions: connect, encrypt, greet and log in."""

import ssl
from collections.abc import Mapping
from typing import Any, Final

from tallypost_core.settings.providers import SMTPSettings
from tallypost_providers.account_checks import Watch, unwatched
from tallypost_providers.base import clip
from tallypost_providers.smtp_auth import log_in
from tallypost_providers.smtp_connection import SMTPConnection
from tallypost_providers.smtp_deadlines import Budget
from tallypost_providers.smtp_failures import HandoverStopped, Reply, Silence
from tallypost_providers.smtp_guard import HostGuard
from tallypost_providers.smtp_protocol import SMTPProtocol, connect

CONNECT: Final = "connect"
ENCRYPT: Final = "encrypt"
GREET: Final = "greet"
GREET_AGAIN: Final = "greet again"
LOG_IN: Final = "log in"
"""Steps of a check."""

_STEPS: Final = {
    "none": (CONNECT, GREET),
    "starttls": (CONNECT, GREET, ENCRYPT, GREET_AGAIN),
    "tls": (CONNECT, ENCRYPT, GREET),
}

# RFC 5321, sections 3.2 and 4.2.2: the peer does not know the command EHLO.
_NO_EHLO_CODES = frozenset({500, 502, 504})


def list_steps(settings: SMTPSettings) -> tuple[str, ...]:
    """The steps of opening a session with these settings, in the order in which they are taken."""
    steps = _STEPS[settings.security]
    return steps if settings.username is None else (*steps, LOG_IN)


async def open_connection(
    settings: SMTPSettings,
    host: str,
    local_name: str,
    tls_context: ssl.SSLContext | None,
    budget: Budget,
    *,
    guard: HostGuard | None = None,
    watch: Watch = unwatched,
) -> SMTPConnection:
    """Connect, encrypt, greet and log in, as the settings say; watch hears of each.

    With a guard the connection goes only to where that lets it. Raises HandoverStopped with the
    phase that failed; nothing is left open then.
    """
    if guard is None:
        wire = await connect(host, settings.port, budget)
    else:
        wire = await guard.connect(host, settings.port, budget, watch)
    try:
        return await _Opening(wire, settings, host, local_name, tls_context, budget, watch).run()
    except BaseException:
        # Failed, or cancelled: either way nobody will close it later.
        wire.abort()
        raise


class _Opening:
    """The dialogue that turns a TCP connection into a session."""

    def __init__(
        self,
        wire: SMTPProtocol,
        settings: SMTPSettings,
        host: str,
        local_name: str,
        tls_context: ssl.SSLContext | None,
        budget: Budget,
        watch: Watch,
    ) -> None:
        self._wire = wire
        self._settings = settings
        self._host = host
        self._local_name = local_name.encode("ascii")
        self._tls_context = tls_context
        self._budget = budget
        self._watch = watch

    async def run(self) -> SMTPConnection:
        security = self._settings.security
        context = self._tls_context
        self._watch(CONNECT, "")
        if context is not None and security == "tls":
            await self._encrypt(context)
        greeting = await self._wire.reply("connect", self._budget)
        if greeting.code != 220:
            raise HandoverStopped("connect", greeting)
        offers = await self._hello()
        self._watch(GREET, greeting.text)
        if context is not None and security == "starttls":
            await self._ask_for_tls(offers)
            await self._encrypt(context)
            # RFC 3207, section 4.2: what was said before is forgotten, in both directions.
            offers = await self._hello()
            self._watch(GREET_AGAIN, "")
        await self._log_in(offers)
        return SMTPConnection(self._wire, clip(greeting.text), offers)

    async def _encrypt(self, context: ssl.SSLContext) -> None:
        await self._wire.start_tls(context, self._host, self._budget)
        self._watch(ENCRYPT, _describe_certificate(self._wire.certificate))

    async def _log_in(self, offers: dict[str, str]) -> None:
        if self._settings.username is None or self._settings.password is None:
            return
        await log_in(
            self._wire,
            offers.get("AUTH", ""),
            self._settings.username,
            self._settings.password.reveal(),
            self._budget,
            is_encrypted=self._tls_context is not None,
        )
        self._watch(LOG_IN, "")

    async def _hello(self) -> dict[str, str]:
        """What the peer offers, by keyword; nothing where it only knows HELO."""
        reply = await self._say_hello(b"EHLO")
        if reply.code in _NO_EHLO_CODES and self._needs_nothing:
            reply = await self._say_hello(b"HELO")
            if reply.code == 250:
                return {}
        if reply.code != 250:
            raise HandoverStopped("hello", reply)
        return _read_offers(reply)

    async def _say_hello(self, verb: bytes) -> Reply:
        self._wire.send("hello", b"%b %b\r\n" % (verb, self._local_name), 1)
        return await self._wire.reply("hello", self._budget)

    @property
    def _needs_nothing(self) -> bool:
        """False where only EHLO can lead on: STARTTLS and AUTH are extensions."""
        return self._settings.security != "starttls" and self._settings.username is None

    async def _ask_for_tls(self, offers: dict[str, str]) -> None:
        if "STARTTLS" not in offers:
            raise HandoverStopped("tls", Silence.MISSING, "the peer does not offer STARTTLS")
        self._wire.send("tls", b"STARTTLS\r\n", 1)
        reply = await self._wire.reply("tls", self._budget)
        if reply.code != 220:
            raise HandoverStopped("tls", reply)


def _read_offers(reply: Reply) -> dict[str, str]:
    """The first line is the peer's name; each other is a keyword and its parameters."""
    offers: dict[str, str] = {}
    for line in reply.text.split("\n")[1:]:
        # "AUTH=LOGIN" is how some said it before RFC 2554.
        keyword, _, parameter = line.replace("AUTH=", "AUTH ", 1).partition(" ")
        known = offers.get(keyword.upper())
        offers[keyword.upper()] = parameter if known is None else f"{known} {parameter}"
    return offers


# Any: the library's own nested tuples.
def _describe_certificate(certificate: Mapping[str, Any]) -> str:
    """Whose it is, who says so and until when; a name alone where it has one in its subject."""
    subject, issuer = (_name(certificate.get(part, ())) for part in ("subject", "issuer"))
    named = subject or ", ".join(value for _, value in certificate.get("subjectAltName", ()))
    return f"certificate of {named} by {issuer}, until {certificate.get('notAfter', '')}"


def _name(parts: tuple[tuple[tuple[str, str], ...], ...]) -> str:
    fields = dict(pair for part in parts for pair in part)
    return fields.get("commonName") or fields.get("organizationName") or ""
