"""What a file was read as besides its BLAKE3, what sum files say of it, how a copy was made, and how much gone on with."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make three tables and two columns."""
    op.create_table(
        "digests",
        sa.Column("session", sa.Integer(), nullable=False),
        sa.Column("item", sa.Integer(), nullable=False),
        sa.Column("blocks", sa.LargeBinary(), nullable=True),
        sa.Column("xxh64", sa.LargeBinary(), nullable=True),
        sa.Column("xxh3", sa.LargeBinary(), nullable=True),
        sa.Column("xxh128", sa.LargeBinary(), nullable=True),
        sa.Column("md5", sa.LargeBinary(), nullable=True),
        sa.Column("sha1", sa.LargeBinary(), nullable=True),
        sa.Column("sha256", sa.LargeBinary(), nullable=True),
        sa.Column("sha512", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(
            ["session"], ["sessions.key"], name=op.f("fk_digests_session_sessions"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("session", "item", name=op.f("pk_digests")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "lists",
        sa.Column("session", sa.Integer(), nullable=False),
        sa.Column("item", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("entries", sa.Integer(), nullable=True),
        sa.Column("missing", sa.Integer(), nullable=False),
        sa.Column("first_missing", sa.LargeBinary(), nullable=True),
        sa.Column("aside", sa.Integer(), nullable=False),
        sa.Column("problems", sa.Integer(), nullable=False),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["session"], ["sessions.key"], name=op.f("fk_lists_session_sessions"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("session", "item", name=op.f("pk_lists")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "sums",
        sa.Column("session", sa.Integer(), nullable=False),
        sa.Column("item", sa.Integer(), nullable=False),
        sa.Column("list", sa.Integer(), nullable=False),
        sa.Column("algorithm", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["session"], ["sessions.key"], name=op.f("fk_sums_session_sessions"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("session", "item", "list", "algorithm", name=op.f("pk_sums")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("copies") as table:
        table.add_column(sa.Column("strategy", sa.Text(), nullable=True))
    with op.batch_alter_table("sessions") as table:
        table.add_column(sa.Column("bytes_resumed", sa.BigInteger(), server_default="0", nullable=False))
