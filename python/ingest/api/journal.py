"""The journal, opened for one use case: if there is one, and as far as it is needed."""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from ingest.db.engine import open_database, read_database, refuse_unfit
from ingest.db.faults import NAME
from ingest.errors import MissingError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ingest.db.engine import Database


@contextmanager
def open_journal(home: Path, session: str | None = None, *, write: bool = False) -> Iterator[Database | None]:
    """The journal if there is one; None if nothing was ever written down and no session is asked for by name."""
    refuse_unfit(home / NAME)
    exists = (home / NAME).exists()
    database = None if not exists else open_database(home) if write else read_database(home)
    if database is None:
        if session is not None:
            raise MissingError(f"no session {session!r}", operation="find", advice="There is no journal yet")
        yield None
        return
    with closing(database):
        yield database
