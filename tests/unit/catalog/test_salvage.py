"""What a damaged journal can still tell is read as far as it goes, and believed only for where to look."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from ingest.catalog.salvage import Abandoned, Salvage, salvage
from ingest.db import schema
from ingest.db.engine import open_database
from ingest.db.faults import NAME

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


@pytest.mark.parametrize("data", [b"", b"no database" * 1000, b"SQLite format 3\0" + b"\xff" * 4000])
def test_what_is_no_database_tells_nothing(home, data):
    home.mkdir()
    (home / NAME).write_bytes(data)

    assert salvage([home / NAME]) == Salvage()
