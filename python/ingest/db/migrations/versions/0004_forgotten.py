"""Roots can be forgotten: their sessions stay, what they hold does not."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make one column."""
    with op.batch_alter_table("roots") as table:
        table.add_column(sa.Column("forgotten", sa.BigInteger(), nullable=True))
