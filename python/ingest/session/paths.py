"""The items of a source by their paths: an index that exists only while sum files are read.

The journal itself has none: keeping one would cost every item of every session. This one is a database of its own
that nobody else sees; SQLite keeps it in memory while it is small, and in a file without a name when it is not.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Final, Self

from sqlalchemy import bindparam, select

from ingest.db.schema import items

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from ingest.session.journal import Journal

PAGE: Final = 10_000
# Questions in one statement.
_TOGETHER: Final = 500


class Paths:
    """The items of one source, found by path. Use it in a `with` block: it is gone at its end."""

    def __init__(self, journal: Journal, source: int) -> None:
        self._own = sqlite3.connect("")
        # Nothing in it outlives this process, so nothing has to be safe.
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-16384"):
            self._own.execute(f"PRAGMA {pragma}")
        self._own.execute("CREATE TABLE paths (path BLOB PRIMARY KEY, item INTEGER NOT NULL) WITHOUT ROWID")
        query = (
            select(items.c.path, items.c.item)
            .where(items.c.session == journal.key, items.c.source == source, items.c.item > bindparam("last"))
            .order_by(items.c.item)
            .limit(PAGE)
        )
        last = 0
        while True:
            with journal.database.read() as connection:
                rows = [(row.path, row.item) for row in connection.execute(query, {"last": last})]
            if not rows:
                break
            last = rows[-1][1]
            self._own.executemany("INSERT OR REPLACE INTO paths VALUES (?, ?)", rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._own.close()

    def find(self, paths: Sequence[bytes]) -> dict[bytes, int]:
        """The items among these paths: their numbers."""
        found: dict[bytes, int] = {}
        for start in range(0, len(paths), _TOGETHER):
            some = paths[start : start + _TOGETHER]
            marks = ", ".join("?" * len(some))
            found.update(self._own.execute(f"SELECT path, item FROM paths WHERE path IN ({marks})", some))  # noqa: S608 - marks alone
        return found
