"""Opens SMTP sessions: connect, encrypt, greet and log in."""

import ssl

from tallypost_core.settings.groups import SMTPSettings
from tallypost_providers.base import clip
from tallypost_providers.smtp_auth import log_in
from tallypost_providers.smtp_connection import SMTPConnection
from tallypost_providers.smtp_deadlines import Budget
from tallypost_providers.smtp_failures import HandoverStopped, Reply, Silence
from tallypost_providers.smtp_protocol import SMTPProtocol, connect

# RFC 5321, sections 3.2 and 4.2.2: the peer does not know the command EHLO.
_NO_EHLO_CODES = frozenset({500, 502, 504})


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
    wire = await connect(host, settings.port, budget)
    try:
        return await _Opening(wire, settings, host, local_name, tls_context, budget).run()
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
    ) -> None:
        self._wire = wire
        self._settings = settings
        self._host = host
        self._local_name = local_name.encode("ascii")
        self._tls_context = tls_context
        self._budget = budget

    async def run(self) -> SMTPConnection:
        security = self._settings.security
        context = self._tls_context
        if context is not None and security == "tls":
            await self._wire.start_tls(context, self._host, self._budget)
        greeting = await self._wire.reply("connect", self._budget)
        if greeting.code != 220:
            raise HandoverStopped("connect", greeting)
        offers = await self._hello()
        if context is not None and security == "starttls":
            await self._ask_for_tls(offers)
            await self._wire.start_tls(context, self._host, self._budget)
            # RFC 3207, section 4.2: what was said before is forgotten, in both directions.
            offers = await self._hello()
        if self._settings.username is not None and self._settings.password is not None:
            await log_in(
                self._wire,
                offers.get("AUTH", ""),
                self._settings.username,
                self._settings.password.reveal(),
                self._budget,
                is_encrypted=context is not None,
            )
        return SMTPConnection(self._wire, clip(greeting.text), offers)

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
