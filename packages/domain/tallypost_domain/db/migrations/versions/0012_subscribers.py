"""Subscribers to events, and what each of them is still to be told.

Revision ID: 0012
Revises: 0011
"""

from alembic import op

from tallypost_domain.db.migrations.statements import run_script

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_script(op.get_bind(), "0012_subscribers.sql")


def downgrade() -> None:
    raise NotImplementedError("a database is not taken back to an older release")
