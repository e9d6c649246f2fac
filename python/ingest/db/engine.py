"""How the database is opened: SQLite, write-ahead log, every commit on the disk before it counts.

Writers take the write lock at once (BEGIN IMMEDIATE) and wait up to 30 s for another; no I/O but the
database's own happens inside a transaction. A new database is made from the schema; an older one is migrated,
and only then is Alembic imported.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.exc import DatabaseError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from ingest.db import schema
from ingest.db.faults import NAME, REBUILD, journal_error, lost
from ingest.db.values import ImpossibleValueError
from ingest.errors import DamagedJournalError, DeniedError, JournalError, from_os_error

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# How long a writer waits for another one; sessions and jobs run side by side.
BUSY_SECONDS: Final = 30.0
# As Alembic makes it.
_VERSION_TABLE: Final = (
    "CREATE TABLE alembic_version "
    "(version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
)


class Database:
    """One open database. Use it from any thread; each `with` block has a connection of its own."""

    def __init__(self, engine: Engine, path: Path) -> None:
        self._engine = engine
        self._given_up = False
        self.path = path

    def handle(self) -> Database:
        """Another handle on the same database, which can be given up by itself."""
        return Database(self._engine, self.path)

    def give_up(self) -> None:
        """Refuse whatever else is asked of this handle: who holds it may come back from a dead disk at any time."""
        self._given_up = True

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that holds the write lock; committed at the end, rolled back by an exception.

        Raises:
            DamagedJournalError: what is read holds what was never written there, or SQLite calls it damaged.
            JournalError: the database refused; nothing of the block was kept.
        """
        with (
            self._translated("write"),
            self._engine.connect().execution_options(immediate=True) as connection,
            connection.begin(),
        ):
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one state of the database.

        Raises:
            DamagedJournalError: what is read holds what was never written there, or SQLite calls it damaged.
            JournalError: the database cannot be read.
        """
        with self._translated("read"), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def _translated(self, operation: str) -> Iterator[None]:
        if self._given_up:
            raise JournalError("this run was given up", path=os.fsencode(self.path), operation=operation)
        try:
            yield
        except DatabaseError as error:
            raise journal_error(error, self.path, operation) from error
        except ImpossibleValueError as error:
            raise DamagedJournalError(
                str(error), path=os.fsencode(self.path), operation=operation, advice=REBUILD
            ) from error

    def close(self) -> None:
        """Let go of every connection."""
        self._engine.dispose()


def open_database(home: Path, *, anew: bool = False) -> Database:
    """The database in a home folder, made or migrated as needed.

    Args:
        anew: it may be made also where there was one before.

    Raises:
        DamagedJournalError: it is damaged, or gone. DeniedError: this user cannot write it.
        JournalError: it cannot be opened, or was written by a newer program.
    """
    path = home / NAME
    try:
        _make(home)
    except OSError as error:
        raise from_os_error(error, "mkdir", os.fsencode(home), "Set INGEST_HOME to a folder you can write") from error
    if not os.access(home, os.W_OK):
        raise DeniedError("this user cannot write here", path=os.fsencode(home), operation="open the journal",
                          advice="Set INGEST_HOME to a folder you can write")  # fmt: skip
    engine = create_engine(
        URL.create("sqlite", database=str(path)), connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False}
    )
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    database = Database(engine, path)
    with _understood(path, database), alone(home):
        refuse_unfit(path, anew=anew)
        _require_writable(path)
        if _version(engine) != schema.HEAD:
            _bring_up(engine, path)
    return database


def _require_writable(path: Path) -> None:
    """Require that this user may write a database and what SQLite keeps beside it.

    Asked before SQLite is: it would open the database all the same, for reading alone, and leave shared memory beside it
    that nobody may write either, also when the database can be written again.

    Raises:
        DeniedError: one of the files cannot be written.
    """
    for suffix in ("", "-wal", "-shm"):
        file = path.with_name(path.name + suffix)
        if file.exists() and not os.access(file, os.W_OK):
            raise DeniedError("this user cannot write it", path=os.fsencode(file), operation="open the journal",
                              advice="Give this user the right to write this file (chmod u+w), or set INGEST_HOME to another "
                              "folder")  # fmt: skip


def _make(home: Path) -> None:
    """Make the folder where it is missing, and flush the name of each that was: with it a journal would be lost."""
    missing = [folder for folder in (home, *home.parents) if not folder.exists()]
    home.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        opened = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def read_database(home: Path) -> Database | None:
    """The database for reading alone, None if there is none; nothing is made, not even beside it.

    Raises:
        DamagedJournalError: it is damaged, or gone. JournalError: it cannot be read, or was written by a newer program.
    """
    path = home / NAME
    refuse_unfit(path)
    if not path.exists():
        return None
    engine = create_engine("sqlite://", creator=lambda: connect_to_read(path), poolclass=NullPool)
    event.listen(engine, "begin", _begin)
    database = Database(engine, path)
    with _understood(path, database):
        version = _version(engine)
    if version == schema.HEAD:
        return database
    database.close()
    return open_database(home)  # an older one is migrated, a newer one refused


def refuse_unfit(path: Path, *, anew: bool = False) -> None:
    """Refuse what SQLite would wait for, for ever (a pipe), and, but to begin anew, to take nothing for a new database.

    Raises:
        DamagedJournalError: it is gone, or was emptied. JournalError: it is no file, or its folder is none.
    """
    if path.parent.exists() and not path.parent.is_dir():
        raise JournalError("it is no folder", path=os.fsencode(path.parent), operation="open",
                           advice="The journal's folder is to be there: move that away, or set INGEST_HOME to another")  # fmt: skip
    if path.exists() and not path.is_file():
        raise JournalError("it is no file", path=os.fsencode(path), operation="open",
                           advice="Move away what stands there, or set INGEST_HOME to another folder")  # fmt: skip
    if not anew and (why := lost(path)) is not None:
        raise DamagedJournalError(why, path=os.fsencode(path), operation="open", advice=REBUILD)


def connect_to_read(path: Path) -> sqlite3.Connection:
    """A connection for one look, which leaves no trace.

    Without a log beside the database nobody writes, and SQLite need not even make its shared memory. A session may
    begin at any time, so each look decides anew.
    """
    immutable = "" if path.with_name(path.name + "-wal").exists() else "&immutable=1"
    uri = f"{path.absolute().as_uri()}?mode=ro{immutable}"
    return sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, check_same_thread=False, isolation_level=None)


@contextmanager
def _understood(path: Path, database: Database) -> Iterator[None]:
    """Turn what SQLite says while it is opened into what the user can do."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.DatabaseError) as error:
        database.close()
        raise journal_error(error, path, "open") from error


