"""Tenants' own provider accounts, routes, and where sending domains stand at accounts.

Revision ID: 0011
Revises: 0010
"""

from alembic import op

from tallypost_domain.db.migrations.statements import run_script

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_script(op.get_bind(), "0011_accounts.sql")


def downgrade() -> None:
    raise NotImplementedError("a database is not taken back to an older release")
