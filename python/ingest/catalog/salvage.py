"""What a damaged journal can still tell: its archives, what was found damaged there, and the sessions that waited.

Each table is read as far as it can be. What it says is only where to look: an archive is believed for its own marker
and its own manifests. Only what was found damaged is told by nobody else: so it is said whether all of that was read.
"""

from __future__ import annotations

import sqlite3
import uuid
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ingest.catalog.holdings import KnownRoot
from ingest.db.engine import connect_to_read
from ingest.model.states import CLOSED, SessionState

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

# One that completed with errors is taken up when it is named: its failed files are tried again.
_OPEN: Final = frozenset(str(state) for state in SessionState if state not in CLOSED) | {
    str(SessionState.COMPLETED_WITH_ERRORS)
}


@dataclass(frozen=True, slots=True)
class Abandoned:
    """A session that could be taken up again, also by name alone, and cannot be any more: its id, its sources' paths."""

    session: str
    sources: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Noted:
    """A path of a root (its UUID) that was found missing or changed, and when (ns since the epoch)."""

    uuid: str
    path: bytes
    moment: int


@dataclass(frozen=True, slots=True)
class Salvage:
    """What was still told; the roots' `key` says nothing.

    Attributes:
        damaged: what was found damaged on these roots. complete: that is all of it.
    """

    roots: tuple[KnownRoot, ...] = ()
    abandoned: tuple[Abandoned, ...] = ()
    damaged: tuple[Noted, ...] = ()
    complete: bool = False


def salvage(paths: Sequence[Path]) -> Salvage:
    """Read what can be read of damaged journals, the oldest first: what a later one says of an archive counts."""
    told = [_told(path) for path in paths]
    roots = {root.uuid: root for each in told for root in each.roots}
    abandoned = {session.session: session for each in told for session in each.abandoned}
    damaged = tuple(note for each in told for note in each.damaged)
    complete = bool(told) and all(each.complete for each in told)
    return Salvage(tuple(roots.values()), tuple(abandoned.values()), damaged, complete)


def _told(path: Path) -> Salvage:
    try:
        with closing(connect_to_read(path)) as connection:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA trusted_schema = OFF")
            keys = {row.get("key"): _root(row) for row in _rows(connection, "roots")}
            roots = [root for root in keys.values() if root is not None]
            damaged, complete = _damaged(connection, keys)
            sources: dict[object, list[bytes]] = {}
            for row in _rows(connection, "session_sources"):
                if isinstance(source := row.get("path"), bytes):
                    sources.setdefault(row.get("session"), []).append(source)
            return Salvage(
                tuple({root.uuid: root for root in roots}.values()),
                tuple(
                    Abandoned(row["id"], tuple(sources.get(row.get("key"), ())))
                    for row in _rows(connection, "sessions")
                    if isinstance(row.get("id"), str) and row.get("state") in _OPEN
                ),
                damaged,
                complete,
            )
    except sqlite3.Error:
        return Salvage()


def _rows(connection: sqlite3.Connection, table: str) -> Iterator[dict[str, Any]]:
    """The rows of a table, up to the first that cannot be read; of damaged schemas a column may be missing."""
    with suppress(sqlite3.Error):
        # A name of this program.
        yield from map(dict, connection.execute(f"SELECT * FROM {table}"))  # noqa: S608


def _damaged(connection: sqlite3.Connection, roots: dict[Any, KnownRoot | None]) -> tuple[tuple[Noted, ...], bool]:
    """What was found damaged on these roots (by their keys), and whether that is all that ever was noted."""
    found: list[Noted] = []
    complete = True
    try:
        for table in ("roots", "locations"):
            # A page that is wrong may hide rows without any error.
            complete &= connection.execute(f"PRAGMA integrity_check({table})").fetchone()[0] == "ok"
        complete &= connection.execute("PRAGMA user_version").fetchone()[0] == 0
        # Nothing else has no digest: of a note of which the number was changed, that is left.
        notes = "SELECT root, path, verified_at FROM locations WHERE managed NOT IN (0, 1) OR length(blake3) = 0"
        for key, path, moment in connection.execute(notes):
            root = roots.get(key)
            if root is not None and isinstance(path, bytes) and isinstance(moment, int):
                found.append(Noted(root.uuid, path, moment))
            else:
                complete = False
    except sqlite3.Error:
        complete = False
    return tuple(found), complete


def _root(told: dict[str, Any]) -> KnownRoot | None:
    """A root, None if what the row holds was never written there, or was forgotten."""
    try:
        identity, path = str(uuid.UUID(told["uuid"])), told["path"]
        first, last, verified = told["first_seen"], told["last_seen"], told.get("last_verified")
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    sound = isinstance(path, bytes) and path.startswith(b"/") and b"\0" not in path
    if not sound or not isinstance(first, int) or not isinstance(last, int) or told.get("forgotten") is not None:
        return None
    fs_uuid = told.get("fs_uuid")
    return KnownRoot(
        0, identity, path, fs_uuid if isinstance(fs_uuid, str) else None, first, last,
        verified if isinstance(verified, int) else None,
    )  # fmt: skip
