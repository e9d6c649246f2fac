"""A damaged journal, looked into and set aside: renamed together with its log, never deleted.

Promises: only what SQLite calls damaged is touched; only while no other process has it open; and whatever happens
meanwhile, every byte stays under one name or the other. A note stays beside it until who does it says that all is done
that had to be: of what comes behind it, nothing is lost by a kill either.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, Final

from ingest.db.engine import alone, connect_to_read, refuse_unfit
from ingest.db.faults import ASIDE, NAME, damaged, journal_error
from ingest.db.soundness import look_into
from ingest.errors import DamagedJournalError, PausedError, from_os_error

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# The log and its index go with the database: SQLite finds them by its name.
_FILES: Final = ("", "-wal", "-shm")
# The bytes that SQLite's processes lock (os_unix.c: PENDING_BYTE, and the 511 after it). With a write-ahead log each
# holds one of them for as long as it has the database open.
_LOCKS: Final = (512, 0x4000_0000)
# The note that a journal was set aside, and that what it told is not yet in the next one.
_NOTE: Final = f"{NAME}.rebuilding"


def damage(home: Path) -> str | None:
    """What is wrong with the journal in a home folder, every page of it; None if it is sound, or there never was one.

    Raises:
        JournalError: that cannot be told.
    """
    path = home / NAME
    try:
        refuse_unfit(path)
    except DamagedJournalError as error:
        return error.cause
    if not os.path.lexists(path):
        return None
    try:
        with closing(connect_to_read(path)) as connection:
            verdict = look_into(connection)
    except sqlite3.DatabaseError as error:
        if damaged(error):
            return str(error)
        raise journal_error(error, path, "check") from error
    return None if verdict == "ok" else verdict


def set_aside(home: Path) -> Path | None:
    """Rename the journal in a home folder, if it is damaged; its new path, None if there was no reason to, or it is gone.

    Until :func:`settle` is called, :func:`unsettled` says that it was.

    Raises:
        PausedError: another process has it open. JournalError: whether it is damaged cannot be told.
        IngestError: it cannot be renamed.
    """
    path = home / NAME
    with alone(home):
        if damage(home) is None:
            return None
        try:
            if not os.path.lexists(path):
                _note(home)
                return None
            with _nobody_else(path):
                _note(home)
                return _renamed(path)
        except OSError as error:
            raise from_os_error(error, "set aside", os.fsencode(path)) from error


def unsettled(home: Path) -> bool:
    """Whether a journal was set aside, and what it told may not be in the next one yet."""
    return os.path.lexists(home / _NOTE)


def require_settled(home: Path) -> None:
    """Require that the journal knows again what the one told that was set aside.

    Raises:
        DamagedJournalError: it does not.
    """
    if unsettled(home):
        raise DamagedJournalError("one was set aside, and what it told is not restored", path=os.fsencode(home / NAME),
                                  operation="check", advice="To complete it: ingest catalog rebuild")  # fmt: skip


def settle(home: Path) -> None:
    """What was set aside has told what it could."""
    with suppress(FileNotFoundError):
        os.unlink(home / _NOTE)


def last_aside(home: Path) -> Path | None:
    """The journal that was set aside last, None if none ever was. One without a byte tells nothing."""
    kept = (path for path in home.glob(f"{ASIDE}*") if not path.name.endswith(_FILES[1:]))
    return max((path for path in kept if path.is_file() and path.stat().st_size), default=None)


def _note(home: Path) -> None:
    os.close(os.open(home / _NOTE, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644))
    _flush(home)


@contextmanager
def _nobody_else(path: Path) -> Iterator[None]:
    """Keep every other process out of a database; those who wait for it meanwhile find out what became of it."""
    file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, *_LOCKS)
        except (BlockingIOError, PermissionError) as error:
            raise PausedError(
                "another process works with it", path=os.fsencode(path), operation="set aside",
                advice="Stop the sessions that are under way (ingest sessions tells them), then try again",
            ) from error  # fmt: skip
        yield
    finally:
        os.close(file)


def _renamed(path: Path) -> Path:
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    names = (
        path.with_name(f"{ASIDE}{stamp}{f'-{number}' if number else ''}") for number in count()
    )  # fmt: skip
    aside = next(name for name in names if not any(os.path.lexists(f"{name}{each}") for each in _FILES))
    there = [each for each in _FILES if os.path.lexists(f"{path}{each}")]
    try:
        # A second name first for each, then the first ones go, the database's before its log's: a kill in between
        # leaves no log that belongs to nothing (the next journal would remove it), and no database without its log.
        for each in there:
            os.link(f"{path}{each}", f"{aside}{each}", follow_symlinks=False)
    except OSError:
        # This file system has no hard links.
        for each in there:
            with suppress(FileNotFoundError):
                os.unlink(f"{aside}{each}")
        for each in reversed(there):
            os.rename(f"{path}{each}", f"{aside}{each}")
    else:
        for each in there:
            os.unlink(f"{path}{each}")
    _flush(path.parent)
    return aside


def _flush(place: Path) -> None:
    folder = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
