"""The API tells what happened to an email, and takes decisions about mail that may have arrived.

Revision ID: 0013
Revises: 0012
"""

from alembic import op

from tallypost_domain.db.migrations.statements import run_script

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_script(op.get_bind(), "0013_api_reading.sql")


def downgrade() -> None:
    raise NotImplementedError("a database is not taken back to an older release")
