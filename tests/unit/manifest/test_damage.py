"""Parts that are not what was written: each kind of damage, at every place."""

from __future__ import annotations

import os
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingest import engine
from ingest.errors import ManifestError, MissingError
from ingest.manifest import codec
from ingest.manifest.chain import Damage, chain, walk_chain
from ingest.manifest.codec import decode
from ingest.manifest.parts import list_parts
from ingest.manifest.reader import Rows, open_manifests
from ingest.manifest.schema import FORMAT_VERSION, SCHEMA, NewerFormatError

SESSION = "1b4e28ba-2fa1-11d2-883f-0016d3cca427"
OTHER = "2c5f39cb-2fa1-11d2-883f-0016d3cca427"


@pytest.fixture
def part(archive, record) -> bytes:
    archive.add([record(n, b"DCIM/%d.mov" % n, b"%d" % n) for n in range(1, 21)])
    return archive.part_file(1).read_bytes()


def sealed(table: pa.Table, metadata: dict[str, str]) -> bytes:
    """A part of another program that keeps the seal: what a later version of this one would write."""
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, table.schema) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({**metadata, codec.SEAL_KEY: "0" * 64})
    blank = sink.getvalue().to_pybytes()
    at = blank.rfind(b"ingest.seal") + len(b"ingest.seal") + 2
    assert blank[at : at + 64] == b"0" * 64
    return blank[:at] + engine.blake3(blank).hex().encode() + blank[at + 64 :]


def facts_of(part: bytes) -> dict[str, str]:
    metadata = pq.ParquetFile(pa.BufferReader(part)).metadata.metadata
    return {key.decode(): value.decode() for key, value in metadata.items() if key.startswith(b"ingest.")}


def test_a_part_is_intact_as_it_was_written(part):
    facts, rows = decode(part, b"part")

    assert (facts.session, rows) == (SESSION, 20)


def test_a_flipped_bit_is_found_wherever_it_is(part):
    for at in range(len(part)):
        damaged = bytearray(part)
        damaged[at] ^= 1 << at % 8
        with pytest.raises(ManifestError):
            decode(bytes(damaged), b"part")


def test_a_truncated_part_is_found_at_every_length(part):
    for length in range(len(part)):
        with pytest.raises(ManifestError):
            decode(part[:length], b"part")


@pytest.mark.parametrize("more", [b"\0", b"PAR1", b"x" * 4096])
def test_bytes_at_the_end_are_found(part, more):
    with pytest.raises(ManifestError):
        decode(part + more, b"part")


def test_a_seal_inside_a_text_does_not_pose_as_the_seal(archive, record):
    text = "ingest.seal\x18@" + "0" * 64

    archive.add([record(1, text.encode(), reason=text)], label=text, options=text, operator=text)

    assert decode(archive.part_file(1).read_bytes(), b"part")[0].label == text


def test_the_error_names_the_file_and_the_next_step(archive, part):
    archive.part_file(1).write_bytes(part[:-1])

    with pytest.raises(ManifestError) as caught:
        open_manifests([archive.root])

    assert caught.value.path == os.fsencode(archive.part_file(1))
    assert caught.value.advice


def test_a_newer_part_is_refused_with_its_name_and_what_to_do(archive, part):
    newer = sealed(pa.table({"session": ["x"]}), {**facts_of(part), "ingest.format": str(FORMAT_VERSION + 1)})
    archive.part_file(1).write_bytes(newer)

    with pytest.raises(NewerFormatError, match="newer version of ingest") as caught:
        open_manifests([archive.root])

    assert caught.value.path == os.fsencode(archive.part_file(1))


def test_a_later_parts_new_columns_are_ignored_and_its_missing_ones_are_null(archive, part, ask):
    table = pq.read_table(pa.BufferReader(part))
    table = table.drop_columns(["camera", "worker"]).append_column("colour", pa.array([b"12345678"] * 20))
    archive.part_file(1).write_bytes(sealed(table, facts_of(part)))

    rows = ask([archive.root], "SELECT * FROM copies")

    assert len(rows) == 20
    assert list(rows[0]) == SCHEMA.names
    assert {row["worker"] for row in rows} == {None}


@pytest.mark.parametrize("version", ["0", "-1", "one", "", "1.0"])
def test_a_version_that_is_none_is_refused(part, version):
    with pytest.raises(ManifestError, match="version"):
        decode(sealed(pq.read_table(pa.BufferReader(part)), {**facts_of(part), "ingest.format": version}), b"part")


def test_a_sealed_file_of_something_else_is_refused(part):
    with pytest.raises(ManifestError, match="not a part"):
        decode(sealed(pq.read_table(pa.BufferReader(part)), {"other": "1"}), b"part")


@pytest.mark.parametrize("key", ["ingest.session", "ingest.part", "ingest.created_ns", "ingest.root", "ingest.state"])
def test_facts_that_every_version_has_must_be_there(part, key):
    facts = facts_of(part)
    del facts[key]

    with pytest.raises(ManifestError, match="facts"):
        decode(sealed(pq.read_table(pa.BufferReader(part)), facts), b"part")


