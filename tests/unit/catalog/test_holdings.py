from __future__ import annotations

import time

import pytest
from sqlalchemy import update

from ingest.catalog.holdings import (
    Location,
    add_locations,
    all_roots,
    forget_root,
    holds,
    key_of_root,
    known_at,
    known_roots,
    lift_damage,
    lose_notes,
    managed_at,
    move_root,
    note_verified,
    put_locations,
    remember_root,
    roots_known_at,
    sessions_at,
)
from ingest.db import schema
from ingest.model.states import SessionState
from ingest.session.register import session_facts, take_up


@pytest.fixture
def root(database):
    with database.write() as connection:
        return remember_root(connection, "uuid-1", b"/mnt/a", None)


def row(root: int, path: bytes, digest: bytes = b"\1", **changes: object) -> dict[str, object]:
    made = {
        "root": root, "path": path, "blake3": digest * 32, "size": 5, "mtime_ns": 7, "managed": 1,
        "verify_method": "evicted", "verified_at": 9, "session": 1, "item": 1,
    }  # fmt: skip
    return {**made, **changes}


@pytest.fixture
def held(database, root):
    def put(*rows: dict[str, object]) -> None:
        with database.write() as connection:
            put_locations(connection, list(rows))

    return put


@pytest.fixture
def look(database, root):
    def at(*paths: bytes, of: int | None = None) -> dict[bytes, Location]:
        with database.read() as connection:
            return managed_at(connection, root if of is None else of, paths)

    return at


# Notes that were lost


def test_where_notes_were_lost_all_of_a_root_that_is_met_is_doubtful_until_it_was_proven_anew_or_found_whole(database):
    def known() -> dict[bytes, bytes]:
        with database.read() as connection:
            return {path: one.blake3 for path, one in known_at(connection, key, [b"old", b"new", b"unknown"]).items()}

    with database.write() as connection:
        lose_notes(connection)
        key = remember_root(connection, "uuid-1", b"/mnt/a", None)
        later = time.time_ns()
        put_locations(connection, [row(key, b"old"), row(key, b"new", verified_at=later)])
    before = known()
    with database.write() as connection:
        assert remember_root(connection, "uuid-1", b"/mnt/a", None) == key
        lift_damage(connection, key, later)

    assert before == {b"old": b"", b"new": b"\1" * 32, b"unknown": b""}
    assert known() == {b"old": b"\1" * 32, b"new": b"\1" * 32}


def test_a_root_that_was_known_before_notes_were_lost_elsewhere_is_not_doubtful(database, root, held):
    held(row(root, b"old"))
    with database.write() as connection:
        lose_notes(connection)
        remember_root(connection, "uuid-1", b"/mnt/a", None)

    with database.read() as connection:
        assert known_at(connection, root, [b"old"])[b"old"].blake3 == b"\1" * 32


@pytest.mark.parametrize("lost", [True, False])
def test_of_a_root_that_is_not_known_everything_is_doubtful_where_notes_were_lost(database, lost):
    with database.write() as connection:
        if lost:
            lose_notes(connection)
        assert set(known_at(connection, None, [b"a"])) == ({b"a"} if lost else set())


# Roots


def test_a_root_keeps_its_key_wherever_it_is_mounted(database, root):
    with database.write() as connection:
        assert remember_root(connection, "uuid-1", b"/mnt/b", "fs") == root
        assert remember_root(connection, "uuid-2", b"/mnt/a", None) != root

    with database.read() as connection:
        assert all_roots(connection) == [("uuid-1", b"/mnt/b"), ("uuid-2", b"/mnt/a")]


def test_a_path_knows_the_roots_last_seen_there_newest_first(database, monkeypatch):
    clock = iter(range(10, 100))
    monkeypatch.setattr("time.time_ns", lambda: next(clock))
    with database.write() as connection:
        for uuid in ("old", "newer", "newest", "newer"):
            remember_root(connection, uuid, b"/mnt/a\xff", None)
        remember_root(connection, "elsewhere", b"/mnt/b", None)

    with database.read() as connection:
        assert roots_known_at(connection, b"/mnt/a\xff") == ["newer", "newest", "old"]
        assert roots_known_at(connection, b"/mnt") == []


def test_a_root_that_was_never_seen_has_no_key(database, root):
    with database.read() as connection:
        assert key_of_root(connection, "uuid-1") == root
        assert key_of_root(connection, "uuid-9") is None


def test_what_is_known_of_a_root_is_told(database, root, held, monkeypatch):
    held(row(root, b"a", verified_at=40), row(root, b"b", verified_at=70), row(root, b"c", managed=0, verified_at=90))
    with database.write() as connection:
        note_verified(connection, "uuid-1", 50)
        note_verified(connection, "uuid-9", 60)

    with database.read() as connection:
        (known,) = known_roots(connection)
        assert (known.key, known.uuid, known.path, known.last_verified) == (root, "uuid-1", b"/mnt/a", 50)
        assert holds(connection, root) == (2, 70)
        assert holds(connection, root + 1) == (0, None)


