"""Tables, roles, policies and functions of the main job: accept, queue, deliver, read back.

Revision ID: 0001
Revises:
"""

from alembic import op

from tallypost_domain.db.migrations.statements import run_script

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_script(op.get_bind(), "0001_roles.sql")
    run_script(op.get_bind(), "0001_tables.sql")
    run_script(op.get_bind(), "0001_partitions.sql")
    run_script(op.get_bind(), "0001_policies.sql")
    run_script(op.get_bind(), "0001_functions.sql")


def downgrade() -> None:
    raise NotImplementedError("the first migration is undone by dropping the database")
