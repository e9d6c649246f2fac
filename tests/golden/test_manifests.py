"""Parts of every format version that was ever written are read, and say what they always said."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingest.engine import Root, blake3, inspect
from ingest.manifest.blocks import blocks_path
from ingest.manifest.chain import chain
from ingest.manifest.codec import decode, encode
from ingest.manifest.lookup import BlockLookup
from ingest.manifest.parts import Listed
from ingest.manifest.plain import plain, rows_of
from ingest.manifest.query import query
from ingest.manifest.schema import FORMAT_VERSION, SCHEMA

HERE = Path(__file__).parent
MIB = 1 << 20
PARTS = [(version, number) for version in range(1, FORMAT_VERSION + 1) for number in (1, 2)]


def golden(version: int, number: int) -> tuple[Path, dict[str, object]]:
    """A committed part, and what it has always said."""
    folder = HERE / f"v{version}"
    return folder / f"items-{number:04d}.parquet", json.loads((folder / "said.json").read_text())[number - 1]


def objects(names: list[str], batches: object) -> list[dict[str, object]]:
    return [dict(zip(names, row, strict=True)) for batch in batches for row in rows_of(batch)]


@pytest.mark.parametrize(("version", "number"), PARTS)
def test_arrow_reads_it_without_any_of_our_schema(version, number):
    part, said = golden(version, number)

    table = pq.read_table(part, partitioning=None)

    assert objects(table.column_names, table.to_batches()) == said["rows"]


@pytest.mark.parametrize(("version", "number"), PARTS)
def test_duckdb_reads_it_without_any_of_our_schema(version, number):
    part, said = golden(version, number)

    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        relation = connection.sql(f"FROM read_parquet('{part}', hive_partitioning = false)")
        rows = objects(relation.columns, relation.to_arrow_reader(1000))
        keys = connection.sql(f"SELECT decode(key) FROM parquet_kv_metadata('{part}')").fetchall()

    assert rows == said["rows"]
    assert {("ingest.format",), ("ingest.seal",), ("ingest.session",), ("ingest.sources",)} <= set(keys)


@pytest.mark.parametrize(("version", "number"), PARTS)
def test_its_seal_is_intact_and_its_facts_are_the_same(version, number):
    part, said = golden(version, number)

    facts, rows = decode(part.read_bytes(), os.fsencode(part))

    assert rows == len(said["rows"])
    # What a version did not know has its default.
    told = {key: plain(value) for key, value in dataclasses.asdict(facts).items()}
    assert told == {"blocks": None} | said["facts"]


@pytest.fixture(params=range(1, FORMAT_VERSION + 1))
def root(request, tmp_path) -> tuple[Root, list[dict[str, object]]]:
    """An archive with the golden session on it, and what its rows say."""
    rows = []
    for number in (1, 2):
        part, said = golden(request.param, number)
        place = tmp_path / Listed(said["facts"]["session"], number).path.decode()
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(part, place)
        rows += said["rows"]
    return Root(os.fsencode(tmp_path)), rows


def test_its_chain_holds(root):
    assert [part.number for part in chain(root[0])] == [1, 2]


def test_a_query_shows_what_it_says_and_later_columns_as_null(root):
    with query([root[0]], "SELECT * FROM copies ORDER BY item") as answer:
        shown = [dict(zip(answer.columns, row, strict=True)) for batch in answer for row in batch]

    assert shown == [dict.fromkeys(SCHEMA.names) | row for row in root[1]]


def test_blocks_are_found_by_the_content_of_a_file(tmp_path):
    """Of the file that `make_v2.py` makes: what it was then, it is for every reader."""
    content = (bytes(range(251)) * (3 * MIB // 251))[: 2 * MIB + 77]
    session = json.loads((HERE / "v2/said.json").read_text())[0]["facts"]["session"]
    place = tmp_path / blocks_path(session, 1).decode()
    place.parent.mkdir(parents=True)
    shutil.copyfile(HERE / "v2/blocks-0001.parquet", place)
    (tmp_path / "clip").write_bytes(content)
    root = Root(os.fsencode(tmp_path))

    values = BlockLookup(root).find(blake3(content), len(content))

    ((found, *_),) = inspect(root, [b"clip"], [len(content)])
    assert values == found
    assert len(values) == 3 * 32


def test_todays_writer_writes_the_schema_of_its_version():
    part, _ = golden(FORMAT_VERSION, 1)
    facts, _ = decode(part.read_bytes(), os.fsencode(part))

    today = pq.ParquetFile(pa.BufferReader(encode(facts, b"/mnt/raid", []))).schema_arrow
    committed = pq.ParquetFile(pa.BufferReader(part.read_bytes())).schema_arrow

    changed = "the columns changed: the format needs a new version, and the new version golden parts"
    assert today.remove_metadata() == committed.remove_metadata(), changed
    assert committed.remove_metadata() == SCHEMA, changed


def test_every_version_has_its_golden_parts():
    assert sorted(folder.name for folder in HERE.glob("v*")) == [f"v{n}" for n in range(1, FORMAT_VERSION + 1)]
