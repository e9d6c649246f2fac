from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from sqlalchemy import create_engine, select, text

from ingest.db import schema
from ingest.db.engine import open_database, read_database
from ingest.db.faults import NAME
from ingest.db.migrations import scripts, upgrade
from ingest.errors import DamagedJournalError, ExitCode, IngestError, JournalError


def layout(path) -> dict[tuple[str, str], list[str]]:
    """Everything a database is made of, by kind and name; the order in which constraints are told says nothing."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
    return {(kind, name): sorted(re.findall(r"[^\s,()]+|[()]", sql or "")) for kind, name, sql in rows}


def columns(path) -> dict[str, tuple[list[object], list[object]]]:
    with closing(sqlite3.connect(path)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {
            table: (
                connection.execute(f"PRAGMA table_info({table})").fetchall(),
                sorted(row[2:] for row in connection.execute(f"PRAGMA foreign_key_list({table})")),
            )
            for table in tables
        }


@pytest.fixture
def migrated(tmp_path):
    """A database that went through every migration."""
    path = tmp_path / "migrated.sqlite3"
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        assert upgrade(connection, None)
    engine.dispose()
    return path


def test_the_name_of_each_folder_that_was_made_for_it_is_flushed(tmp_path, monkeypatch):
    flushed, plain = [], os.fsync

    def fsync(descriptor):
        flushed.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        plain(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    home = tmp_path / "new/deep/home"
    open_database(home).close()
    assert {str(home.parent), str(home.parent.parent), str(tmp_path)} <= set(flushed)
    assert str(tmp_path.parent) not in flushed

    flushed.clear()
    open_database(home).close()
    assert not flushed


# The schema


def test_a_fresh_database_equals_a_migrated_one(home, migrated):
    open_database(home).close()

    assert columns(home / NAME) == columns(migrated)
    assert layout(home / NAME) == layout(migrated)


def test_a_fresh_database_says_the_newest_version(home):
    open_database(home).close()

    with closing(sqlite3.connect(home / NAME)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(schema.HEAD,)]


def test_the_newest_migration_is_the_schema_s():
    assert scripts().get_heads() == [schema.HEAD]


def test_a_database_that_was_migrated_is_taken_as_it_is(home, migrated):
    home.mkdir()
    migrated.rename(home / NAME)

    database = open_database(home)
    with database.read() as connection:
        assert connection.execute(select(schema.sessions)).all() == []
    database.close()


def test_an_empty_file_is_a_new_database(home):
    home.mkdir()
    (home / NAME).touch()

    open_database(home).close()

    assert ("table", "sessions") in layout(home / NAME)


def test_a_current_database_is_opened_without_alembic(home):
    open_database(home).close()
    code = (
        "import sys, pathlib\n"
        "from ingest.db.engine import open_database\n"
        "open_database(pathlib.Path(sys.argv[1])).close()\n"
        "print(sorted(m for m in sys.modules if m.partition('.')[0] == 'alembic'))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(home)], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_a_newer_schema_is_refused_and_left_alone(home):
    open_database(home).close()
    with closing(sqlite3.connect(home / NAME)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.execute("CREATE TABLE from_the_future (x)")
        connection.commit()
    before = layout(home / NAME)

    with pytest.raises(JournalError, match="9999") as caught:
        open_database(home)

    assert "newer" in caught.value.advice
    assert caught.value.path == os.fsencode(home / NAME)
    assert layout(home / NAME) == before


def test_somebody_else_s_database_is_refused_and_left_alone(home):
    home.mkdir()
    with closing(sqlite3.connect(home / NAME)) as connection:
        connection.execute("CREATE TABLE sessions (theirs)")
        connection.commit()
    before = layout(home / NAME)

    with pytest.raises(JournalError):
        open_database(home)

    assert layout(home / NAME) == before


@pytest.mark.parametrize(
    "content", [b"not a database, but longer than a header" * 10, b"SQLite format 3\0" + b"\xff" * 4000]
)
def test_a_damaged_file_is_an_error_with_a_way_out(home, content):
    home.mkdir()
    (home / NAME).write_bytes(content)

    with pytest.raises(DamagedJournalError) as caught:
        open_database(home)

    assert caught.value.path == os.fsencode(home / NAME)
    assert "ingest catalog rebuild" in caught.value.advice
    assert caught.value.exit_code is ExitCode.ERROR
    assert (home / NAME).read_bytes() == content


def test_a_database_cut_short_is_an_error_and_not_a_crash(home):
    database = open_database(home)
    with database.write() as connection:
        connection.execute(schema.roots.insert(), [
            {"uuid": str(n), "path": b"x" * 500, "first_seen": 0, "last_seen": 0} for n in range(200)
        ])  # fmt: skip
    database.close()
    whole = (home / NAME).read_bytes()
    (home / NAME).write_bytes(whole[: len(whole) // 2])

    def use() -> None:
        opened = open_database(home)
        try:
            with opened.write() as connection:
                connection.execute(schema.roots.update().values(path=b"y"))
        finally:
            opened.close()

    with pytest.raises(JournalError):
        use()


# Where it lies


@pytest.mark.parametrize("name", ["with space", "a?b=c", "50%20", "%s", "#1", "é漢", "a:b", "'quoted\"", "x;y"])
def test_the_home_may_have_any_name(tmp_path, name):
    home = tmp_path / name

    database = open_database(home)
    with database.write() as connection:
        connection.execute(schema.roots.insert().values(uuid="u", path=b"/", first_seen=0, last_seen=0))
    database.close()

    assert min(os.listdir(home)) == NAME
    assert os.listdir(tmp_path) == [name]


def test_a_home_that_cannot_be_made_says_what_to_do(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(IngestError, match="INGEST_HOME"):
        open_database(tmp_path / "file" / "home")


# Reading alone


def test_nothing_is_made_by_asking(home):
    assert read_database(home) is None
    assert not home.exists()


def test_reading_leaves_the_folder_as_it_is(home):
    open_database(home).close()
    before = sorted(os.listdir(home))

    database = read_database(home)
    with database.read() as connection:
        assert connection.execute(select(schema.sessions)).all() == []
    assert sorted(os.listdir(home)) == before
    database.close()


def test_whoever_reads_alone_cannot_write(home):
    open_database(home).close()
    database = read_database(home)

    with pytest.raises(JournalError), database.write() as connection:
        insert(connection, "a")
    database.close()


def test_a_reader_sees_what_a_session_at_work_has_committed(home):
    writer = open_database(home)
    with writer.write() as connection:
        insert(connection, "a")
    reader = read_database(home)
    with writer.write() as connection:
        insert(connection, "b")

    with reader.read() as connection:
        assert sorted(connection.scalars(select(schema.roots.c.uuid))) == ["a", "b"]
    reader.close()
    writer.close()


def test_a_reader_that_came_first_sees_what_is_committed_later(home):
    open_database(home).close()
    reader = read_database(home)
    with reader.read() as connection:
        assert connection.scalar(text("SELECT count(*) FROM roots")) == 0
    writer = open_database(home)
    with writer.write() as connection:
        insert(connection, "a")
    writer.close()

    with reader.read() as connection:
        assert connection.scalar(text("SELECT count(*) FROM roots")) == 1
    reader.close()


def test_an_older_database_is_migrated_before_it_is_read(home):
    home.mkdir()
    (home / NAME).touch()

    database = read_database(home)
    with database.read() as connection:
        assert connection.execute(select(schema.sessions)).all() == []
    database.close()


def test_a_database_from_before_roots_could_be_forgotten_keeps_all_that_it_knows(home):
    database = open_database(home)
    with database.write() as connection:
        insert(connection, "a")
        row = {column.name: 1 for column in schema.locations.columns}
        connection.execute(schema.locations.insert().values(row | {"path": b"x", "blake3": b"y", "verify_method": "z"}))
    database.close()
    with closing(sqlite3.connect(home / NAME)) as connection:
        connection.execute("ALTER TABLE roots DROP COLUMN forgotten")
        connection.execute("DROP TABLE events")
        connection.execute("UPDATE alembic_version SET version_num = '0003'")
        connection.commit()

    database = open_database(home)

    with database.read() as connection:
        assert [(root.uuid, root.forgotten) for root in connection.execute(select(schema.roots))] == [("a", None)]
        assert connection.scalar(text("SELECT count(*) FROM locations")) == 1
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == schema.HEAD
    database.close()


def test_a_database_from_before_there_were_events_gets_the_table_and_keeps_its_sessions(home):
    database = open_database(home)
    with database.write() as connection:
        values = {"id": "s", "state": "completed", "profile": "mirror", "options": "{}", "version": "1", "host": "h",
                  "operator": "o", "created_at": 1}  # fmt: skip
        connection.execute(schema.sessions.insert().values(values))
    database.close()
    fresh = layout(home / NAME)
    with closing(sqlite3.connect(home / NAME)) as connection:
        connection.execute("DROP TABLE events")
        connection.execute("UPDATE alembic_version SET version_num = '0004'")
        connection.commit()

    database = open_database(home)

    with database.read() as connection:
        assert [session.id for session in connection.execute(select(schema.sessions))] == ["s"]
        assert connection.execute(select(schema.events)).all() == []
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == schema.HEAD
    database.close()
    assert layout(home / NAME) == fresh


def test_a_newer_schema_is_refused_for_reading_too(home):
    open_database(home).close()
    with closing(sqlite3.connect(home / NAME)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()

    with pytest.raises(JournalError, match="9999"):
        read_database(home)


def test_a_damaged_file_is_refused_for_reading_too(home):
    home.mkdir()
    (home / NAME).write_bytes(b"not a database, but longer than a header" * 10)

    with pytest.raises(DamagedJournalError) as caught:
        read_database(home)

    assert "ingest catalog rebuild" in caught.value.advice


# Transactions


@pytest.fixture
def one(database):
    def uuids() -> list[str]:
        with database.read() as connection:
            return list(connection.scalars(select(schema.roots.c.uuid)))

    return uuids


def insert(connection, uuid: str) -> None:
    connection.execute(schema.roots.insert().values(uuid=uuid, path=b"/", first_seen=0, last_seen=0))


def test_every_connection_waits_for_the_disk(database):
    for opened in (database.read, database.write):
        with opened() as connection:
            assert connection.scalar(text("PRAGMA synchronous")) == 2
            assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
            assert connection.scalar(text("PRAGMA foreign_keys")) == 1
            assert connection.scalar(text("PRAGMA busy_timeout")) == 30_000


def test_what_was_committed_is_seen_by_another_process(database, home):
    with database.write() as connection:
        insert(connection, "a")

    code = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute('SELECT uuid FROM roots').fetchall())"
    done = subprocess.run([sys.executable, "-c", code, str(home / NAME)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[('a',)]"


def test_what_was_committed_survives_a_kill(home):
    code = (
        "import sys, os, signal, pathlib\n"
        "from ingest.db.engine import open_database\n"
        "from ingest.db import schema\n"
        "database = open_database(pathlib.Path(sys.argv[1]))\n"
        "def put(c, u): c.execute(schema.roots.insert().values(uuid=u, path=b'/', first_seen=0, last_seen=0))\n"
        "with database.write() as c: put(c, 'committed')\n"
        "with database.write() as c:\n"
        "    put(c, 'not yet')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(home)], check=False)
    assert done.returncode == -9

    database = open_database(home)
    with database.read() as connection:
        assert list(connection.scalars(select(schema.roots.c.uuid))) == ["committed"]
    database.close()


def test_an_exception_takes_everything_back(database, one):
    def fail() -> None:
        with database.write() as connection:
            insert(connection, "a")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    assert one() == []


def test_a_refused_statement_takes_everything_back_and_is_an_error_of_ours(database, one):
    def twice() -> None:
        with database.write() as connection:
            insert(connection, "a")
            insert(connection, "a")

    with pytest.raises(JournalError) as caught:
        twice()

    assert "UNIQUE" in caught.value.cause
    assert caught.value.operation == "write"
    assert one() == []


def test_a_session_s_root_must_exist(database):
    with pytest.raises(JournalError), database.write() as connection:
        connection.execute(
            schema.session_roots.insert().values(
                session=99, number=0, root=99, path=b"/", state="pending", device=0, inode=0
            )
        )


def test_a_reader_sees_one_state_while_a_writer_works(database):
    with database.write() as connection:
        insert(connection, "a")
    with database.read() as reader:
        before = reader.scalar(text("SELECT count(*) FROM roots"))
        with database.write() as connection:
            insert(connection, "b")
        assert reader.scalar(text("SELECT count(*) FROM roots")) == before == 1


def test_a_writer_takes_the_lock_at_once(database, home):
    with (
        database.write(),
        closing(sqlite3.connect(home / NAME, timeout=0)) as other,
        pytest.raises(sqlite3.OperationalError, match="locked"),
    ):
        other.execute("BEGIN IMMEDIATE")


def test_four_processes_may_open_a_fresh_home_at_once(home):
    code = (
        "import sys, pathlib\n"
        "from ingest.db.engine import open_database\n"
        "from ingest.db import schema\n"
        "sys.stdin.readline()\n"
        "database = open_database(pathlib.Path(sys.argv[1]))\n"
        "with database.write() as c:\n"
        "    c.execute(schema.roots.insert().values(uuid=sys.argv[2], path=b'/', first_seen=0, last_seen=0))\n"
        "database.close()\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(home), str(n)], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for n in range(4)
    ]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=60)[1] for process in processes]

    assert [process.returncode for process in processes] == [0] * 4, said
    database = open_database(home)
    with database.read() as connection:
        assert sorted(connection.scalars(select(schema.roots.c.uuid))) == ["0", "1", "2", "3"]
    database.close()
