"""Tells a process when something that it keeps in memory has changed in the database.

Triggers announce each change at its commit. The feed listens on a connection of its own, which
also sends itself a ping several times a second: Postgres delivers in the order of commits, so the
echo of a ping proves that everything committed before the ping was sent has been heard. A feed
whose last echo is too old says so, and whoever relies on it goes back to asking.

The address must be of the server itself, or of a pooler that gives out sessions: a pooler that
gives out transactions loses what is announced, which shows as a feed that is never current.
"""

import asyncio
from typing import Final, Protocol
from uuid import UUID

import asyncpg
import structlog

from tallypost_core import clock
from tallypost_core.ids import new_id
from tallypost_domain.db.errors import AWAY
from tallypost_domain.db.pools import Connection

CHANGES_CHANNEL: Final = "tenant_changes"
"""NOTIFY channel of the triggers; the payload is `<table> <tenant id>`."""

PING_EVERY_S: Final = 0.2
CURRENT_FOR_S: Final = 0.6
"""A ping is good for so long, from when it was sent: what was committed later may be unheard."""

_ANSWER_WITHIN_S = 2.0
_CONNECT_WITHIN_S = 2.0
_RECONNECT_AFTER_S = 0.5

log = structlog.get_logger()


class Subscriber(Protocol):
    """Who keeps something in memory. Called in the event loop, must not raise."""

    def forget_tenant(self, table: str, tenant_id: UUID) -> None:
        """A row of the tenant in this table has changed."""

    def forget_all(self) -> None:
        """Anything may have changed unheard."""


class ChangeFeed:
    """The announcements of one database. One per process."""

    def __init__(self, url: str, *, app: str) -> None:
        """Connects in `run`, with any role's login: listening needs no grant."""
        self._url = url
        self._app = app
        self._echo_channel = f"echo_{new_id().hex}"
        self._subscribers: list[Subscriber] = []
        self._heard_until_s: float | None = None
        self.changes = 0
        """Grows with each announcement, and with each gap in them."""

    @property
    def is_current(self) -> bool:
        """True while everything committed until CURRENT_FOR_S ago is certain to have been heard."""
        heard_until_s = self._heard_until_s
        return heard_until_s is not None and clock.monotonic_s() - heard_until_s < CURRENT_FOR_S

    def subscribe(self, subscriber: Subscriber) -> None:
        """Let someone know of each change from now on."""
        self._subscribers.append(subscriber)

    async def run(self) -> None:
        """Listen until cancelled; connects again whenever the connection is lost or silent."""
        while True:
            try:
                await self._listen()
            except (*AWAY, asyncpg.PostgresError) as error:
                if self._heard_until_s is not None:
                    log.warning("changes.lost", error=type(error).__name__)
            except Exception:
                # The edge of this task. Without it nobody would listen any more, and nobody know.
                log.exception("changes.crashed")
            self._heard_until_s = None
            await asyncio.sleep(_RECONNECT_AFTER_S)

    async def _listen(self) -> None:
        connection: Connection = await asyncpg.connect(
            self._url,
            timeout=_CONNECT_WITHIN_S,
            server_settings={"application_name": f"{self._app} changes"},
        )
        try:
            async with asyncio.timeout(_ANSWER_WITHIN_S):
                await connection.add_listener(CHANGES_CHANNEL, self._on_change)
                await connection.add_listener(self._echo_channel, self._on_echo)
            # What was announced before now, nobody heard.
            self._forget_all()
            while True:
                # A connection that neither answers nor breaks is given up here.
                async with asyncio.timeout(_ANSWER_WITHIN_S):
                    await connection.execute(
                        "SELECT pg_notify($1, $2)", self._echo_channel, repr(clock.monotonic_s())
                    )
                await asyncio.sleep(PING_EVERY_S)
        finally:
            connection.terminate()

    def _on_echo(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        if self._heard_until_s is None:
            log.info("changes.current")
        self._heard_until_s = float(str(payload))

    def _on_change(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        self.changes += 1
        table, _, tenant_id = str(payload).partition(" ")
        for subscriber in self._subscribers:
            subscriber.forget_tenant(table, UUID(tenant_id))

    def _forget_all(self) -> None:
        self.changes += 1
        for subscriber in self._subscribers:
            subscriber.forget_all()
