"""Blocks beside a part: written before it, found by content, proven by the digest."""

from __future__ import annotations

import os
from collections import Counter

import pytest

from ingest import engine
from ingest.errors import CancelledError, ManifestError
from ingest.manifest.blocks import Blocks, blocks_path, write_blocks
from ingest.manifest.chain import chain
from ingest.manifest.lookup import BlockLookup
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

    assert BlockLookup(archive.root).find(row.blake3, row.size) == row.values
    assert BlockLookup(archive.root).find(other.blake3, other.size) == other.values
    assert BlockLookup(archive.root).find(other.blake3, row.size) is None
    assert BlockLookup(archive.root).find(bytes(32), row.size) is None


@pytest.mark.parametrize("session", ["\x1b[2J\u202e", "../../etc", "\ud800", ""])
def test_a_row_may_call_its_session_anything(kept, session):
    archive, row = kept
    write_blocks(archive.root, SESSION, 1, [row])

    assert BlockLookup(archive.root).find(row.blake3, row.size, session) == row.values


def test_values_that_do_not_merge_into_the_digest_are_not_believed(kept):
    archive, row = kept
    lie = Blocks(1, row.size, row.blake3, bytes(len(row.values)))
    write_blocks(archive.root, SESSION, 1, [lie])
    assert BlockLookup(archive.root).find(row.blake3, row.size) is None

    write_blocks(archive.root, SESSION, 2, [row])
    assert BlockLookup(archive.root).find(row.blake3, row.size) == row.values


def test_a_damaged_file_of_blocks_is_passed_over(kept):
    archive, row = kept
    for number in (1, 2):
        write_blocks(archive.root, SESSION, number, [row])
    damaged = archive.path / blocks_path(SESSION, 1).decode()
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)

    assert BlockLookup(archive.root).find(row.blake3, row.size) == row.values


def test_what_a_dead_run_left_under_the_name_goes(kept):
    archive, row = kept
    write_blocks(archive.root, SESSION, 1, [])
    first = (archive.path / blocks_path(SESSION, 1).decode()).read_bytes()

    digest = write_blocks(archive.root, SESSION, 1, [row])

    now = (archive.path / blocks_path(SESSION, 1).decode()).read_bytes()
    assert now != first
    assert engine.blake3(now) == digest
    assert BlockLookup(archive.root).find(row.blake3, row.size) == row.values


def test_an_archive_without_manifests_has_none(archive_at, tmp_path):
    archive = archive_at(tmp_path / "empty")

    assert BlockLookup(archive.root).find(bytes(32), 5 * MIB) is None


@pytest.fixture
def opened(monkeypatch):
    """How often each file of blocks was opened."""
    count: Counter[str] = Counter()
    real = os.open

    def counting(path, *args, **kwargs):
        name = os.fsdecode(path)
        count[name] += "blocks-" in name
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", counting)
    return count


SESSIONS = [f"{number:08x}-2fa1-11d2-883f-0016d3cca427" for number in range(12)]


@pytest.fixture
def many(holding):
    """An archive of twelve sessions with five big files each, and what is kept of these."""
    archive = holding({})
    rows = {
        session: [
            blocks_of(archive, b"%d/%d.mov" % (at, n), content(5 * at + n, MIB + 1 + 5 * at + n), n) for n in range(5)
        ]
        for at, session in enumerate(SESSIONS)
    }
    for session in SESSIONS:
        write_blocks(archive.root, session, int(session[:8], 16) + 1, rows[session])
    return archive, rows


def test_many_files_share_what_was_read_of_the_parts(many, opened):
    archive, rows = many
    lookup = BlockLookup(archive.root)

    # One after the other, as they lie in their parts: each is opened once.
    for session in SESSIONS:
        for row in rows[session]:
            assert lookup.find(row.blake3, row.size, session) == row.values
    assert opened.total() == len(SESSIONS)

    # Criss-cross, and without a word whose they are: once for each file, never every part for each file.
    opened.clear()
    for at in range(5):
        for session in SESSIONS:
            row = rows[session][at]
            assert lookup.find(row.blake3, row.size) == row.values
    assert opened.total() <= 5 * len(SESSIONS)

    # What nobody has is looked for nowhere any more.
    opened.clear()
    assert [lookup.find(engine.blake3(b"%d" % n), 5 * MIB) for n in range(100)] == [None] * 100
    assert opened.total() == 0


def test_the_rows_own_session_is_looked_at_first(many, opened):
    archive, rows = many
    row = rows[SESSIONS[7]][3]

    assert BlockLookup(archive.root).find(row.blake3, row.size, SESSIONS[7]) == row.values

    assert +opened == {"blocks-0008.parquet": 1}


def test_a_file_whose_name_is_another_sessions_is_found_in_any(many):
    archive, rows = many
    row = rows[SESSIONS[11]][0]

    assert BlockLookup(archive.root).find(row.blake3, row.size, SESSION) == row.values


def test_verifying_many_damaged_files_opens_each_part_once(many, opened, record):
    archive, rows = many
    archive.mark()
    for at, session in enumerate(SESSIONS):
        told = [
            record(row.item, b"%d/%d.mov" % (at, row.item), content(5 * at + row.item, row.size))
            for row in rows[session]
        ]
        archive.add(told, session)
        for row in rows[session]:
            place = archive.path / f"{at}/{row.item}.mov"
            data = bytearray(place.read_bytes())
            data[MIB] ^= 1
            place.write_bytes(data)

    report = verify([archive.root], threads=1)

    assert [finding.ranges for finding in report.changed] == [((MIB, finding.size),) for finding in report.changed]
    assert len(report.changed) == 5 * len(SESSIONS)
    assert opened.total() == len(SESSIONS)


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


def test_whoever_is_told_to_stop_looks_no_further(kept):
    archive, row = kept
    write_blocks(archive.root, SESSION, 1, [row])
    page = engine.Page()
    page.cancel()

    with pytest.raises(CancelledError):
        BlockLookup(archive.root, page).find(row.blake3, row.size)
