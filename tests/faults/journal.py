"""The journal, as an outsider sees it: its database is read without the product's code.

What a session acknowledged stands there. It can be asked while a session works on it, which gets an answer or none,
or as it lies on the disk, of which a copy is made first: nothing may be changed by being looked at.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from faults.cards import Card


class Journal:
    """Reads the database without the product's code."""

    def __init__(self, home: Path) -> None:
        self._file = home / "ingest.sqlite3"

    def live(self, query: str, *values: object) -> list[sqlite3.Row]:
        """Ask while somebody works on it; empty while it cannot answer."""
        try:
            connection = sqlite3.connect(f"file:{self._file}?mode=ro", uri=True, timeout=0)
            try:
                return connection.execute(query, values).fetchall()
            finally:
                connection.close()
        except sqlite3.OperationalError:
            return []

    def rows(self, query: str, *values: object) -> list[sqlite3.Row]:
        """Ask a copy of what is on the disk, so that nothing is recovered or checkpointed by being looked at."""
        with TemporaryDirectory() as folder:
            for suffix in ("", "-wal"):
                if (file := Path(f"{self._file}{suffix}")).exists():
                    shutil.copyfile(file, Path(folder, f"copy{suffix}"))
            connection = sqlite3.connect(Path(folder, "copy"))
            connection.row_factory = sqlite3.Row
            try:
                return connection.execute(query, values).fetchall()
            except sqlite3.OperationalError as error:
                if "no such table" not in str(error):
                    raise
                return []  # it was interrupted before there were tables
            finally:
                connection.close()

    def session(self, card: Card) -> sqlite3.Row | None:
        """The newest session of a card."""
        found = self.rows(
            "SELECT s.* FROM sessions s JOIN session_sources o ON o.session = s.key WHERE o.path = ? ORDER BY s.key DESC",
            os.fsencode(card.folder),
        )
        return found[0] if found else None

    def copies(self, session: int) -> dict[tuple[int, int], sqlite3.Row]:
        """Copies by item and root, with the item's size and source path."""
        query = """SELECT c.*, i.size, i.path AS source_path, r.path AS root_path FROM copies c
                   JOIN items i ON i.session = c.session AND i.item = c.item
                   JOIN session_roots r ON r.session = c.session AND r.number = c.root WHERE c.session = ?"""
        return {(row["item"], row["root"]): row for row in self.rows(query, session)}
