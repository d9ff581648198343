"""What the console finds and counts emails by.

Revision ID: 0007
Revises: 0006
"""

from alembic import op

from tallypost_domain.db.migrations.statements import run_script

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_script(op.get_bind(), "0007_console.sql")


def downgrade() -> None:
    raise NotImplementedError("a database is not taken back to an older release")
