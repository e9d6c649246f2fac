from __future__ import annotations

import errno
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.catalog.holdings import Location, put_locations
from ingest.model.options import Duplicates
from ingest.model.states import ItemState
from ingest.pipeline.plan import MTIME_GRAIN_NS, QUARTER_HOUR_NS, Planner, Transfer, known_digest, same_mtime
from ingest.session.rows import Copy

NAME = b"CLIP00001.MP4"
TEN = b"0123456789"


@pytest.fixture
def plan(begin, item):
    """Plans one item of ten bytes (or the given ones) on so many roots."""

    def make(*items, roots: int = 1, duplicates: Duplicates = Duplicates.SKIP, session=None):
        session = session or begin(roots)
        source = session.sources[0].root
        planner = Planner(
            session.database, [tree.root for tree in session.roots], [place.key for place in session.facts.roots],
            lambda _: b"CARD", duplicates, lambda _, path: source.lstat([path])[0] is not None,
        )  # fmt: skip
        transfers = [
            Transfer(each, {r: Copy(each.number, r, ItemState.DISCOVERED) for r in range(roots)})
            for each in items or [item(1)]
        ]
        planner.place(transfers)
        return transfers if len(transfers) > 1 else transfers[0]

    return make


@pytest.fixture
def holding(begin):
    """A session whose root is known to hold these bytes at the item's path, as the file there looked then."""

    def make(digest: bytes, size: int = 10, mtime_ns: int = 7, managed: int = 1):
        session = begin()
        rows = [{
            "root": session.facts.roots[0].key, "path": b"CARD/" + NAME, "blake3": digest, "size": size, "mtime_ns": mtime_ns,
            "managed": managed, "verify_method": "evicted", "verified_at": 1, "session": 1, "item": 1,
        }]  # fmt: skip
        with session.database.write() as connection:
            put_locations(connection, rows)
        return session

    return make


# One path


def test_a_free_path_is_taken(plan):
    transfer = plan()

    assert (transfer.path, transfer.tried, transfer.compare, transfer.troubles) == (b"CARD/" + NAME, 0, {}, {})


def test_planning_writes_nothing(plan, begin):
    session = begin()
    plan(session=session)

    assert list(session.roots[0].path.iterdir()) == []


def test_a_file_of_the_same_size_has_to_be_compared(plan, begin):
    session = begin()
    session.roots[0].put(b"CARD/" + NAME, TEN)

    transfer = plan(session=session)

    assert (transfer.path, transfer.compare) == (b"CARD/" + NAME, {0: None})


def test_a_file_of_another_size_has_taken_the_name(plan, begin):
    session = begin()
    session.roots[0].put(b"CARD/" + NAME, b"0")

    transfer = plan(session=session)

    assert (transfer.path, transfer.tried, transfer.compare) == (b"CARD/CLIP00001_1.MP4", 1, {})


@pytest.mark.parametrize("make", [os.mkdir, lambda p: os.symlink("x", p), os.mkfifo])
def test_what_is_no_file_has_taken_the_name(plan, begin, make):
    session = begin()
    session.roots[0].put(b"CARD/x")
    make(session.roots[0].name + b"/CARD/" + NAME)

    assert plan(session=session).path == b"CARD/CLIP00001_1.MP4"


def test_names_are_tried_until_one_is_free(plan, begin):
    session = begin()
    for name in (NAME, b"CLIP00001_1.MP4", b"CLIP00001_2.MP4"):
        session.roots[0].put(b"CARD/" + name, b"0")

    assert plan(session=session).path == b"CARD/CLIP00001_3.MP4"


def test_a_suffixed_name_of_the_same_size_may_be_this_very_file(plan, begin):
    session = begin()
    session.roots[0].put(b"CARD/" + NAME, b"0")
    session.roots[0].put(b"CARD/CLIP00001_1.MP4", TEN)

    transfer = plan(session=session)

    assert (transfer.path, transfer.compare) == (b"CARD/CLIP00001_1.MP4", {0: None})


