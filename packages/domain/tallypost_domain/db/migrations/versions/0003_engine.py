"""What the queue needs at millions of rows: cheaper lists, releases, room for updates.

Revision ID: 0003
Revises: 0002
"""

from alembic import op

from tallypost_domain.db.migrations.statements import run_script

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_script(op.get_bind(), "0003_queue.sql")
    run_script(op.get_bind(), "0003_storage.sql")


def downgrade() -> None:
    raise NotImplementedError("a database is not taken back to an older release")
