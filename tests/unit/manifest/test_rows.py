from __future__ import annotations

import pytest

from ingest.engine import blake3
from ingest.manifest.rows import to_table
from ingest.model.columns import CopyColumns

PLAIN = [b"DCIM/A.MP4", "DCIM/Zo\u00eb.JPG".encode(), b"X/\xf0\x9f\x8e\xac.mov"]
ODD = [b"DCIM/caf\xe9.JPG", b"DCIM/A.MP4", b"\xff"]


def columns(paths: list[bytes], source: bytes = b"/media/CARD") -> CopyColumns:
    many = len(paths)
    return CopyColumns(
        source, list(range(3, 3 + many)), paths, [0, 5, 1 << 40][:many], [-1, 0, 1_718_449_200_000_000_001][:many],
        ["video", "image", "other"][:many], [b"CARD/" + path for path in paths],
        b"".join(blake3(path) for path in paths), ["evicted", "direct", "reread"][:many],
        ["noreplace", "link", "unguarded"][:many], [1_000_999, 1, 2][:many], [4, 5, 6_000][:many], [7, 8, 9_999][:many],
        1_700_000_000_123_456_789, "mmap", 1, ["copy", "reflink", "hardlink"][:many],
    )  # fmt: skip


@pytest.mark.parametrize("source", [b"/media/CARD", b"/media/caf\xe9"])
@pytest.mark.parametrize("paths", [PLAIN, ODD, PLAIN[:1]])
def test_columns_are_the_rows_that_their_copies_are_one_by_one(archive, source, paths):
    told = columns(paths, source)

    assert to_table(archive.facts(), b"/mnt/archive", [told], {}).equals(
        to_table(archive.facts(), b"/mnt/archive", list(told.records()), {})
    )


def test_both_ways_of_telling_keep_their_order(archive):
    told = columns(PLAIN)
    one, two, three = told.records()

    mixed = to_table(archive.facts(), b"/mnt/archive/", [one, told, two, three], {})

    assert mixed.column("item").to_pylist() == [3, 3, 4, 5, 4, 5]
    assert mixed.column("path").num_chunks == 1


def test_nothing_is_a_table_too(archive):
    assert to_table(archive.facts(), b"/", [], {}).num_rows == 0
