"""Engines and sessions for everything off the hot path.

A session belongs to one tenant for its whole life: the tenant is set with the transaction and
forgotten with it, so that a pooled connection never carries one over.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)

from tallypost_domain.db.errors import translated
from tallypost_domain.db.urls import sqlalchemy_url

SessionMaker = async_sessionmaker[AsyncSession]

_SETTINGS = {
    # No transaction on the primary may live long: an old snapshot slows the queue for everybody.
    "statement_timeout": "5000",
    "idle_in_transaction_session_timeout": "5000",
    "lock_timeout": "5000",
    # To compile a statement takes longer than any of ours may run.
    "jit": "off",
}


def create_engine(url: str, *, pool_size: int = 5, app: str = "tallypost") -> AsyncEngine:
    """An engine on one role's login; url is a plain `postgresql://` address."""
    return create_async_engine(
        sqlalchemy_url(url),
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=5,
        # A restart of Postgres leaves dead connections in the pool; find out before use.
        pool_pre_ping=True,
        # An error would quote them in the log, and a search has addresses and words of subjects.
        hide_parameters=True,
        connect_args={"server_settings": {"application_name": app, **_SETTINGS}, "timeout": 5},
    )


def create_session_maker(engine: AsyncEngine) -> SessionMaker:
    """Sessions whose objects stay readable after commit."""
    return async_sessionmaker(engine, expire_on_commit=False)


@asynccontextmanager
async def tenant_session(sessions: SessionMaker, tenant_id: UUID) -> AsyncIterator[AsyncSession]:
    """One transaction that sees one tenant's rows; commits at the end, rolls back on an error."""
    with translated():
        async with sessions() as session, session.begin():
            await session.execute(
                text("SELECT set_config('app.tenant_id', :tenant_id, true)"),
                {"tenant_id": str(tenant_id)},
            )
            yield session


@asynccontextmanager
async def system_session(sessions: SessionMaker) -> AsyncIterator[AsyncSession]:
    """One transaction without a tenant: it can call the lookup functions and sees no tenant row."""
    with translated():
        async with sessions() as session, session.begin():
            yield session
