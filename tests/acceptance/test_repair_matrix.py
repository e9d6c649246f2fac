"""Whatever the damage, its place, where the right bytes are and what file system: repaired, proven, and the bar kept."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest

MIB = 1 << 20
SIZE = 3 * MIB + 12_345
BLOCKS = {"first": 0, "middle": 1, "last": 3}
DAMAGES = ["flipped", "zeroed", "truncated", "extended", "missing"]
PLACES = list(BLOCKS)
KINDS = ["here", "xfs", "btrfs", "tmpfs", "vfat", "exfat"]
SHARES = {"xfs": "reflink", "btrfs": "reflink"}
STEPS = {"vfat": 2_000_000_000, "exfat": 1_000_000_000}  # of a file's time, in ns
FULL = os.environ.get("INGEST_CAMPAIGN") == "full"
# What is wrong where, and from where it is fetched, does not depend on the file system; how the right bytes get there
# and take the damaged file's place does. Each damage, at places that change, meets each file system.
EVERYTHING = [(how, place) for how in DAMAGES for place in PLACES]
SOME = [(how, PLACES[number % len(PLACES)]) for number, how in enumerate(DAMAGES)]
RUNS = [
    (kind, source, EVERYTHING if FULL or kind == "here" else SOME)
    for number, kind in enumerate(KINDS)
    for source in (("archive", "card") if FULL or kind == "here" else (("archive", "card")[number % 2],))
]


def span(place: str) -> tuple[int, int]:
    return BLOCKS[place] * MIB, min(SIZE, (BLOCKS[place] + 1) * MIB)


def damage(path: Path, how: str, place: str) -> list[list[int]]:
    """Damage a file, its times kept; the ranges that are wrong then, in whole blocks."""
    start, end = span(place)
    facts = path.stat()
    if how == "missing":
        path.unlink()
        return [[0, SIZE]]
    with path.open("r+b") as file:
        if how == "flipped":
            file.seek((start + end) // 2)
            (byte,) = file.read(1)
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte ^ 1]))
        elif how == "zeroed":
            file.seek(start)
            file.write(bytes(end - start))
        elif how == "truncated":
            file.truncate((start + end) // 2)
        else:
            more = {"first": 1, "middle": MIB, "last": 2 * MIB + 7}[place]
            file.seek(0, os.SEEK_END)
            file.write(b"\xa5" * more)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    if how == "truncated":
        return [[start, SIZE]]
    return [[start, end]] if how != "extended" else [[SIZE, SIZE + more]]


def noted(folder: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Every file below a folder: inode, times, bytes."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    facts = {path: path.stat() for path in files}
    return {
        str(path): (facts[path].st_ino, facts[path].st_mtime_ns, facts[path].st_ctime_ns, path.read_bytes())
        for path in files
    }


@dataclass(frozen=True)
class Ran:
    """One repair of several files, each damaged in its own way."""

    kind: str
    card: Path
    archive: Path
    wrong: dict[str, list[list[int]]]
    damaged: dict[str, bytes]
    told: Any
    verified: Any
    untouched: bool


@pytest.fixture(scope="module", params=RUNS, ids=lambda run: "-".join(run[:2]))
def ran(request, shared, keep_disk):
    kind, source, cases = request.param
    names = [f"{how}-{place}.mov" for how, place in cases]
    card = shared.plant(f"CARD-{kind}-{source}", {name: Random(name).randbytes(SIZE) for name in names})
    backup = shared.plant(f"backup-{kind}-{source}", {})
    archive = keep_disk(kind) / "archive"
    archive.mkdir()
    also = ("--also", backup) if source == "archive" else ()
    assert shared.tell("copy", card, archive, *also).code == 0
    wrong, damaged = {}, {}
    for name in names:
        path = archive / card.name / name
        wrong[name] = damage(path, *name.removesuffix(".mov").split("-"))
        damaged[name] = path.read_bytes() if path.exists() else b""
    other = card if source == "card" else backup
    before = noted(other)
    told = shared.tell("repair", archive, "--from", other)
    return Ran(
        kind, card, archive, wrong, damaged, told, shared.tell("verify", archive, "--strict"), noted(other) == before
    )


@pytest.mark.root
def test_everything_is_sound_and_the_other_place_as_it_was(ran):
    assert ran.told.code == 0, ran.told
    assert ran.untouched
    assert len(ran.told.document["repaired"]) == len(ran.wrong)
    assert ran.told.document["failed"] == []
    assert ran.verified.code == 0, ran.verified
    assert ran.verified.document["extra"] == []
    assert ran.told.document["bytes"]["fetched"] == sum(each["bytes_fetched"] for each in ran.told.document["repaired"])
    assert not list((ran.archive / ".ingest/staging").iterdir())
    assert not (ran.archive / ".ingest/repair").exists()


@pytest.mark.root
def test_each_file_is_right_and_only_damaged_blocks_were_fetched(ran):
    told = {Path(each["path"]).name: each for each in ran.told.document["repaired"]}
    assert {name: found(ran, name, told[name]) for name in ran.wrong} == {name: due(ran, name) for name in ran.wrong}


def found(ran, name, told):
    """What is there of a file after the repair, and what was told of it."""
    path, step = ran.archive / ran.card.name / name, STEPS.get(ran.kind, 1)
    return {
        "path": told["path"], "right": path.read_bytes() == (ran.card / name).read_bytes(),
        "time": path.stat().st_mtime_ns // step, "ranges": told["ranges"], "fetched": told["bytes_fetched"],
        "quarantined": told["quarantine"] and Path(told["quarantine"]).read_bytes() == ran.damaged[name],
        "exchange": told["exchange"], "strategy": told["strategy"],
    }  # fmt: skip


def due(ran, name):
    how, _ = name.split("-")
    missing, ranges = how == "missing", ran.wrong[name]
    return {
        "path": str(ran.archive / ran.card.name / name), "right": True,
        "time": (ran.card / name).stat().st_mtime_ns // STEPS.get(ran.kind, 1), "ranges": ranges,
        "fetched": 0 if how == "extended" else ranges[0][1] - ranges[0][0],
        "quarantined": None if missing else True,
        "exchange": None if missing else "ladder" if ran.kind == "exfat" else "exchange",
        "strategy": "copy" if missing else SHARES.get(ran.kind, "copy"),
    }  # fmt: skip
