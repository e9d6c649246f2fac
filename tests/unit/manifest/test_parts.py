"""Writing and finding parts."""

from __future__ import annotations

import os

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest import engine
from ingest.errors import DeniedError, IngestError, ManifestError
from ingest.manifest import names
from ingest.manifest.parts import PART_ROWS, list_parts, read_part, write_part

# What a file system can hold as one component, and what it can only hold as bytes.
COMPONENTS = st.binary(min_size=1, max_size=40).filter(lambda name: b"/" not in name and b"\0" not in name)


def test_a_written_part_lies_under_its_session_and_number(archive, record):
    part = archive.add([record(1, b"A/1.mov", b"one")])

    assert archive.part_file(1).read_bytes()
    assert part.path == os.fsencode(os.path.relpath(archive.part_file(1), archive.path))
    assert part.blake3 == engine.blake3(archive.part_file(1).read_bytes())
    assert (part.number, part.rows) == (1, 1)


def test_a_written_part_is_read_back_with_the_same_facts(archive, record):
    archive.add([record(1, b"A/1.mov", b"one")], label="zwölf \udcff", operator="", host="h")
    written = archive.add([record(2, b"A/2.mov", b"two")])

    first, second = (read_part(archive.root, listed) for listed in list_parts(archive.root))

    assert second == written
    assert second.facts.previous == first.blake3
    assert first.facts.label == "zwölf \\udcff"
    assert first.facts.operator == ""


def test_staging_is_empty_after_a_part_was_written(archive, record):
    archive.add([record(1, b"A/1.mov", b"one")])

    left = [name for _, _, files in os.walk(archive.path / ".ingest/staging") for name in files]

    assert left == []


def test_a_part_without_rows_tells_how_a_session_ended(archive):
    archive.add([], state="cancelled")

    (listed,) = list_parts(archive.root)
    part = read_part(archive.root, listed)

    assert (part.rows, part.facts.state) == (0, "cancelled")


def test_too_many_rows_are_refused_before_anything_is_written(archive, record):
    with pytest.raises(ValueError, match="10001"):
        archive.add([record(1, b"A")] * (PART_ROWS + 1))

    assert list_parts(archive.root) == []


def test_a_digest_of_the_wrong_length_is_refused_before_anything_is_written(archive, record):
    with pytest.raises(ValueError, match="32"):
        archive.add([record(1, b"A", blake3=b"short")])

    assert list_parts(archive.root) == []


def test_numbers_grow_past_four_digits(archive, record):
    facts = archive.facts(number=10_000)

    part = write_part(archive.root, facts, [record(1, b"A")])

    assert part.path.endswith(b"/items-10000.parquet")
    assert [listed.number for listed in list_parts(archive.root)] == [10_000]


def test_numbers_are_ordered_as_numbers(archive, record):
    for number in (10_000, 9_999, 2):
        write_part(archive.root, archive.facts(number=number), [record(1, b"A")])

    assert [listed.number for listed in list_parts(archive.root)] == [2, 9_999, 10_000]


@pytest.mark.parametrize(
    "name",
    ["items-1.parquet", "items-0000.parquet", "items-00001.parquet", "items-0001.parquet.bak", "blocks-0001.parquet"],
)
def test_names_that_are_not_parts_are_left_alone(archive, record, name):
    archive.add([record(1, b"A")])
    (archive.part_file(1).parent / name).write_bytes(b"not ours")

    assert [listed.number for listed in list_parts(archive.root)] == [1]


def test_a_root_without_manifests_has_no_parts(archive):
    assert list_parts(archive.root) == []


def test_a_part_that_a_dead_run_published_is_adopted_when_it_is_the_same(archive, record):
    records = [record(1, b"A", b"one")]
    facts = archive.facts()
    first = write_part(archive.root, facts, records)
    before = archive.part_file(1).stat()

    again = write_part(archive.root, facts, records)

    assert again == first
    assert archive.part_file(1).stat().st_ino == before.st_ino
    assert [name for _, _, files in os.walk(archive.path / ".ingest/staging") for name in files] == []


def test_a_taken_name_is_never_replaced(archive, record):
    facts = archive.facts()
    write_part(archive.root, facts, [record(1, b"A", b"one")])
    before = archive.part_file(1).read_bytes()

    with pytest.raises(ManifestError, match="taken") as caught:
        write_part(archive.root, facts, [record(1, b"A", b"other")])

    assert caught.value.path == os.fsencode(archive.part_file(1))
    assert archive.part_file(1).read_bytes() == before


def test_a_manifests_folder_that_is_a_link_is_not_followed(archive, record, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (archive.path / ".ingest/manifests").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(IngestError):
        archive.add([record(1, b"A")])

    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_root_that_cannot_be_written_is_an_error_with_its_path(archive, record):
    (archive.path / ".ingest").chmod(0o500)
    try:
        with pytest.raises(DeniedError):
            archive.add([record(1, b"A")])
    finally:
        (archive.path / ".ingest").chmod(0o700)


def test_a_part_under_another_parts_name_is_refused(archive, record):
    archive.add([record(1, b"A")])
    archive.part_file(1).rename(archive.part_file(7))

    (listed,) = list_parts(archive.root)

    with pytest.raises(ManifestError, match="another name"):
        read_part(archive.root, listed)


@given(path=st.lists(COMPONENTS, min_size=1, max_size=4).map(b"/".join))
def test_every_name_comes_back_as_the_bytes_it_was(path):
    assert names.raw(names.text(path), names.raw_or_none(path)) == path
    assert names.from_json(names.to_json(path)) == path
    assert names.text(path).encode("utf-8")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(paths=st.lists(st.lists(COMPONENTS, min_size=1, max_size=3).map(b"/".join), min_size=1, max_size=5))
def test_every_name_survives_a_part(tmp_path_factory, archive_at, record, paths):
    archive = archive_at(tmp_path_factory.mktemp("names") / "archive")

    archive.add([record(item, path, source_path=b"/card/" + path) for item, path in enumerate(paths, 1)])

    rows = pq.read_table(archive.part_file(1), partitioning=None).to_pylist()
    assert [names.raw(row["path"], row["path_raw"]) for row in rows] == paths
    assert [names.raw(row["source_path"], row["source_path_raw"]) for row in rows] == [b"/card/" + p for p in paths]
    assert all((row["path_raw"] is None) == _is_utf8(path) for row, path in zip(rows, paths, strict=True))


def test_a_newline_in_a_name_stays_as_it_is_and_needs_no_raw_bytes(archive, record):
    archive.add([record(1, b"one\ntwo")])

    (row,) = pq.read_table(archive.part_file(1), partitioning=None).to_pylist()

    assert (row["path"], row["path_raw"]) == ("one\ntwo", None)


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True
