"""Blocks beside a part: written before it, found by content, proven by the digest."""

from __future__ import annotations

import pytest

from ingest import engine
from ingest.errors import ManifestError
from ingest.manifest.blocks import Blocks, blocks_path, find_blocks, write_blocks
from ingest.manifest.chain import chain
from ingest.manifest.parts import write_part
from ingest.pipeline.verify import verify

SESSION = "1b4e28ba-2fa1-11d2-883f-0016d3cca427"
LATER = "1b4e28ba-3fa1-11d2-883f-0016d3cca427"
MIB = 1 << 20


def content(seed: int, size: int) -> bytes:
    return (bytes((seed + n) % 251 for n in range(251)) * (size // 251 + 1))[:size]


def blocks_of(archive, name: bytes, data: bytes, item: int = 1) -> Blocks:
    archive.put(name, data)
    ((values, *_),) = engine.inspect(archive.root, [name], [len(data)])
    return Blocks(item, len(data), engine.blake3(data), values)


@pytest.fixture
def kept(holding):
    """An archive with one file of three blocks, and a part that has its blocks."""
    archive = holding({})
    row = blocks_of(archive, b"CARD/clip.mov", content(3, 2 * MIB + 77))
    return archive, row


def test_blocks_are_found_by_content_whatever_the_session(kept):
    archive, row = kept
    other = blocks_of(archive, b"CARD/b.mov", content(4, 5 * MIB))
    write_blocks(archive.root, SESSION, 1, [row])
    write_blocks(archive.root, LATER, 7, [other])

    assert find_blocks(archive.root, row.blake3, row.size) == row.values
    assert find_blocks(archive.root, other.blake3, other.size) == other.values
    assert find_blocks(archive.root, other.blake3, row.size) is None
    assert find_blocks(archive.root, bytes(32), row.size) is None


def test_values_that_do_not_merge_into_the_digest_are_not_believed(kept):
    archive, row = kept
    lie = Blocks(1, row.size, row.blake3, bytes(len(row.values)))
    write_blocks(archive.root, SESSION, 1, [lie])
    assert find_blocks(archive.root, row.blake3, row.size) is None

    write_blocks(archive.root, SESSION, 2, [row])
    assert find_blocks(archive.root, row.blake3, row.size) == row.values


def test_a_damaged_file_of_blocks_is_passed_over(kept):
    archive, row = kept
    for number in (1, 2):
        write_blocks(archive.root, SESSION, number, [row])
    damaged = archive.path / blocks_path(SESSION, 1).decode()
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)

    assert find_blocks(archive.root, row.blake3, row.size) == row.values


def test_what_a_dead_run_left_under_the_name_goes(kept):
    archive, row = kept
    write_blocks(archive.root, SESSION, 1, [])
    first = (archive.path / blocks_path(SESSION, 1).decode()).read_bytes()

    digest = write_blocks(archive.root, SESSION, 1, [row])

    now = (archive.path / blocks_path(SESSION, 1).decode()).read_bytes()
    assert now != first
    assert engine.blake3(now) == digest
    assert find_blocks(archive.root, row.blake3, row.size) == row.values


def test_an_archive_without_manifests_has_none(archive_at, tmp_path):
    archive = archive_at(tmp_path / "empty")

    assert find_blocks(archive.root, bytes(32), 5 * MIB) is None


@pytest.mark.parametrize("harm", ["gone", "flipped"])
def test_a_part_names_its_blocks_and_verify_misses_them(kept, harm):
    archive, row = kept
    archive.mark()
    part = write_part(archive.root, archive.facts(LATER), [], [row])
    assert part.facts.blocks is not None
    assert chain(archive.root, LATER)[0].facts.blocks == part.facts.blocks
    assert verify([archive.root]).sound

    where = archive.path / blocks_path(LATER, 1).decode()
    if harm == "gone":
        where.unlink()
    else:
        where.write_bytes(b"x" + where.read_bytes()[1:])
    report = verify([archive.root])

    found = report.missing if harm == "gone" else report.changed
    assert [finding.path for finding in found] == [blocks_path(LATER, 1)]
    assert not report.sound


def test_a_part_that_stands_keeps_its_blocks_whatever_is_tried_again(kept):
    """Its name was given, and then a folder could not be flushed: the next try has other rows."""
    archive, row = kept
    first = write_part(archive.root, archive.facts(LATER), [], [row])
    other = blocks_of(archive, b"CARD/b.mov", content(4, 5 * MIB), item=2)

    with pytest.raises(ManifestError, match="taken by another part"):
        write_part(archive.root, archive.facts(LATER), [], [row, other])

    stands = (archive.path / blocks_path(LATER, 1).decode()).read_bytes()
    assert engine.blake3(stands) == first.facts.blocks
