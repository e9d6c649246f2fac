"""Whether a journal is sound: SQLite's word on every page of it, or on those of a few tables.

Not for every opening: each page that is asked about is read. Whoever would take silence of a table for an answer asks first,
since a row that cannot be found and one that never was look the same.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ingest.db.faults import REBUILD
from ingest.errors import DamagedJournalError

if TYPE_CHECKING:
    import sqlite3

    from ingest.db.engine import Database


def look_into(connection: sqlite3.Connection) -> str:
    """SQLite's word on every page, of indexes too; `ok` if nothing is wrong.

    With an index that has lost entries a row is not found, and put a second time.

    Raises:
        sqlite3.DatabaseError: it is damaged in such a way, or cannot be read.
    """
    (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    return str(verdict)


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
