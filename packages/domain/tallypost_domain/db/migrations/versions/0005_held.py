"""Held rows know the domain that they wait for.

Revision ID: 0005
Revises: 0004
"""

from alembic import op

from tallypost_domain.db.migrations.statements import run_script

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_script(op.get_bind(), "0005_held.sql")


def downgrade() -> None:
    raise NotImplementedError("a database is not taken back to an older release")
