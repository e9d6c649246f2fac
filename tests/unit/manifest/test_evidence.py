"""What archives' manifests say of many files at once."""

from __future__ import annotations

import pytest

from ingest import engine
from ingest.manifest.evidence import Evidence, Wanted
from ingest.manifest.reader import open_manifests
from ingest.manifest.sandbox import sandbox
from ingest.model.item import CopyRecord, Kind
from ingest.model.states import ItemState

SECOND = 1_000_000_000


def digest(number: int) -> bytes:
    return engine.blake3(b"%d" % number)


def record(number: int, path: bytes, content: int, finalized: int = 1, **more) -> CopyRecord:
    values = {
        "item": number, "source_path": b"/media/CARD/" + path, "path": b"CARD/" + path, "size": 16, "mtime_ns": 1,
        "kind": Kind.VIDEO, "state": ItemState.FINALIZED, "blake3": digest(content), "verify_method": "evicted",
        "attempts": 1, "strategy": "copy", "finalized_ns": finalized * SECOND, **more,
    }  # fmt: skip
    return CopyRecord(**values)


def wanted(number: int, path: bytes, content: int | None) -> Wanted:
    return Wanted(
        0, path, number, path, b"/media/CARD/" + path, 16, 1, blake3=None if content is None else digest(content)
    )


@pytest.fixture
def archive(archive_at, tmp_path):
    return archive_at(tmp_path / "archive")


def answers(archive, asked, *, resolve=False, memory="128MB"):
    with sandbox(memory) as connection:
        evidence = Evidence(connection, open_manifests([archive.root]))
        for start in range(0, len(asked), 1000):
            evidence.add(asked[start : start + 1000])
        if resolve:
            evidence.resolve()
        return [
            (one.number, [(held.path, held.duplicate, held.strategy) for held in held])
            for one, held in evidence.answers()
        ]


def test_an_older_row_of_a_path_never_speaks_for_it(archive):
    archive.add([record(1, b"a", 1, finalized=10), record(2, b"b", 2, finalized=10)])
    archive.add([record(3, b"a", 3, finalized=20)])

    told = answers(archive, [wanted(1, b"a", 1), wanted(2, b"b", 2), wanted(3, b"c", 3)])

    assert told == [(1, []), (2, [(b"CARD/b", False, "copy")]), (3, [(b"CARD/a", False, "copy")])]


def test_a_duplicate_of_a_hard_link_is_a_hard_link(archive):
    archive.add([record(1, b"a", 1, finalized=10, strategy="hardlink")])
    archive.add([record(2, b"a", 1, finalized=20, state=ItemState.DUPLICATE, strategy=None)])

    assert answers(archive, [wanted(1, b"x", 1)]) == [(1, [(b"CARD/a", True, "hardlink")])]


def test_what_did_not_arrive_says_nothing(archive):
    archive.add([record(1, b"a", 1, state=ItemState.FAILED)])

    assert answers(archive, [wanted(1, b"a", 1)]) == [(1, [])]


def test_a_place_size_and_time_stand_for_a_content_only_if_there_was_one(archive):
    archive.add([record(1, b"a", 1), record(2, b"b", 2)])
    archive.add([record(3, b"b", 3, finalized=20)])

    told = answers(archive, [wanted(1, b"a", None), wanted(2, b"b", None), wanted(3, b"c", None)], resolve=True)

    assert told == [(1, [(b"CARD/a", False, "copy")]), (2, []), (3, [])]


def test_answers_come_kin_by_kin_with_the_best_copies_first_counted(archive):
    archive.add([record(number, b"%02d" % number, 7, verify_method="reread") for number in range(1, 12)])
    archive.add([record(99, b"zz", 7)])

    ((_, held),) = answers(archive, [wanted(1, b"x", 7)])

    assert len(held) == 8
    assert (b"CARD/zz", False, "copy") in held


def test_memory_holds_a_part_of_what_is_asked(archive):
    """With what this needed in memory, the same limit was an error."""
    count = 40_000
    for start in range(0, count, 10_000):
        archive.add([record(n, b"DCIM/%05d/C%08d.MP4" % (n // 500, n), n) for n in range(start, start + 10_000)])

    told = answers(archive, [wanted(n, b"%08d" % n, n) for n in range(count)], memory="40MB")

    assert len(told) == count
    assert all(len(held) == 1 for _, held in told)
