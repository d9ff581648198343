"""Runs migrations on the connection that `tallypost_domain.db.migrate` passes in."""

from alembic import context
from sqlalchemy import Connection, text

from tallypost_domain.db.models import METADATA

# Any number does, as long as every release uses the same one.
_LOCK_ID = 7_256_413


def run(connection: Connection) -> None:
    """Migrate in one transaction, behind an advisory lock and under timeouts."""
    context.configure(connection=connection, target_metadata=METADATA)
    with context.begin_transaction():
        # Before the timeouts: whoever comes second waits for the first one's whole migration.
        connection.execute(text("SELECT pg_advisory_xact_lock(:id)"), {"id": _LOCK_ID})
        # A migration that waits for a table lock makes every later query wait behind it.
        connection.execute(text("SET LOCAL lock_timeout = '5s'"))
        connection.execute(text("SET LOCAL statement_timeout = '60s'"))
        context.run_migrations()
    connection.commit()


run(context.config.attributes["connection"])