def test_a_name_that_the_source_itself_needs_is_never_taken(plan, begin):
    session = begin()
    session.roots[0].put(b"CARD/" + NAME, b"0")
    session.sources[0].put(b"CLIP00001_1.MP4")
    session.sources[0].put(b"CLIP00001_2.MP4")

    transfer = plan(session=session)

    assert (transfer.path, transfer.tried) == (b"CARD/CLIP00001_3.MP4", 3)


def test_every_file_gets_a_new_name_when_copies_are_asked_for(plan, begin):
    session = begin()
    session.roots[0].put(b"CARD/" + NAME, TEN)

    assert plan(session=session, duplicates=Duplicates.COPY).path == b"CARD/CLIP00001_1.MP4"


# What the journal knows


def test_what_is_known_to_be_there_need_not_be_read(plan, holding):
    session = holding(b"\1" * 32, mtime_ns=1_000)
    session.roots[0].put(b"CARD/" + NAME, TEN, 1_000)

    assert plan(session=session).compare == {0: b"\1" * 32}


@pytest.mark.parametrize(
    ("size", "mtime_ns", "managed", "now"),
    [(11, 1_000, 1, 1_000), (10, 1_000, 1, 60_000_000_000), (10, 1_000, 0, 1_000)],
)
def test_what_was_touched_since_or_never_proven_has_to_be_read(plan, holding, size, mtime_ns, managed, now):
    session = holding(b"\1" * 32, size, mtime_ns, managed)
    session.roots[0].put(b"CARD/" + NAME, TEN, now)

    assert plan(session=session).compare == {0: None}


def test_other_bytes_that_are_known_have_taken_the_name(holding, item):
    session = holding(b"\1" * 32, mtime_ns=1_000)
    session.roots[0].put(b"CARD/" + NAME, TEN, 1_000)
    planner = Planner(
        session.database,
        [session.roots[0].root],
        [session.facts.roots[0].key],
        lambda _: b"CARD",
        Duplicates.SKIP,
        lambda *_: False,
    )
    transfer = Transfer(item(1), {0: Copy(1, 0, ItemState.DISCOVERED)}, digest=b"\2" * 32)

    planner.place([transfer])

    assert transfer.path == b"CARD/CLIP00001_1.MP4"


def test_a_location_whose_file_is_gone_is_free(plan, holding):
    transfer = plan(session=holding(b"\1" * 32))

    assert (transfer.path, transfer.compare) == (b"CARD/" + NAME, {})


def test_without_a_journal_everything_has_to_be_read(tree, item):
    archive = tree("archive")
    archive.put(b"CARD/" + NAME, TEN)
    transfer = Transfer(item(1), {0: Copy(1, 0, ItemState.DISCOVERED)})

    Planner(None, [archive.root], [None], lambda _: b"CARD", Duplicates.SKIP, lambda *_: False).place([transfer])

    assert transfer.compare == {0: None}


# Several roots


def test_a_path_is_free_on_every_root_or_not_at_all(plan, begin):
    session = begin(2)
    session.roots[1].put(b"CARD/" + NAME, b"0")

    transfer = plan(session=session, roots=2)

    assert (transfer.path, transfer.compare) == (b"CARD/CLIP00001_1.MP4", {})


def test_a_root_that_lacks_it_does_not_need_a_comparison(plan, begin):
    session = begin(2)
    session.roots[1].put(b"CARD/" + NAME, TEN)

    transfer = plan(session=session, roots=2)

    assert (transfer.path, transfer.compare) == (b"CARD/" + NAME, {1: None})


def test_a_copy_that_is_further_on_is_not_asked_for(begin, item):
    session = begin(2)
    session.roots[0].put(b"CARD/" + NAME, b"0")
    planner = Planner(
        None, [tree.root for tree in session.roots], [None, None], lambda _: b"CARD", Duplicates.SKIP, lambda *_: False
    )
    transfer = Transfer(item(1), {0: Copy(1, 0, ItemState.VALIDATED), 1: Copy(1, 1, ItemState.DISCOVERED)})

    planner.place([transfer])

    assert transfer.path == b"CARD/" + NAME


# Trouble


