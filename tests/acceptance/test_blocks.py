"""Blocks of big files: kept beside the manifest, and named by verify where they are damaged."""

from __future__ import annotations

import json
import os
import random

import pyarrow.parquet as pq
import pytest

MIB = 1 << 20
SIZE = 5 * MIB + 12345


@pytest.fixture(scope="module")
def card(shared):
    noise = random.Random(5).randbytes(SIZE)
    return shared.plant(
        "BIG", {"CLIP.MOV": noise, "TWO.MOV": noise[7:], "small.xml": noise[:300], "one.jpg": noise[:MIB]}
    )


@pytest.fixture
def archived(ingest, card, archive):
    done = ingest.run("copy", card, archive, "--json")
    assert done.returncode == 0, done.stderr
    return archive / "BIG"


def verified(ingest, archive) -> tuple[int, dict]:
    done = ingest.run("verify", archive, "--json")
    return done.returncode, json.loads(done.stdout)


def test_only_files_of_more_than_one_block_have_values(archived, archive):
    (part,) = archive.glob(".ingest/manifests/*/blocks-*.parquet")
    rows = pq.read_table(part).to_pylist()

    assert part.name == "blocks-0001.parquet"
    assert sorted((row["size"], row["block_size"], len(row["values"])) for row in rows) == [
        (SIZE - 7, MIB, 6 * 32), (SIZE, MIB, 6 * 32),
    ]  # fmt: skip


def flip(path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 0x40]))


CASES = {
    "first byte": (lambda path: flip(path, 0), SIZE, [[0, MIB]]),
    "a byte in the middle": (lambda path: flip(path, 3 * MIB - 1), SIZE, [[2 * MIB, 3 * MIB]]),
    "last byte": (lambda path: flip(path, SIZE - 1), SIZE, [[5 * MIB, SIZE]]),
    "two neighbours": (lambda path: (flip(path, MIB), flip(path, 2 * MIB)), SIZE, [[MIB, 3 * MIB]]),
    "two apart": (lambda path: (flip(path, 0), flip(path, 2 * MIB)), SIZE, [[0, MIB], [2 * MIB, 3 * MIB]]),
    "cut off": (lambda path: os.truncate(path, 2 * MIB + 5), 2 * MIB + 5, [[2 * MIB, SIZE]]),
    "cut off between blocks": (lambda path: os.truncate(path, 2 * MIB), 2 * MIB, [[2 * MIB, SIZE]]),
    "emptied": (lambda path: os.truncate(path, 0), 0, [[0, SIZE]]),
    "longer": (lambda path: os.truncate(path, SIZE + 10), SIZE + 10, [[SIZE, SIZE + 10]]),
    "longer by whole blocks": (lambda path: os.truncate(path, 9 * MIB), 9 * MIB, [[SIZE, 9 * MIB]]),
}


@pytest.mark.parametrize("case", CASES)
def test_verify_names_the_damaged_ranges_and_the_lengths(ingest, archived, archive, case):
    harm, size, ranges = CASES[case]
    harm(archived / "CLIP.MOV")

    code, document = verified(ingest, archive)

    assert code == 3
    (found,) = document["changed"]
    assert found["path"] == str(archived / "CLIP.MOV")
    assert (found["size"], found["expected_size"]) == (size, SIZE)
    assert found["ranges"] == ranges
    assert (document["checked"], document["ok"]) == (4, 3)


def test_a_file_of_one_block_is_one_range(ingest, archived, archive):
    flip(archived / "small.xml", 17)
    flip(archived / "one.jpg", 17)

    _, document = verified(ingest, archive)

    assert {found["path"]: found["ranges"] for found in document["changed"]} == {
        str(archived / "small.xml"): [[0, 300]], str(archived / "one.jpg"): [[0, MIB]],
    }  # fmt: skip


def test_people_are_told_which_bytes(ingest, archived, archive):
    flip(archived / "CLIP.MOV", 3 * MIB)
    os.truncate(archived / "TWO.MOV", SIZE - 8)

    done = ingest.run("verify", archive)

    assert done.returncode == 3
    assert "bytes 3,145,728 to 4,194,304 (1.0 MB)" in done.stdout
    assert "1 byte is missing at its end" in done.stdout