def test_a_column_of_another_type_is_refused(part):
    table = pq.read_table(pa.BufferReader(part))
    at = table.schema.get_field_index("size")
    table = table.set_column(at, "size", table["size"].cast(pa.string()))

    with pytest.raises(ManifestError, match="column size"):
        decode(sealed(table, facts_of(part)), b"part")


def test_a_column_that_every_version_has_must_be_there(part):
    table = pq.read_table(pa.BufferReader(part)).drop_columns(["state"])

    with pytest.raises(ManifestError, match="no column state"):
        decode(sealed(table, facts_of(part)), b"part")


def test_a_fifo_under_a_parts_name_does_not_block(archive, record):
    archive.add([record(1, b"A")])
    archive.part_file(1).unlink()
    os.mkfifo(archive.part_file(1))

    with pytest.raises(ManifestError, match="not a part"):
        chain(archive.root)


@pytest.fixture
def chained(archive, record):
    for n in range(1, 6):
        archive.add([record(n, b"%d" % n)])
    archive.add([record(1, b"other")], OTHER)
    return archive


def damage(archive) -> list[Damage]:
    return [found for found in walk_chain(archive.root, list_parts(archive.root)) if isinstance(found, Damage)]


def test_an_intact_chain_holds(chained):
    assert damage(chained) == []
    assert [(part.facts.session, part.number) for part in chain(chained.root)] == [
        *((SESSION, n) for n in range(1, 6)),
        (OTHER, 1),
    ]


@pytest.mark.parametrize("number", [1, 2, 4])
def test_a_removed_part_is_missed_by_name(chained, number):
    chained.part_file(number).unlink()

    (found,) = damage(chained)

    assert found.missing
    assert found.path == os.fsencode(os.path.relpath(chained.part_file(number), chained.path))
    with pytest.raises(ManifestError, match="missing"):
        chain(chained.root)


def test_a_wide_gap_is_told_once(chained, record):
    for number in (2, 3, 4):
        chained.part_file(number).unlink()
    chained.part_file(5).unlink()
    chained.add([record(1, b"late")], number=90_000)

    (found,) = damage(chained)

    assert "2 to 89999" in found.reason


@pytest.mark.parametrize("number", [1, 3, 5])
def test_a_damaged_part_is_told_once(chained, number):
    data = bytearray(chained.part_file(number).read_bytes())
    data[100] ^= 1
    chained.part_file(number).write_bytes(data)

    (found,) = damage(chained)

    assert found.path.endswith(b"items-%04d.parquet" % number)
    assert not found.missing


def test_a_sound_part_in_the_place_of_another_breaks_the_chain(chained, record, tmp_path, archive_at):
    forged = archive_at(tmp_path / "forged")
    forged.add([record(2, b"2", b"other bytes")], number=2, previous=chain(chained.root)[0].blake3)
    shutil.copyfile(forged.part_file(2), chained.part_file(2))

    (found,) = damage(chained)

    assert found.path.endswith(b"items-0002.parquet")
    assert "part 3" in found.reason


def test_a_first_part_that_names_one_before_it_breaks_the_chain(archive, record):
    archive.add([record(1, b"1")], previous=b"\x11" * 32)

    (found,) = damage(archive)

    assert found.path.endswith(b"items-0001.parquet")


def test_a_root_without_manifests_is_not_found(archive):
    with pytest.raises(MissingError) as caught:
        open_manifests([archive.root])

    assert caught.value.path == archive.root.path


def test_a_column_whose_name_is_no_text_is_refused_whatever_the_seal_says(part):
    """The names stand in the schema, and again in each group of rows."""
    refused, at = 0, part.find(b"attempts")
    while at >= 0:
        blank = codec._with_seal(part[:at] + b"\xff" + part[at + 1 :], b"0" * 64)
        try:
            decode(codec._with_seal(blank, engine.blake3(blank).hex().encode()), b"part")
        except ManifestError as error:
            refused += bool(error.advice)
        at = part.find(b"attempts", at + 1)
    assert refused


def test_rows_whose_text_is_none_are_refused_whatever_the_seal_says(archive, part):
    known = pq.ParquetFile(pa.BufferReader(part))
    table, facts = known.read(), known.metadata.metadata
    at = table.schema.get_field_index("verify_method")
    lies = pa.Array.from_buffers(pa.binary(), 1, pa.array([b"\xff\x80"]).buffers()).cast(pa.binary())
    text = pa.Array.from_buffers(pa.string(), 1, lies.buffers())
    changed = table.slice(0, 1).set_column(at, table.schema.field(at), text)
    told = {k.decode(): v.decode() for k, v in facts.items() if k.startswith(b"ingest.") and b"seal" not in k}
    archive.part_file(1).write_bytes(sealed(changed, told))

    with pytest.raises(ManifestError, match="cannot be read"):
        list(Rows(open_manifests([archive.root])).batches())
