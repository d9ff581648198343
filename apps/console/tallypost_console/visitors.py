"""Whoever asks for a page."""

from typing import Any, Final, TypeAlias

from litestar.connection import ASGIConnection
from msgspec import Struct

from tallypost_console.forms import form_token
from tallypost_console.services import Services
from tallypost_domain.audit.types import Actor
from tallypost_domain.people import service as people
from tallypost_domain.people.permissions import Permission
from tallypost_domain.people.types import SignedInPerson

_KEY: Final = "tallypost_visitor"

# Any: the types of user, auth and state, none of which we use.
AnyConnection: TypeAlias = ASGIConnection[Any, Any, Any, Any]


class Visitor(Struct, frozen=True):
    """A signed-in person and the session that says so."""

    person: SignedInPerson
    token: str

    @property
    def form_token(self) -> str:
        """What the forms of this session carry."""
        return form_token(self.token)

    def may(self, permission: str) -> bool:
        """True where the person has this permission in the open tenant."""
        return Permission(permission) in self.person.permissions

    def __repr__(self) -> str:
        return f"Visitor({self.person!r})"


async def find_visitor(connection: AnyConnection) -> Visitor | None:
    """Whoever the cookie belongs to; asked of the database once a request."""
    if _KEY not in connection.scope["state"]:
        connection.scope["state"][_KEY] = await _look_up(connection)
    return remembered_visitor(connection)


def remembered_visitor(connection: AnyConnection) -> Visitor | None:
    """As `find_visitor`, but never asks: for pages that tell of an error."""
    visitor: Visitor | None = connection.scope["state"].get(_KEY)
    return visitor


def as_actor(connection: AnyConnection, person: SignedInPerson) -> Actor:
    """The person as the audit log knows them, with the address of `client_address`."""
    return Actor(
        kind="person",
        id=person.id,
        ip_address=client_address(connection),
        user_agent=connection.headers.get("user-agent"),
    )


def client_address(connection: AnyConnection) -> str | None:
    """The address of whoever is at the other end of the connection.

    Behind a proxy it is the proxy's, for everybody: there is no setting for trusted proxies yet.
    """
    return connection.client.host if connection.client else None


async def _look_up(connection: AnyConnection) -> Visitor | None:
    services: Services = connection.app.state["services"]
    token = connection.cookies.get(services.cookie.name)
    if not token:
        return None
    person = await people.find_session(services.sessions, token, services.peppers)
    return None if person is None else Visitor(person, token)
