"""Accepting by one call, quotas, and announcements of what processes keep in memory.

Revision ID: 0002
Revises: 0001
"""

from alembic import op

from tallypost_domain.db.migrations.statements import run_script

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_script(op.get_bind(), "0002_quotas.sql")
    run_script(op.get_bind(), "0002_announcements.sql")
    run_script(op.get_bind(), "0002_accept.sql")


def downgrade() -> None:
    raise NotImplementedError("a database is not taken back to an older release")
