"""People for tests."""

from uuid import UUID

from tallypost_domain.db.sessions import SessionMaker, system_session, tenant_session
from tallypost_domain.people import service as people
from tallypost_domain.people.permissions import Role

PASSWORD = "correct horse battery"


async def add_person(
    makers: SessionMaker, email: str, *, name: str = "Sample Person", is_operator: bool = False
) -> UUID:
    """Somebody with PASSWORD; makers log in as tp_cli."""
    async with system_session(makers) as session:
        return await people.create_person(
            session, email=email, name=name, password=PASSWORD, is_operator=is_operator
        )


async def add_member(makers: SessionMaker, tenant_id: UUID, email: str, role: Role) -> UUID:
    """Somebody with PASSWORD and a role in a tenant."""
    person_id = await add_person(makers, email)
    async with tenant_session(makers, tenant_id) as session:
        await people.add_member(session, tenant_id, person_id, role)
    return person_id
