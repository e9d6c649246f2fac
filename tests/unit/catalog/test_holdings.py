from __future__ import annotations

import pytest

from ingest.catalog.holdings import (
    Location,
    all_roots,
    key_of_root,
    managed_at,
    put_locations,
    remember_root,
    roots_known_at,
)


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


def test_nothing_to_record_is_nothing(held, look):
    held()
    assert look() == {}
