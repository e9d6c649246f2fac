"""Whether a journal is sound: SQLite's word on every page of it, or on those of a few tables, and what its rows hold.

Not for every opening: each page that is asked about is read. Whoever would take silence of a table for an answer asks first,
since a row that cannot be found and one that never was look the same.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ingest.db import schema
from ingest.db.faults import REBUILD
from ingest.db.values import impossible
from ingest.errors import DamagedJournalError

if TYPE_CHECKING:
    import sqlite3

    from ingest.db.engine import Database


def look_into(connection: sqlite3.Connection) -> str:
    """SQLite's word on every page, of indexes too, or a value that was never written; `ok` if nothing is wrong.

    With an index that has lost entries a row is not found, and put a second time. The rows of a newer journal are its own
    program's to judge.

    Raises:
        sqlite3.DatabaseError: it is damaged in such a way, or cannot be read.
    """
    (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if verdict != "ok" or not _ours(connection):
        return str(verdict)
    return impossible(connection, schema.metadata) or "ok"


def _ours(connection: sqlite3.Connection) -> bool:
    """Whether this is a journal of this version, or of an older one."""
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone() is None:
        return False
    told = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return told is not None and isinstance(told[0], str) and told[0] <= schema.HEAD


def require_sound(database: Database, *tables: str) -> None:
    """Require that these tables, and their indexes, are sound.

    Raises:
        DamagedJournalError: one is not. JournalError: that cannot be told.
    """
    with database.read() as connection:
        for table in tables:
            verdict = str(connection.exec_driver_sql(f"PRAGMA integrity_check({table})").scalar())
            if verdict != "ok":
                raise DamagedJournalError(
                    " ".join(verdict.split()), path=os.fsencode(database.path), operation="check", advice=REBUILD
                )