def _prepare(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions are begun here, not guessed by the driver
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "fullfsync=ON", "foreign_keys=ON", "cache_size=-16384"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    immediate = connection.get_execution_options().get("immediate")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _version(engine: Engine) -> str | None:
    with engine.connect() as connection:
        if not connection.scalar(text("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'")):
            return None
        return str(connection.scalar(text("SELECT version_num FROM alembic_version")))


@contextmanager
def alone(home: Path) -> Iterator[None]:
    """One process at a time.

    For making and migrating, and even for turning a new file to the write-ahead log: SQLite does not wait for
    another process that is about to do the same.

    Raises:
        JournalError: something else has the lock file's name. IngestError: it cannot be made.
    """
    path = home / "schema.lock"
    try:
        # Whatever else stands there must not be waited for (a pipe), nor followed.
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
    except OSError as error:
        raise from_os_error(error, "open", os.fsencode(path), "Move away what stands there") from error
    try:
        if not stat.S_ISREG(os.fstat(lock).st_mode):
            raise JournalError("it is no file", path=os.fsencode(path), operation="open",
                               advice="Move away what stands there")  # fmt: skip
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _bring_up(engine: Engine, path: Path) -> None:
    """Make or migrate the tables."""
    version = _version(engine)
    with engine.connect().execution_options(immediate=True) as connection, connection.begin():
        if version is None and not inspect(connection).get_table_names():
            schema.metadata.create_all(connection)
            connection.execute(text(_VERSION_TABLE))
            connection.execute(text("INSERT INTO alembic_version VALUES (:head)"), {"head": schema.HEAD})
            return
        from ingest.db.migrations import upgrade

        if not upgrade(connection, version):
            raise JournalError(
                f"its schema is {version}, newer than this program's {schema.HEAD}", path=os.fsencode(path),
                operation="open", advice="Use a newer version of ingest",
            )  # fmt: skip
