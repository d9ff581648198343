"""Answers with a live view to whoever is signed in."""

from collections.abc import Hashable

from litestar.response import Stream

from tallypost_console.live import Reader, View
from tallypost_console.rendering import AnyRequest
from tallypost_console.services import Services
from tallypost_console.visitors import Visitor
from tallypost_domain.db.errors import DatabaseUnavailable
from tallypost_domain.people import service as people

EVENT_STREAM = "text/event-stream"


def stream(
    request: AnyRequest, services: Services, visitor: Visitor, key: Hashable, view: View
) -> Stream:
    """Follow a view; it ends when the session does, or opens another tenant.

    key and view as of `LiveViews.follow`. Raises TooManyStreams.
    """

    async def is_welcome() -> bool:
        try:
            person = await people.find_session(services.sessions, visitor.token, services.peppers)
        except DatabaseUnavailable:
            # Nobody can tell; whoever is welcome comes back.
            return False
        return person == visitor.person

    reader = Reader(visitor.person.id, is_welcome)
    last_id = request.headers.get("last-event-id")
    return Stream(services.live.follow(reader, key, view, last_id), media_type=EVENT_STREAM)
