"""What the journal knows of archives: looked at, forgotten, moved, built anew."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from ingest.api.journal import open_journal
from ingest.errors import MissingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from ingest.catalog.holdings import KnownRoot
    from ingest.db.engine import Database
    from ingest.pipeline.rebuild import Rebuilt
    from ingest.pipeline.storages import Relocated, StoredRoot
    from ingest.storage.rules import Rule


def storage(
    home: Path, root: bytes | None = None, *, rules: Sequence[Rule] = (), thorough: bool = False
) -> list[StoredRoot]:
    """What is known and seen of archives now: the commands ``ingest storage list`` and ``status``.

    Args:
        root: one archive (its path, or the beginning of its UUID) or any folder; None takes all of the journal.
        thorough: try what they can do.

    Raises:
        MissingError: nothing is known by this name, and nothing is there.
    """
    from ingest.pipeline.storages import look_at_roots

    with open_journal(home) as database:
        return look_at_roots(database, rules, root, thorough=thorough)


def forget(home: Path, root: bytes, *, force: bool = False) -> tuple[KnownRoot, tuple[str, ...]]:
    """Remove an archive from the journal, not from its disk: the command ``ingest storage forget``.

    Returns:
        What was known of it, and the ids of sessions that still wait for it (only with `force`).

    Raises:
        MissingError, UsageError, PausedError: as :func:`ingest.pipeline.storages.forget`.
    """
    from ingest.pipeline import storages

    with _journal_for(home, root) as database:
        return storages.forget(database, root, force=force)


def relocate(home: Path, root: bytes, path: bytes) -> Relocated:
    """Write down where an archive is now: the command ``ingest storage relocate``.

    Raises:
        MissingError, UsageError, PausedError, IngestError: as :func:`ingest.pipeline.storages.relocate`.
    """
    from ingest.pipeline import storages

    with _journal_for(home, root) as database:
        return storages.relocate(database, root, path)


@contextmanager
def _journal_for(home: Path, root: bytes) -> Iterator[Database]:
    with open_journal(home, write=True) as database:
        if database is None:
            raise MissingError("no archive is known", path=root, operation="find", advice="There is no journal yet")
        yield database


def rebuild(home: Path, roots: Sequence[bytes] = (), *, progress: Callable[[int, int], None] | None = None) -> Rebuilt:
    """Build the journal's knowledge of archives anew from their manifests: the command ``ingest catalog rebuild``.

    A journal that is damaged is set aside before.

    Args:
        roots: archives; none takes those that the journal knows, or can still tell, and that are mounted.
        progress: called with the files learned so far, and their bytes.

    Raises:
        UsageError, MissingError, PausedError, IngestError: as :func:`ingest.pipeline.rebuild.rebuild`.
    """
    from ingest.pipeline.rebuild import rebuild as rebuild_journal

    return rebuild_journal(home, roots, progress)
