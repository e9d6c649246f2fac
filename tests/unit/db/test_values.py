"""A row that SQLite takes for sound, and that was never written so, is damage: for who reads it, and for who looks for it."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Column, MetaData, Table, select
from sqlalchemy.dialects import sqlite

from ingest.catalog.holdings import put_locations
from ingest.db import schema
from ingest.db.aside import damage, set_aside
from ingest.db.engine import open_database
from ingest.db.faults import NAME
from ingest.db.values import Big, ImpossibleValueError, Octets, Seconds, Spoken, Whole, Words, impossible, look_through
from ingest.errors import DamagedJournalError
from ingest.model.event import EventKind
from ingest.model.item import Folder
from ingest.model.options import CopyOptions
from ingest.model.states import ItemState
from ingest.session.chronicle import Chronicle
from ingest.session.rows import Copy, source_of

WRONG = [
    ("sessions", "state", "bompleted"), ("sessions", "options", "{zz"), ("sessions", "options", "[]"),
    ("sessions", "options", '{"flush": "eacj"}'), ("sessions", "created_at", "nun"), ("sessions", "id", "../x"),
    ("sessions", "seconds_total", "long"), ("sessions", "run", 1.5), ("session_sources", "path", "text"),
    ("session_sources", "path", b"/a\0b"), ("session_roots", "state", "qending"), ("items", "state", "dinalized"),
    ("items", "kind", "imagf"), ("items", "size", "big"), ("items", "path", 5), ("items", "blake3", b"short"),
    ("copies", "state", "x"), ("copies", "operation", "read 1-"), ("copies", "reason", b"7"), ("folders", "mtime_ns", b"1"),
    ("roots", "path", "text"), ("roots", "uuid", b"x"), ("roots", "last_seen", "x"), ("events", "kind", "cegun"),
    ("locations", "mtime_ns", "x"), ("locations", "path", "x"), ("locations", "blake3", "x"),
]  # fmt: skip


@pytest.fixture
def filled(session, item):
    """A journal with a row in each table that is asked about."""
    session.journal.add([item(1)], [Folder(0, b"DCIM", 1)])
    session.put(Copy(1, 0, ItemState.FAILED, path=b"CARD/1", reason="io", operation="read 0-4096", blake3=bytes(32)))
    chronicle = Chronicle(session.facts.key)
    chronicle.note(EventKind.BEGUN, "begun")
    with session.database.write() as connection:
        chronicle.write(connection)
        put_locations(connection, [{
            "root": session.facts.roots[0].key, "path": b"CARD/1", "blake3": bytes(32), "size": 1, "mtime_ns": 1,
            "managed": 1, "verify_method": "evicted", "verified_at": 1, "session": 1, "item": 1,
        }])  # fmt: skip
    return session


@pytest.mark.parametrize(("table", "column", "value"), WRONG)
def test_what_was_never_written_there_is_told_to_who_reads_it_and_found_by_who_looks(
    filled, home, table, column, value
):
    assert damage(home) is None
    with closing(sqlite3.connect(home / NAME)) as connection:
        assert connection.execute(f"UPDATE {table} SET {column} = ?", (value,)).rowcount
        connection.commit()

    with pytest.raises(DamagedJournalError) as told, filled.database.read() as connection:
        connection.execute(select(schema.metadata.tables[table])).all()
    filled.database.close()

    assert "ingest catalog rebuild" in told.value.advice
    assert f"a row of {table} holds" in (damage(home) or "")
    assert column in (damage(home) or "")
    assert set_aside(home) is not None


def test_text_that_is_none_is_damage_too(filled, home):
    with closing(sqlite3.connect(home / NAME)) as connection:
        connection.execute("UPDATE sessions SET host = CAST(x'ff41' AS TEXT)")
        connection.commit()

    with pytest.raises(DamagedJournalError, match="UTF-8") as told, filled.database.read() as connection:
        connection.execute(select(schema.sessions)).all()
    filled.database.close()

    assert "ingest catalog rebuild" in told.value.advice
    assert damage(home) is not None


def test_rows_of_a_newer_program_are_its_own_to_judge(filled, home):
    filled.database.close()
    with closing(sqlite3.connect(home / NAME)) as connection:
        connection.execute("UPDATE sessions SET state = 'teleported'")
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()

    assert damage(home) is None


def test_an_older_journal_is_looked_into_as_far_as_it_goes(home):
    open_database(home).close()
    with closing(sqlite3.connect(home / NAME)) as connection:
        connection.execute("DROP TABLE events")
        connection.execute("ALTER TABLE roots DROP COLUMN forgotten")
        connection.execute("UPDATE alembic_version SET version_num = '0003'")
        connection.execute("INSERT INTO roots VALUES (1, 'one', 'no bytes', NULL, 0, 0, NULL)")
        connection.commit()

    assert "roots" in (damage(home) or "")


TYPES = [
    Whole, Big, Seconds, Words, Octets,
    lambda optional: Words(frozenset({"a", "b"}), "word", optional=optional),
    lambda optional: Octets("path", optional=optional), lambda optional: Octets("digest", optional=optional),
    lambda optional: Spoken("operation", optional=optional),
    lambda optional: Spoken("options of a session", optional=optional),
]  # fmt: skip
VALUES = st.one_of(
    st.none(), st.integers(-(1 << 63), (1 << 63) - 1), st.floats(allow_nan=False), st.binary(max_size=3), st.text(max_size=3),
    st.sampled_from(["a", "b", "read", "read 1-2", "{}", CopyOptions().to_json(), bytes(32), bytes(33)]),
)  # fmt: skip


@given(make=st.sampled_from(TYPES), optional=st.booleans(), value=VALUES)
def test_whatever_may_not_be_read_is_found(make, optional, value):
    kind = make(optional=optional)
    metadata = MetaData()
    Table("told", metadata, Column("it", kind))
    with closing(sqlite3.connect("")) as connection:
        connection.execute("CREATE TABLE told (it)")
        connection.execute("INSERT INTO told VALUES (?)", (value,))

        assert (impossible(connection, metadata) is None) == kind.may_hold(value)


@given(make=st.sampled_from(TYPES), optional=st.booleans(), value=VALUES)
def test_whatever_may_be_read_is_read_as_it_is_and_nothing_else(make, optional, value):
    kind = make(optional=optional)
    read = kind.result_processor(sqlite.dialect(), None)

    if kind.may_hold(value):
        assert read(value) is value or read(value) == value
    else:
        with pytest.raises(ImpossibleValueError):
            read(value)


@given(make=st.sampled_from(TYPES), optional=st.booleans(), values=st.lists(VALUES, max_size=4))
def test_a_page_is_looked_at_as_each_of_its_values_is(make, optional, values):
    kind = make(optional=optional)
    rows = [(value, 1) for value in values]
    columns = [Column("it", kind), Column("other", Whole())]

    if all(map(kind.may_hold, values)):
        look_through(columns, rows)
    else:
        with pytest.raises(ImpossibleValueError):
            look_through(columns, rows)


@pytest.mark.parametrize(
    "change", ["state = 'x'", "kind = 'x'", "mtime_ns = 'x'", "path = 'x'", "path = x'00'", "blake3 = x'01'"]
)
def test_a_page_of_items_is_looked_at(filled, home, change):
    with closing(sqlite3.connect(home / NAME)) as connection:
        connection.execute(f"UPDATE items SET {change}")
        connection.commit()

    with pytest.raises(DamagedJournalError):
        list(filled.journal.pages())


def test_a_source_that_a_session_does_not_have_is_damage(session):
    assert source_of(session.facts.sources, 0) is session.facts.sources[0]
    for number in (-1, 1):
        with pytest.raises(DamagedJournalError):
            source_of(session.facts.sources, number)
