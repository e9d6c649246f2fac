"""What a damaged journal can still tell is read as far as it goes, and believed only for where to look."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing

import pytest

from ingest.catalog.holdings import lose_notes, note_damaged
from ingest.catalog.salvage import Abandoned, Noted, Salvage, salvage
from ingest.db import schema
from ingest.db.engine import open_database
from ingest.db.faults import NAME
from ingest.model.states import SessionState

UUID = "00000000-0000-4000-8000-%012x"


@pytest.fixture
def page_of(home):
    """Where a table's first page begins."""

    def find(table: str) -> int:
        with closing(sqlite3.connect(home / NAME)) as connection:
            query = "SELECT rootpage FROM sqlite_master WHERE name = ?"
            return (connection.execute(query, (table,)).fetchone()[0] - 1) * 4096

    return find


def spoil(home, at: int) -> None:
    with (home / NAME).open("r+b") as file:
        file.seek(at)
        file.write(b"\xa5" * 4096)


def put_root(database, number: int, **changes: object) -> None:
    row = {"uuid": UUID % number, "path": b"/mnt/%d" % number, "fs_uuid": "F", "first_seen": 1, "last_seen": 2,
           "last_verified": 3}  # fmt: skip
    with database.write() as connection:
        connection.execute(schema.roots.insert().values({**row, **changes}))


def test_archives_and_sessions_that_waited_are_told_though_another_table_is_damaged(home, session, page_of):
    session.database.close()
    spoil(home, page_of("locations"))

    told = salvage([home / NAME])

    assert [(root.uuid, root.path) for root in told.roots] == [
        (session.facts.roots[0].uuid, session.facts.roots[0].path)
    ]
    assert told.abandoned == (Abandoned(session.facts.id, (session.sources[0].name,)),)


@pytest.mark.parametrize("state", SessionState)
def test_every_session_that_could_be_taken_up_again_is_told(home, session, state):
    with session.database.write() as connection:
        connection.execute(schema.sessions.update().values(state=str(state)))
    session.database.close()

    over = state in (SessionState.COMPLETED, SessionState.CANCELLED, SessionState.FAILED)
    assert [one.session for one in salvage([home / NAME]).abandoned] == ([] if over else [session.facts.id])


def test_a_root_comes_back_as_it_was_known(home):
    database = open_database(home)
    put_root(database, 1)
    database.close()

    (root,) = salvage([home / NAME]).roots

    assert (root.uuid, root.path, root.fs_uuid, root.first_seen, root.last_seen, root.last_verified) == (
        UUID % 1, b"/mnt/1", "F", 1, 2, 3,
    )  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {"uuid": "no uuid"}, {"path": b"relative"}, {"path": b"/a\0b"}, {"forgotten": 5}, {"path": b""},
    ],
    ids=str,
)  # fmt: skip
def test_a_row_that_was_never_written_so_or_was_forgotten_is_passed_over(home, changes):
    database = open_database(home)
    put_root(database, 1, **changes)
    put_root(database, 2)
    database.close()

    assert [root.uuid for root in salvage([home / NAME]).roots] == [UUID % 2]


def test_an_older_journal_is_told_too(home):
    database = open_database(home)
    put_root(database, 1)
    database.close()
    with closing(sqlite3.connect(home / NAME)) as connection:
        connection.execute("ALTER TABLE roots DROP COLUMN forgotten")
        connection.commit()

    assert [root.uuid for root in salvage([home / NAME]).roots] == [UUID % 1]


@pytest.mark.parametrize("column", ["path", "session"])
def test_sources_without_a_column_leave_sessions_that_are_told_without_them(home, session, column):
    session.database.close()
    rename(home, "session_sources", column)

    told = salvage([home / NAME])

    assert [root.uuid for root in told.roots] == [session.facts.roots[0].uuid]
    assert told.abandoned == (Abandoned(session.facts.id, ()),)


@pytest.mark.parametrize("table", ["roots", "sessions"])
@pytest.mark.parametrize("column", ["uuid", "path", "first_seen", "id", "key", "state", "label"])
def test_a_table_that_lacks_a_column_never_costs_more_than_its_own_rows(home, session, table, column):
    session.database.close()
    whole = salvage([home / NAME])
    rename(home, table, column)

    told = salvage([home / NAME])

    assert told.roots in ((), whole.roots)
    assert {one.session for one in told.abandoned} <= {one.session for one in whole.abandoned}
    assert told.roots == whole.roots or table == "roots"
    assert told.abandoned == whole.abandoned or table == "sessions"


def rename(home, table: str, column: str) -> None:
    """As a few changed bytes of the schema would have it, in the table and its indexes."""
    with closing(sqlite3.connect(home / NAME)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        for name, sql in connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE tbl_name = ? AND sql IS NOT NULL", (table,)
        ).fetchall():
            other = re.sub(rf"\b{column}\b", f"x{column[1:]}x", sql)
            connection.execute("UPDATE sqlite_master SET sql = ? WHERE name = ?", (other, name))
        connection.commit()


@pytest.fixture
def noted(home):
    """A journal in which two paths of a root were found damaged."""
    database = open_database(home)
    put_root(database, 1)
    with database.write() as connection:
        note_damaged(connection, 1, [b"A.MOV", b"B.MOV"], 5)
    yield database
    database.close()


def test_what_was_found_damaged_is_told(home, noted):
    noted.close()

    told = salvage([home / NAME])

    assert told.damaged == (Noted(UUID % 1, b"A.MOV", 5), Noted(UUID % 1, b"B.MOV", 5))
    assert told.complete


@pytest.mark.parametrize("table", ["items", "sessions", "copies"])
def test_damage_elsewhere_costs_nothing_of_it(home, noted, page_of, table):
    noted.close()
    spoil(home, page_of(table))

    told = salvage([home / NAME])

    assert (len(told.damaged), told.complete) == (2, True)


@pytest.mark.parametrize("table", ["locations", "roots"])
def test_where_not_all_of_it_can_be_read_that_is_said(home, noted, page_of, table):
    noted.close()
    spoil(home, page_of(table))

    assert not salvage([home / NAME]).complete


@pytest.mark.parametrize(
    "change",
    ["SET root = 9", "SET path = 'A.MOV' WHERE path = x'412e4d4f56'", "SET verified_at = 'never'"],
)  # fmt: skip
def test_a_note_that_was_never_written_so_is_not_told_for_all(home, noted, change):
    noted.close()
    with closing(sqlite3.connect(home / NAME)) as connection:
        connection.execute(f"UPDATE locations {change}")
        connection.commit()

    assert not salvage([home / NAME]).complete


def test_a_note_whose_number_was_changed_is_still_one(home, noted):
    noted.close()
    with closing(sqlite3.connect(home / NAME)) as connection:
        connection.execute("UPDATE locations SET managed = 0")
        connection.commit()

    assert len(salvage([home / NAME]).damaged) == 2


def test_notes_that_were_lost_before_stay_lost(home, noted):
    with noted.write() as connection:
        lose_notes(connection)
    noted.close()

    assert not salvage([home / NAME]).complete


@pytest.mark.parametrize("data", [b"", b"no database" * 1000, b"SQLite format 3\0" + b"\xff" * 4000])
def test_what_is_no_database_tells_nothing(home, data):
    home.mkdir()
    (home / NAME).write_bytes(data)

    assert salvage([home / NAME]) == Salvage()
