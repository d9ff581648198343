"""An email knows the trace that it belongs to.

Revision ID: 0006
Revises: 0005
"""

from alembic import op

from tallypost_domain.db.migrations.statements import run_script

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_script(op.get_bind(), "0006_traces.sql")


def downgrade() -> None:
    raise NotImplementedError("a database is not taken back to an older release")
