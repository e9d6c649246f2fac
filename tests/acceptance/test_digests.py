"""Further digests from the same read: columns of the manifest, whatever way an item went."""

from __future__ import annotations

import hashlib
import json
import random

import pytest
import xxhash

MIB = 1 << 20
NAMES = ("xxh64", "xxh3", "xxh128", "md5", "sha1", "sha256", "sha512", "c4")
ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def expected(content: bytes) -> dict[str, str]:
    sha512 = hashlib.sha512(content)
    number, text = int.from_bytes(sha512.digest(), "big"), ""
    while number:
        number, rest = divmod(number, 58)
        text = ALPHABET[rest] + text
    return {
        "xxh64": xxhash.xxh64(content).hexdigest(), "xxh3": xxhash.xxh3_64(content).hexdigest(),
        "xxh128": xxhash.xxh3_128(content).hexdigest(), "md5": hashlib.md5(content).hexdigest(),
        "sha1": hashlib.sha1(content).hexdigest(), "sha256": hashlib.sha256(content).hexdigest(),
        "sha512": sha512.hexdigest(), "c4": "c4" + text.rjust(88, "1"),
    }  # fmt: skip


@pytest.fixture(scope="module")
def card(shared):
    noise = random.Random(9).randbytes(20 * MIB)
    small = {f"100/{number:03}.JPG": noise[number : 2 * number + 10] for number in range(40)}
    return shared.plant("HASHED", {**small, "empty": b"", "CLIP.MOV": noise, "MID.MOV": noise[: 3 * MIB + 1]})


def told(ingest, root) -> dict[str, dict[str, str | None]]:
    done = ingest.run("query", f"SELECT path, {', '.join(NAMES)} FROM latest", "--root", root, "--json")
    assert done.returncode == 0, done.stderr
    return {row.pop("path"): row for row in json.loads(done.stdout)}


@pytest.mark.parametrize("threads", ["1", "2"])
def test_every_digest_of_every_file_stands_in_the_manifest_of_each_archive(ingest, card, archive, backup, threads):
    asked = [word for name in NAMES for word in ("--hash", name)]
    done = ingest.run("copy", card, archive, "--also", backup, "--threads", threads, *asked, "--json")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["bytes"]["read"] == sum(p.stat().st_size for p in card.rglob("*") if p.is_file())
    want = {
        f"HASHED/{path.relative_to(card)}": expected(path.read_bytes()) for path in card.rglob("*") if path.is_file()
    }
    assert told(ingest, archive) == want
    assert told(ingest, backup) == want
    assert ingest.run("verify", archive, "--strict").returncode == 0


def test_only_what_was_asked_for_is_computed(ingest, card, archive):
    assert ingest.run("copy", card, archive, "--hash", "MD5", "--hash", "md5").returncode == 0

    rows = told(ingest, archive)

    assert all(row["md5"] is not None for row in rows.values())
    assert {value for row in rows.values() for name, value in row.items() if name != "md5"} == {None}


def test_c4_is_sha512_written_in_another_way(ingest, card, archive):
    assert ingest.run("copy", card, archive, "--hash", "c4").returncode == 0

    rows = told(ingest, archive)

    clip = expected((card / "CLIP.MOV").read_bytes())
    assert (rows["HASHED/CLIP.MOV"]["c4"], rows["HASHED/CLIP.MOV"]["sha512"]) == (clip["c4"], clip["sha512"])


def test_an_unknown_digest_is_refused(ingest, card, archive):
    done = ingest.run("copy", card, archive, "--hash", "crc32")

    assert done.returncode == 2
    assert "crc32" in done.stderr
    assert "xxh128" in done.stderr
    assert not list(archive.iterdir())