def test_a_name_that_is_too_long_is_this_root_s_trouble(plan, begin, item):
    session = begin()
    (session.roots[0].path / "CARD").mkdir()

    transfer = plan(item(1, b"x" * 256), session=session)

    assert transfer.troubles[0].errno == errno.ENAMETOOLONG
    assert transfer.compare == {}


def test_a_long_path_of_short_names_is_no_trouble(plan, item):
    transfer = plan(item(1, b"/".join([b"d" * 100] * 60) + b"/x.mp4"))

    assert transfer.troubles == {}


def test_a_link_in_the_way_is_that_root_s_trouble_alone(plan, begin, tree):
    session = begin(2)
    (session.roots[0].path / "CARD").symlink_to(tree("outside").path)

    transfer = plan(session=session, roots=2)

    assert list(transfer.troubles) == [0]
    assert transfer.path == b"CARD/" + NAME


def test_a_name_that_is_always_taken_is_given_up(plan, begin, monkeypatch):
    monkeypatch.setattr("ingest.pipeline.plan.MOST_NAMES", 3)
    session = begin(2)
    for name in (NAME, b"CLIP00001_1.MP4", b"CLIP00001_2.MP4"):
        session.roots[0].put(b"CARD/" + name, b"0")

    transfer = plan(session=session, roots=2)

    assert {root: error.errno for root, error in transfer.troubles.items()} == {0: errno.EEXIST, 1: errno.EEXIST}


def test_many_items_are_placed_together(plan, begin, item):
    session = begin()
    items = [item(number) for number in range(1, 700)]
    session.roots[0].put(b"CARD/" + items[300].path, b"0")

    transfers = plan(*items, session=session)

    paths = [transfer.path for transfer in transfers]
    assert len(set(paths)) == len(paths)
    assert paths[300] == b"CARD/CLIP00301_1.MP4"
    assert [t.tried for t in transfers].count(0) == 698


# The same moment, as file systems keep it

moment = st.integers(0, 1 << 62)
quarters = st.integers(-104, 104)
grain = st.integers(-MTIME_GRAIN_NS, MTIME_GRAIN_NS)


@given(moment, moment)
def test_sameness_is_mutual(one, other):
    assert same_mtime(one, other) == same_mtime(other, one)
    assert same_mtime(one, one)


@given(moment, grain)
def test_two_seconds_are_what_fat_can_tell_apart(one, apart):
    assert same_mtime(one, one + apart)


@given(moment, st.integers(-103, 103), grain)
def test_whole_quarter_hours_are_time_zones(one, zones, apart):
    assert same_mtime(one, one + zones * QUARTER_HOUR_NS + apart)


@given(moment, quarters, st.integers(MTIME_GRAIN_NS + 1, QUARTER_HOUR_NS - MTIME_GRAIN_NS - 1))
def test_anything_else_is_another_time(one, zones, apart):
    assert not same_mtime(one, one + zones * QUARTER_HOUR_NS + apart)


@given(moment, st.integers(105, 100_000), st.sampled_from([1, -1]))
def test_no_time_zone_is_more_than_26_hours_away(one, zones, sign):
    assert not same_mtime(one, one + sign * zones * QUARTER_HOUR_NS)


def test_a_summer_hour_is_not_a_change():
    assert same_mtime(0, 3_600_000_000_000)
    assert same_mtime(0, 3_600_000_000_000 + 1_999_999_999)
    assert not same_mtime(0, 3_600_000_000_000 + 2_000_000_001)


@pytest.mark.parametrize(
    ("magic", "trusted"), [(0x4D44, True), (0x2011BAB0, True), (0xEF53, False), (0x65735546, False), (0x6969, False)]
)
def test_quarter_hours_are_forgiven_where_times_are_local_ones(magic, trusted):
    known = Location(b"a", b"\1" * 32, 5, 0)

    def seen(mtime: int):
        return (0o100644, 5, mtime, 1, 1, 1)

    assert known_digest(known, seen(0), magic) == known.blake3
    assert known_digest(known, seen(MTIME_GRAIN_NS), magic) == known.blake3
    assert (known_digest(known, seen(4 * QUARTER_HOUR_NS), magic) is not None) is trusted
    assert known_digest(known, seen(MTIME_GRAIN_NS + 1), magic) is None