def test_a_forgotten_root_is_not_known_nor_what_it_holds_until_it_is_met_again(database, root, held, look):
    held(row(root, b"a"))
    with database.write() as connection:
        other = remember_root(connection, "uuid-2", b"/mnt/b", None)
    held(row(other, b"a"))

    with database.write() as connection:
        forget_root(connection, root)

    with database.read() as connection:
        assert [each.uuid for each in known_roots(connection)] == ["uuid-2"]
        assert roots_known_at(connection, b"/mnt/a") == []
    assert look(b"a") == {}
    assert set(look(b"a", of=other)) == {b"a"}
    with database.write() as connection:
        assert remember_root(connection, "uuid-1", b"/mnt/a", None) == root
        assert len(known_roots(connection)) == 2


@pytest.mark.parametrize(
    ("state", "follows"),
    [
        (SessionState.PAUSED_NETWORK, True), (SessionState.PAUSED_SPACE, True), (SessionState.INTERRUPTED, True),
        (SessionState.COMPLETED_WITH_ERRORS, True), (SessionState.COMPLETED, False), (SessionState.CANCELLED, False),
    ],
)  # fmt: skip
def test_a_root_is_moved_with_the_sessions_that_can_go_on_there(database, begin, state, follows):
    session = begin(roots=2)
    first, second = session.facts.roots
    high = (1 << 64) - 5  # as 9p and some FUSE drivers number their files
    with database.write() as connection:
        connection.execute(update(schema.sessions).values(state=state))
        assert sessions_at(connection, first.key) == [session.facts.key]
        moved = move_root(connection, first.key, b"/media/new", fs_uuid="fs", device=7, inode=high)

    assert moved == int(follows)
    now = session_facts(database, session.facts.key).roots
    assert now[1] == second
    assert now[0].path == (b"/media/new" if follows else first.path)
    assert (now[0].device, now[0].inode) == ((7, high) if follows else (first.device, first.inode))
    with database.read() as connection:
        known = {each.key: each for each in known_roots(connection)}
    assert (known[first.key].path, known[first.key].fs_uuid) == (b"/media/new", "fs")
    assert known[second.key].path == second.path


def test_a_session_that_is_taken_up_knows_its_roots_again(database, begin):
    session = begin()
    with database.write() as connection:
        forget_root(connection, session.facts.roots[0].key)

    take_up(database, session.facts.key, retry=False)

    with database.read() as connection:
        assert [each.uuid for each in known_roots(connection)] == [session.facts.roots[0].uuid]


# Locations


def test_a_location_is_found_by_its_path(held, look, root):
    held(row(root, b"CARD/a\xff"))

    assert look(b"CARD/a\xff", b"CARD/b") == {b"CARD/a\xff": Location(b"CARD/a\xff", b"\1" * 32, 5, 7)}


def test_a_location_is_one_root_s_own(held, look, root):
    held(row(root, b"a"))

    assert look(b"a", of=root + 1) == {}


def test_what_is_only_referenced_is_not_held(held, look, root):
    held(row(root, b"a", managed=0))

    assert look(b"a") == {}


def test_the_last_word_on_a_path_replaces_the_one_before(held, look, root):
    held(row(root, b"a"), row(root, b"b"))
    held(row(root, b"a", b"\2", size=6, mtime_ns=8))

    assert look(b"a", b"b") == {
        b"a": Location(b"a", b"\2" * 32, 6, 8),
        b"b": Location(b"b", b"\1" * 32, 5, 7),
    }


@pytest.mark.parametrize("count", [0, 1, 499, 500, 501, 1203])
def test_any_number_of_paths_can_be_asked_for_at_once(held, look, root, count):
    paths = [b"CARD/%05d" % number for number in range(count)]
    held(*[row(root, path, size=number) for number, path in enumerate(paths)])

    found = look(*paths, b"missing")

    assert {path: location.size for path, location in found.items()} == {path: n for n, path in enumerate(paths)}


def test_what_manifests_tell_replaces_only_what_was_proven_earlier(database, held, look, root):
    held(row(root, b"older", verified_at=9), row(root, b"newer", verified_at=9))

    with database.write() as connection:
        told = [
            (path, b"\2" * 32, 6, 8, "direct", moment) for path, moment in ((b"older", 10), (b"newer", 9), (b"new", 1))
        ]
        added = add_locations(connection, root, told)

    assert added == 2
    assert {path: each.size for path, each in look(b"older", b"newer", b"new").items()} == {
        b"older": 6, b"newer": 5, b"new": 6,
    }  # fmt: skip


def test_nothing_to_record_is_nothing(held, look):
    held()
    assert look() == {}
