"""Finds out what an email may be sent from: its verified domain, and its stream."""

from uuid import UUID

from msgspec import Struct
from sqlalchemy import select

from tallypost_domain.db.notifications import ChangeFeed
from tallypost_domain.db.sessions import SessionMaker, tenant_session
from tallypost_domain.db.watched_cache import Answer, WatchedCache
from tallypost_domain.domains import service as domains
from tallypost_domain.emails.errors import DomainNotVerified, InvalidField
from tallypost_domain.emails.types import NewEmail, Sender
from tallypost_domain.tenants.models import Stream
from tallypost_domain.tenants.service import DEFAULT_STREAM

_CACHE_SIZE = 100_000


class Origin(Struct, frozen=True):
    """What an email is sent from."""

    domain_id: UUID
    stream: str
    lane: str


class OriginDirectory:
    """Remembers origins until something about them changes.

    A domain that loses its verification stops sending within a second; the claim checks again.
    """

    def __init__(self, sessions: SessionMaker, feed: ChangeFeed | None = None) -> None:
        """Without a feed, or while it is not current, an origin is remembered for a second only."""
        self._sessions = sessions
        self._known: WatchedCache[tuple[UUID, str, str], Origin] = WatchedCache(
            feed, size=_CACHE_SIZE, tables=("domains", "streams")
        )

    async def get_origin(self, sender: Sender, email: NewEmail) -> Origin:
        """The email's domain and stream.

        Raises DomainNotVerified, or InvalidField for a stream that the tenant does not have.
        """
        stream = email.stream or sender.default_stream or DEFAULT_STREAM
        key = (sender.tenant_id, email.from_.domain, stream)
        origin = self._known.find(key)
        if origin is None:
            origin = await self._known.get(key, lambda: self._look_up(*key))
        return origin

    async def _look_up(self, tenant_id: UUID, domain: str, stream: str) -> Answer[Origin]:
        async with tenant_session(self._sessions, tenant_id) as session:
            domain_id = await domains.find_verified_domain_id(session, tenant_id, domain)
            statement = select(Stream.lane).where(
                Stream.tenant_id == tenant_id, Stream.name == stream
            )
            lane = (await session.execute(statement)).scalar_one_or_none()
        if domain_id is None:
            raise DomainNotVerified(field="from")
        if lane is None:
            raise InvalidField(
                "The `headers.X-Tallypost-Stream` header names no stream of this account.",
                field="headers.X-Tallypost-Stream",
            )
        return Answer(tenant_id, Origin(domain_id=domain_id, stream=stream, lane=lane))
