"""The tables, once. The migrations lead here; a new database is made from here.

Paths are bytes. Times are nanoseconds since the epoch, UTC. States are the words of :mod:`ingest.model.states`.
What is counted (items, bytes) is computed from the rows, never stored twice.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

# The newest migration. An opened database that says so is not looked at further.
HEAD: Final = "0005"


def signed(number: int) -> int:
    """Inode and device numbers are unsigned 64-bit, SQLite's integers are signed: the same bits."""
    return number - (1 << 64) if number >= 1 << 63 else number


def unsigned(number: int) -> int:
    """What `signed` was given."""
    return number + (1 << 64) if number < 0 else number


metadata: Final = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)

# A storage location that carries a marker. One place may have carried several over the years, so `path` is only
# where it was last seen. `last_verified` is when `ingest verify` last found every file of it as recorded. A root that
# was forgotten keeps its row for the sessions that speak of it.
roots: Final = Table(
    "roots",
    metadata,
    Column("key", Integer, primary_key=True),
    Column("uuid", Text, nullable=False, unique=True),
    Column("path", LargeBinary, nullable=False, index=True),
    Column("fs_uuid", Text),
    Column("first_seen", BigInteger, nullable=False),
    Column("last_seen", BigInteger, nullable=False),
    Column("last_verified", BigInteger),
    Column("forgotten", BigInteger),
)

