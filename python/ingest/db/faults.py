"""What SQLite's refusals mean: a journal that is damaged, and everything else, which may pass or can be mended.

Damaged is only what SQLite itself calls so, text that is none, or a file that is gone or was emptied beside what belongs to one. An error of the disk, another process that
writes, a newer schema: nothing of that says anything about the bytes, and nothing is set aside for it.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from typing import TYPE_CHECKING, Final

from ingest.errors import DamagedJournalError, JournalError

if TYPE_CHECKING:
    from pathlib import Path

NAME: Final = "ingest.sqlite3"
# Beside the journal: a lock file for each session that was ever written down (`session.hold`).
SESSIONS: Final = "sessions"
# And a folder for each that left a big file half-copied (`session.trails`).
TRAILS: Final = "trails"
# Where it is kept once it was set aside: a time comes behind it, and the suffixes of SQLite's files.
ASIDE: Final = f"{NAME}.damaged-"
# What a journal leaves where it is lost.
_LEFT: Final = (f"{SESSIONS}/*.lock", f"{TRAILS}/*", f"{ASIDE}*")

REBUILD: Final = "Set it aside, and build it anew from the archives: ingest catalog rebuild"
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
# It has no code: only the sentence tells it.
_NO_TEXT: Final = "Could not decode to UTF-8"
_ADVICE: Final = {
    **dict.fromkeys((sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED), "Another process is writing to it: try again later"),
    sqlite3.SQLITE_ERROR: "If it is no journal of ingest, move it away, or set INGEST_HOME to another folder",
    sqlite3.SQLITE_READONLY: f"Give this user the right to write it, and what is beside it: {NAME}-wal, {NAME}-shm",
    sqlite3.SQLITE_CANTOPEN: "See that it is a file, and that this user may read and write it and its folder",
}


def damaged(error: BaseException) -> bool:
    """Whether this is SQLite's word that a database is damaged, or that of Python's driver that its text is none."""
    return _code(error) in _DAMAGED or str(error).startswith(_NO_TEXT)


def journal_error(error: BaseException, path: Path, operation: str) -> JournalError:
    """The error of ours that SQLite's, or SQLAlchemy's around it, stands for."""
    cause = getattr(error, "orig", None) or error
    if damaged(cause):
        return DamagedJournalError(str(cause), path=os.fsencode(path), operation=operation, advice=REBUILD)
    advice = _ADVICE.get(
        _code(cause), "Check the disk of this folder and its room; nothing that was acknowledged is lost"
    )
    return JournalError(str(cause), path=os.fsencode(path), operation=operation, advice=advice)


def lost(path: Path) -> str | None:
    """What is wrong with a journal that is not there, or has no byte, beside what one leaves; None for any other.

    SQLite takes an empty file for a new database, and throws the log beside it away. It is new where there never was
    another here: a process that died while it made the journal leaves it so.
    """
    try:
        facts = path.stat()
    except FileNotFoundError:
        facts = None
    except OSError:
        return None
    if facts is not None and (facts.st_size or not stat.S_ISREG(facts.st_mode)):
        return None
    if not any(any(path.parent.glob(pattern)) for pattern in _LEFT):
        return None
    if facts is None and path.exists():
        return None  # a first session has begun meanwhile
    return f"it is {'gone' if facts is None else 'empty'}, though there was one: what belongs to it is still here"


def _code(error: BaseException) -> int:
    """SQLite's primary result code, 0 where there is none."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
