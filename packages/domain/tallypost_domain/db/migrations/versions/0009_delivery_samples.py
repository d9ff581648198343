"""What workers did lately, and what is in the queue, for an operator's page.

Revision ID: 0009
Revises: 0008
"""

from alembic import op

from tallypost_domain.db.migrations.statements import run_script

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_script(op.get_bind(), "0009_delivery_samples.sql")


def downgrade() -> None:
    raise NotImplementedError("a database is not taken back to an older release")
