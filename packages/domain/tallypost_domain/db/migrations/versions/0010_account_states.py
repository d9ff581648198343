"""How each provider account does, as each worker sees it.

Revision ID: 0010
Revises: 0009
"""

from alembic import op

from tallypost_domain.db.migrations.statements import run_script

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_script(op.get_bind(), "0010_account_states.sql")


def downgrade() -> None:
    raise NotImplementedError("a database is not taken back to an older release")
