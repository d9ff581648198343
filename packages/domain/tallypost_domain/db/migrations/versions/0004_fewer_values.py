"""Claiming, loading and recording by one call each, and plans that find rows by key.

Revision ID: 0004
Revises: 0003
"""

from alembic import op

from tallypost_domain.db.migrations.statements import run_script

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_script(op.get_bind(), "0004_spread.sql")
    run_script(op.get_bind(), "0004_accept.sql")
    run_script(op.get_bind(), "0004_claims.sql")
    run_script(op.get_bind(), "0004_recording.sql")
    run_script(op.get_bind(), "0004_policies.sql")


def downgrade() -> None:
    raise NotImplementedError("a database is not taken back to an older release")
