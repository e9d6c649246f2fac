"""The first schema: roots, sessions, items, copies, locations, parts.

Migrations are frozen: what they do does not follow the schema of today.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "roots",
        sa.Column("key", sa.Integer(), nullable=False),
        sa.Column("uuid", sa.Text(), nullable=False),
        sa.Column("path", sa.LargeBinary(), nullable=False),
        sa.Column("fs_uuid", sa.Text(), nullable=True),
        sa.Column("first_seen", sa.BigInteger(), nullable=False),
        sa.Column("last_seen", sa.BigInteger(), nullable=False),
        sa.Column("last_verified", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_roots")),
        sa.UniqueConstraint("uuid", name=op.f("uq_roots_uuid")),
    )
    op.create_index(op.f("ix_roots_path"), "roots", ["path"], unique=False)
    op.create_table(
        "sessions",
        sa.Column("key", sa.Integer(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("profile", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=True),
        sa.Column("options", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("operator", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("scanned", sa.Integer(), nullable=False),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("bytes_read", sa.BigInteger(), nullable=False),
        sa.Column("bytes_copied", sa.BigInteger(), nullable=False),
        sa.Column("bytes_verified", sa.BigInteger(), nullable=False),
        sa.Column("seconds_total", sa.Float(), nullable=False),
        sa.Column("seconds_scan", sa.Float(), nullable=False),
        sa.Column("seconds_copy", sa.Float(), nullable=False),
        sa.Column("seconds_validate", sa.Float(), nullable=False),
        sa.Column("seconds_finalize", sa.Float(), nullable=False),
        sa.Column("owner_pid", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_sessions")),
        sa.UniqueConstraint("id", name=op.f("uq_sessions_id")),
    )
    op.create_table(
        "copies",
        sa.Column("session", sa.Integer(), nullable=False),
        sa.Column("item", sa.Integer(), nullable=False),
        sa.Column("root", sa.Integer(), nullable=False),
        sa.Column("path", sa.LargeBinary(), nullable=True),
        sa.Column("staging", sa.LargeBinary(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("operation", sa.Text(), nullable=True),
        sa.Column("errno", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("blake3", sa.LargeBinary(), nullable=True),
        sa.Column("read_mode", sa.Text(), nullable=True),
        sa.Column("verify_method", sa.Text(), nullable=True),
        sa.Column("publish_method", sa.Text(), nullable=True),
        sa.Column("worker", sa.Integer(), nullable=True),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("copied_at", sa.BigInteger(), nullable=True),
        sa.Column("validated_at", sa.BigInteger(), nullable=True),
        sa.Column("finalized_at", sa.BigInteger(), nullable=True),
        sa.Column("sequence", sa.Integer(), nullable=True),
        sa.Column("kept_mtime", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["session"], ["sessions.key"], name=op.f("fk_copies_session_sessions"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("session", "item", "root", name=op.f("pk_copies")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "folders",
        sa.Column("session", sa.Integer(), nullable=False),
        sa.Column("source", sa.Integer(), nullable=False),
        sa.Column("path", sa.LargeBinary(), nullable=False),
        sa.Column("mtime_ns", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["session"], ["sessions.key"], name=op.f("fk_folders_session_sessions"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("session", "source", "path", name=op.f("pk_folders")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "items",
        sa.Column("session", sa.Integer(), nullable=False),
        sa.Column("item", sa.Integer(), nullable=False),
        sa.Column("source", sa.Integer(), nullable=False),
        sa.Column("path", sa.LargeBinary(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("mtime_ns", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("errno", sa.Integer(), nullable=False),
        sa.Column("blake3", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(
            ["session"], ["sessions.key"], name=op.f("fk_items_session_sessions"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("session", "item", name=op.f("pk_items")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "locations",
        sa.Column("root", sa.Integer(), nullable=False),
        sa.Column("path", sa.LargeBinary(), nullable=False),
        sa.Column("blake3", sa.LargeBinary(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("mtime_ns", sa.BigInteger(), nullable=False),
        sa.Column("managed", sa.Integer(), nullable=False),
        sa.Column("verify_method", sa.Text(), nullable=False),
        sa.Column("verified_at", sa.BigInteger(), nullable=False),
        sa.Column("session", sa.Integer(), nullable=False),
        sa.Column("item", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["root"], ["roots.key"], name=op.f("fk_locations_root_roots"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("root", "path", name=op.f("pk_locations")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_locations_blake3", "locations", ["blake3"], unique=False)
    op.create_table(
        "parts",
        sa.Column("session", sa.Integer(), nullable=False),
        sa.Column("root", sa.Integer(), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("path", sa.LargeBinary(), nullable=False),
        sa.Column("first", sa.Integer(), nullable=False),
        sa.Column("last", sa.Integer(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("blake3", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["session"], ["sessions.key"], name=op.f("fk_parts_session_sessions"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("session", "root", "part", name=op.f("pk_parts")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "session_roots",
        sa.Column("session", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("root", sa.Integer(), nullable=False),
        sa.Column("path", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("device", sa.BigInteger(), nullable=False),
        sa.Column("inode", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["root"], ["roots.key"], name=op.f("fk_session_roots_root_roots")),
        sa.ForeignKeyConstraint(
            ["session"], ["sessions.key"], name=op.f("fk_session_roots_session_sessions"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("session", "number", name=op.f("pk_session_roots")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "session_sources",
        sa.Column("session", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("path", sa.LargeBinary(), nullable=False),
        sa.Column("label", sa.LargeBinary(), nullable=False),
        sa.Column("single", sa.LargeBinary(), nullable=True),
        sa.Column("folder", sa.LargeBinary(), nullable=True),
        sa.Column("device", sa.BigInteger(), nullable=False),
        sa.Column("inode", sa.BigInteger(), nullable=False),
        sa.Column("fs_uuid", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["session"], ["sessions.key"], name=op.f("fk_session_sources_session_sessions"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("session", "number", name=op.f("pk_session_sources")),
        sqlite_with_rowid=False,
    )
