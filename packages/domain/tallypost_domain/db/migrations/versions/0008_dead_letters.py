"""Dead letters can be looked at and sent again.

Revision ID: 0008
Revises: 0007
"""

from alembic import op

from tallypost_domain.db.migrations.statements import run_script

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_script(op.get_bind(), "0008_dead_letters.sql")


def downgrade() -> None:
    raise NotImplementedError("a database is not taken back to an older release")
