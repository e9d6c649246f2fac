"""The tables, once. The migrations lead here; a new database is made from here.

Paths are bytes. Times are nanoseconds since the epoch, UTC. States are the words of :mod:`ingest.model.states`.
What is counted (items, bytes) is computed from the rows, never stored twice.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Column, ForeignKey, MetaData, Table

from ingest.db.values import Big, Octets, Seconds, Spoken, Whole, Words
from ingest.model.event import EventKind
from ingest.model.item import Kind
from ingest.model.states import ItemState, SessionState

# The newest migration. An opened database that says so is not looked at further.
HEAD: Final = "0005"

_SESSION_STATES: Final = frozenset(map(str, SessionState))
_ITEM_STATES: Final = frozenset(map(str, ItemState))
_KINDS: Final = frozenset(map(str, Kind))
_EVENTS: Final = frozenset(map(str, EventKind))


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
    Column("key", Whole(), primary_key=True),
    Column("uuid", Words(), nullable=False, unique=True),
    Column("path", Octets("path"), nullable=False, index=True),
    Column("fs_uuid", Words(optional=True)),
    Column("first_seen", Big(), nullable=False),
    Column("last_seen", Big(), nullable=False),
    Column("last_verified", Big(optional=True)),
    Column("forgotten", Big(optional=True)),
)

# `run` counts how often the session was taken up. `owner_pid` stays behind when its process dies without a word;
# whether somebody works on it now, its lock file tells.
sessions: Final = Table(
    "sessions",
    metadata,
    Column("key", Whole(), primary_key=True),
    Column("id", Spoken("name of a session"), nullable=False, unique=True),
    Column("state", Words(_SESSION_STATES, "state of a session"), nullable=False),
    Column("profile", Words(), nullable=False),
    Column("label", Words(optional=True)),
    Column("options", Spoken("options of a session"), nullable=False),
    Column("version", Words(), nullable=False),
    Column("host", Words(), nullable=False),
    Column("operator", Words(), nullable=False),
    Column("created_at", Big(), nullable=False),
    Column("finished_at", Big(optional=True)),
    Column("run", Whole(), nullable=False, default=1),
    # 0 until the scan is whole; then one more than the items that it found (1 also of versions that did not say).
    Column("scanned", Whole(), nullable=False, default=0),
    Column("exit_code", Whole(optional=True)),
    Column("problem", Words(optional=True)),
    Column("bytes_read", Big(), nullable=False, default=0),
    Column("bytes_copied", Big(), nullable=False, default=0),
    Column("bytes_verified", Big(), nullable=False, default=0),
    Column("seconds_total", Seconds(), nullable=False, default=0.0),
    Column("seconds_scan", Seconds(), nullable=False, default=0.0),
    Column("seconds_copy", Seconds(), nullable=False, default=0.0),
    Column("seconds_validate", Seconds(), nullable=False, default=0.0),
    Column("seconds_finalize", Seconds(), nullable=False, default=0.0),
    Column("owner_pid", Whole(optional=True)),
    Column("bytes_resumed", Big(), nullable=False, server_default="0"),
)

session_sources: Final = Table(
    "session_sources",
    metadata,
    Column("session", Whole(), ForeignKey("sessions.key", ondelete="CASCADE"), primary_key=True),
    Column("number", Whole(), primary_key=True),
    Column("path", Octets("path"), nullable=False),
    Column("label", Octets("path"), nullable=False),
    Column("single", Octets("path", optional=True)),
    Column("folder", Octets("path", optional=True)),
    Column("device", Big(), nullable=False),
    Column("inode", Big(), nullable=False),
    Column("fs_uuid", Words(optional=True)),
    sqlite_with_rowid=False,
)

session_roots: Final = Table(
    "session_roots",
    metadata,
    Column("session", Whole(), ForeignKey("sessions.key", ondelete="CASCADE"), primary_key=True),
    Column("number", Whole(), primary_key=True),
    Column("root", Whole(), ForeignKey("roots.key"), nullable=False),
    Column("path", Octets("path"), nullable=False),
    Column("state", Words(_SESSION_STATES, "state of a session"), nullable=False),
    Column("device", Big(), nullable=False),
    Column("inode", Big(), nullable=False),
    sqlite_with_rowid=False,
)

# One source file of a session. `original_source_path` is sources.path + path, and never changes. `blake3` is known
# early where the choice of the card folder had to hash it.
items: Final = Table(
    "items",
    metadata,
    Column("session", Whole(), ForeignKey("sessions.key", ondelete="CASCADE"), primary_key=True),
    Column("item", Whole(), primary_key=True),
    Column("source", Whole(), nullable=False),
    Column("path", Octets("path"), nullable=False),
    Column("size", Big(), nullable=False),
    Column("mtime_ns", Big(), nullable=False),
    Column("kind", Words(_KINDS, "kind of a file"), nullable=False),
    Column("state", Words(_ITEM_STATES, "state of an item"), nullable=False),
    Column("reason", Words(optional=True)),
    Column("errno", Whole(), nullable=False, default=0),
    Column("blake3", Octets("digest", optional=True)),
    sqlite_with_rowid=False,
)

folders: Final = Table(
    "folders",
    metadata,
    Column("session", Whole(), ForeignKey("sessions.key", ondelete="CASCADE"), primary_key=True),
    Column("source", Whole(), primary_key=True),
    Column("path", Octets("path"), primary_key=True),
    Column("mtime_ns", Big(), nullable=False),
    sqlite_with_rowid=False,
)

# One item at one destination (`root` is the number in session_roots). `sequence` counts the ends per session and
# root: a manifest part holds a run of it. `kept_mtime` is the time the copy has, as its file system keeps it;
# `strategy` is how it was made: `copy`, `reflink` or `hardlink`.
copies: Final = Table(
    "copies",
    metadata,
    Column("session", Whole(), ForeignKey("sessions.key", ondelete="CASCADE"), primary_key=True),
    Column("item", Whole(), primary_key=True),
    Column("root", Whole(), primary_key=True),
    Column("path", Octets("path", optional=True)),
    Column("staging", Octets("path", optional=True)),
    Column("state", Words(_ITEM_STATES, "state of an item"), nullable=False),
    Column("reason", Words(optional=True)),
    Column("operation", Spoken("operation", optional=True)),
    Column("errno", Whole(), nullable=False, default=0),
    Column("attempts", Whole(), nullable=False, default=0),
    Column("blake3", Octets("digest", optional=True)),
    Column("read_mode", Words(optional=True)),
    Column("verify_method", Words(optional=True)),
    Column("publish_method", Words(optional=True)),
    Column("worker", Whole(optional=True)),
    Column("started_at", Big(optional=True)),
    Column("copied_at", Big(optional=True)),
    Column("validated_at", Big(optional=True)),
    Column("finalized_at", Big(optional=True)),
    Column("sequence", Whole(optional=True)),
    Column("kept_mtime", Big(optional=True)),
    Column("strategy", Words(optional=True)),
    sqlite_with_rowid=False,
)

# What an item was read as besides its BLAKE3: `blocks` are the chaining values of its blocks, 32 bytes each, if it has
# more than one; the others are raw digests, where they were asked for (C4 is another way to write sha512).
digests: Final = Table(
    "digests",
    metadata,
    Column("session", Whole(), ForeignKey("sessions.key", ondelete="CASCADE"), primary_key=True),
    Column("item", Whole(), primary_key=True),
    Column("blocks", Octets(optional=True)),
    Column("xxh64", Octets(optional=True)),
    Column("xxh3", Octets(optional=True)),
    Column("xxh128", Octets(optional=True)),
    Column("md5", Octets(optional=True)),
    Column("sha1", Octets(optional=True)),
    Column("sha256", Octets(optional=True)),
    Column("sha512", Octets(optional=True)),
    sqlite_with_rowid=False,
)

# Items that are sum files. `kind` is as their name says; `entries` is null until one was read. `missing` are entries
# without an item (`first_missing` is the path of one of them), `aside` those below what was left out, `problems` what
# could not be understood (`problem` says the first).
lists: Final = Table(
    "lists",
    metadata,
    Column("session", Whole(), ForeignKey("sessions.key", ondelete="CASCADE"), primary_key=True),
    Column("item", Whole(), primary_key=True),
    Column("kind", Words(), nullable=False),
    Column("entries", Whole(optional=True)),
    Column("missing", Whole(), nullable=False, default=0),
    Column("first_missing", Octets("path", optional=True)),
    Column("aside", Whole(), nullable=False, default=0),
    Column("problems", Whole(), nullable=False, default=0),
    Column("problem", Words(optional=True)),
    sqlite_with_rowid=False,
)

# What sum files on the card say of its files: the item that is spoken of, and the item that is the list. `size` is
# null where a list tells none.
sums: Final = Table(
    "sums",
    metadata,
    Column("session", Whole(), ForeignKey("sessions.key", ondelete="CASCADE"), primary_key=True),
    Column("item", Whole(), primary_key=True),
    Column("list", Whole(), primary_key=True),
    Column("algorithm", Words(), primary_key=True),
    Column("digest", Octets(), nullable=False),
    Column("size", Big(optional=True)),
    sqlite_with_rowid=False,
)

# Where an asset's bytes are. A location is managed (1: this program put it there and proved it) or referenced (0); or the
# last look found it missing or changed (2, without a digest). Without a path, 2 says so of all that was proven on the root
# before, because notes of that kind were lost; then the database's `user_version` is 1.
locations: Final = Table(
    "locations",
    metadata,
    Column("root", Whole(), ForeignKey("roots.key", ondelete="CASCADE"), primary_key=True),
    Column("path", Octets("path"), primary_key=True),
    Column("blake3", Octets("digest"), nullable=False),
    Column("size", Big(), nullable=False),
    Column("mtime_ns", Big(), nullable=False),
    Column("managed", Whole(), nullable=False, default=1),
    Column("verify_method", Words(), nullable=False),
    Column("verified_at", Big(), nullable=False),
    Column("session", Whole(), nullable=False),
    Column("item", Whole(), nullable=False),
    sqlite_with_rowid=False,
)

# Manifest parts that are durable on their root: which run of `copies.sequence` each holds.
parts: Final = Table(
    "parts",
    metadata,
    Column("session", Whole(), ForeignKey("sessions.key", ondelete="CASCADE"), primary_key=True),
    Column("root", Whole(), primary_key=True),
    Column("part", Whole(), primary_key=True),
    Column("path", Octets("path"), nullable=False),
    Column("first", Whole(), nullable=False),
    Column("last", Whole(), nullable=False),
    Column("rows", Whole(), nullable=False),
    Column("blake3", Octets("digest"), nullable=False),
    sqlite_with_rowid=False,
)

# What happened in a session, in order (`session.chronicle`). Of more than are kept one row says how many: `dropped`.
events: Final = Table(
    "events",
    metadata,
    Column("session", Whole(), ForeignKey("sessions.key", ondelete="CASCADE"), primary_key=True),
    Column("number", Whole(), primary_key=True),
    Column("at", Big(), nullable=False),
    Column("run", Whole(), nullable=False),
    Column("kind", Words(_EVENTS, "kind of an event"), nullable=False),
    Column("told", Words(), nullable=False),
    Column("root", Whole(optional=True)),
    Column("item", Whole(optional=True)),
    Column("path", Octets("path", optional=True)),
    Column("operation", Words(optional=True)),
    Column("errno", Whole(), nullable=False, default=0),
    Column("dropped", Whole(), nullable=False, default=0),
    sqlite_with_rowid=False,
)