# `run` counts how often the session was taken up. `owner_pid` stays behind when its process dies without a word;
# whether somebody works on it now, its lock file tells.
sessions: Final = Table(
    "sessions",
    metadata,
    Column("key", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("state", Text, nullable=False),
    Column("profile", Text, nullable=False),
    Column("label", Text),
    Column("options", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("operator", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger),
    Column("run", Integer, nullable=False, default=1),
    # 0 until the scan is whole; then one more than the items that it found (1 also of versions that did not say).
    Column("scanned", Integer, nullable=False, default=0),
    Column("exit_code", Integer),
    Column("problem", Text),
    Column("bytes_read", BigInteger, nullable=False, default=0),
    Column("bytes_copied", BigInteger, nullable=False, default=0),
    Column("bytes_verified", BigInteger, nullable=False, default=0),
    Column("seconds_total", Float, nullable=False, default=0.0),
    Column("seconds_scan", Float, nullable=False, default=0.0),
    Column("seconds_copy", Float, nullable=False, default=0.0),
    Column("seconds_validate", Float, nullable=False, default=0.0),
    Column("seconds_finalize", Float, nullable=False, default=0.0),
    Column("owner_pid", Integer),
    Column("bytes_resumed", BigInteger, nullable=False, server_default="0"),
)

session_sources: Final = Table(
    "session_sources",
    metadata,
    Column("session", Integer, ForeignKey("sessions.key", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("path", LargeBinary, nullable=False),
    Column("label", LargeBinary, nullable=False),
    Column("single", LargeBinary),
    Column("folder", LargeBinary),
    Column("device", BigInteger, nullable=False),
    Column("inode", BigInteger, nullable=False),
    Column("fs_uuid", Text),
    sqlite_with_rowid=False,
)

session_roots: Final = Table(
    "session_roots",
    metadata,
    Column("session", Integer, ForeignKey("sessions.key", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("root", Integer, ForeignKey("roots.key"), nullable=False),
    Column("path", LargeBinary, nullable=False),
    Column("state", Text, nullable=False),
    Column("device", BigInteger, nullable=False),
    Column("inode", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# One source file of a session. `original_source_path` is sources.path + path, and never changes. `blake3` is known
# early where the choice of the card folder had to hash it.
items: Final = Table(
    "items",
    metadata,
    Column("session", Integer, ForeignKey("sessions.key", ondelete="CASCADE"), primary_key=True),
    Column("item", Integer, primary_key=True),
    Column("source", Integer, nullable=False),
    Column("path", LargeBinary, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("mtime_ns", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("errno", Integer, nullable=False, default=0),
    Column("blake3", LargeBinary),
    sqlite_with_rowid=False,
)

folders: Final = Table(
    "folders",
    metadata,
    Column("session", Integer, ForeignKey("sessions.key", ondelete="CASCADE"), primary_key=True),
    Column("source", Integer, primary_key=True),
    Column("path", LargeBinary, primary_key=True),
    Column("mtime_ns", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# One item at one destination (`root` is the number in session_roots). `sequence` counts the ends per session and
# root: a manifest part holds a run of it. `kept_mtime` is the time the copy has, as its file system keeps it;
# `strategy` is how it was made: `copy`, `reflink` or `hardlink`.
copies: Final = Table(
    "copies",
    metadata,
    Column("session", Integer, ForeignKey("sessions.key", ondelete="CASCADE"), primary_key=True),
    Column("item", Integer, primary_key=True),
    Column("root", Integer, primary_key=True),
    Column("path", LargeBinary),
    Column("staging", LargeBinary),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("operation", Text),
    Column("errno", Integer, nullable=False, default=0),
    Column("attempts", Integer, nullable=False, default=0),
    Column("blake3", LargeBinary),
    Column("read_mode", Text),
    Column("verify_method", Text),
    Column("publish_method", Text),
    Column("worker", Integer),
    Column("started_at", BigInteger),
    Column("copied_at", BigInteger),
    Column("validated_at", BigInteger),
    Column("finalized_at", BigInteger),
    Column("sequence", Integer),
    Column("kept_mtime", BigInteger),
    Column("strategy", Text),
    sqlite_with_rowid=False,
)

# What an item was read as besides its BLAKE3: `blocks` are the chaining values of its blocks, 32 bytes each, if it has
# more than one; the others are raw digests, where they were asked for (C4 is another way to write sha512).
digests: Final = Table(
    "digests",
    metadata,
    Column("session", Integer, ForeignKey("sessions.key", ondelete="CASCADE"), primary_key=True),
    Column("item", Integer, primary_key=True),
    Column("blocks", LargeBinary),
    Column("xxh64", LargeBinary),
    Column("xxh3", LargeBinary),
    Column("xxh128", LargeBinary),
    Column("md5", LargeBinary),
    Column("sha1", LargeBinary),
    Column("sha256", LargeBinary),
    Column("sha512", LargeBinary),
    sqlite_with_rowid=False,
)

# Items that are sum files. `kind` is as their name says; `entries` is null until one was read. `missing` are entries
# without an item (`first_missing` is the path of one of them), `aside` those below what was left out, `problems` what
# could not be understood (`problem` says the first).
lists: Final = Table(
    "lists",
    metadata,
    Column("session", Integer, ForeignKey("sessions.key", ondelete="CASCADE"), primary_key=True),
    Column("item", Integer, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("entries", Integer),
    Column("missing", Integer, nullable=False, default=0),
    Column("first_missing", LargeBinary),
    Column("aside", Integer, nullable=False, default=0),
    Column("problems", Integer, nullable=False, default=0),
    Column("problem", Text),
    sqlite_with_rowid=False,
)

# What sum files on the card say of its files: the item that is spoken of, and the item that is the list. `size` is
# null where a list tells none.
sums: Final = Table(
    "sums",
    metadata,
    Column("session", Integer, ForeignKey("sessions.key", ondelete="CASCADE"), primary_key=True),
    Column("item", Integer, primary_key=True),
    Column("list", Integer, primary_key=True),
    Column("algorithm", Text, primary_key=True),
    Column("digest", LargeBinary, nullable=False),
    Column("size", BigInteger),
    sqlite_with_rowid=False,
)

# Where an asset's bytes are. A location is managed (1: this program put it there and proved it) or referenced (0); or the
# last look found it missing or changed (2, without a digest). Without a path, 2 says so of all that was proven on the root
# before, because notes of that kind were lost; then the database's `user_version` is 1.
locations: Final = Table(
    "locations",
    metadata,
    Column("root", Integer, ForeignKey("roots.key", ondelete="CASCADE"), primary_key=True),
    Column("path", LargeBinary, primary_key=True),
    Column("blake3", LargeBinary, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("mtime_ns", BigInteger, nullable=False),
    Column("managed", Integer, nullable=False, default=1),
    Column("verify_method", Text, nullable=False),
    Column("verified_at", BigInteger, nullable=False),
    Column("session", Integer, nullable=False),
    Column("item", Integer, nullable=False),
    sqlite_with_rowid=False,
)

# Manifest parts that are durable on their root: which run of `copies.sequence` each holds.
parts: Final = Table(
    "parts",
    metadata,
    Column("session", Integer, ForeignKey("sessions.key", ondelete="CASCADE"), primary_key=True),
    Column("root", Integer, primary_key=True),
    Column("part", Integer, primary_key=True),
    Column("path", LargeBinary, nullable=False),
    Column("first", Integer, nullable=False),
    Column("last", Integer, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("blake3", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

# What happened in a session, in order (`session.chronicle`). Of more than are kept one row says how many: `dropped`.
events: Final = Table(
    "events",
    metadata,
    Column("session", Integer, ForeignKey("sessions.key", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("run", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("told", Text, nullable=False),
    Column("root", Integer),
    Column("item", Integer),
    Column("path", LargeBinary),
    Column("operation", Text),
    Column("errno", Integer, nullable=False, default=0),
    Column("dropped", Integer, nullable=False, default=0),
    sqlite_with_rowid=False,
)
