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
    """One repair of fifteen files, each damaged in its own way."""

    kind: str
    card: Path
    archive: Path
    wrong: dict[str, list[list[int]]]
    damaged: dict[str, bytes]
    told: Any
    verified: Any
    untouched: bool


@pytest.fixture(
    scope="module", params=[(kind, source) for kind in KINDS for source in ("archive", "card")], ids="-".join
)
def ran(request, shared, keep_disk):
    kind, source = request.param
    names = [f"{how}-{place}.mov" for how in DAMAGES for place in PLACES]
    card = shared.plant(f"CARD-{kind}-{source}", {name: Random(name).randbytes(SIZE) for name in names})
    backup = shared.plant(f"backup-{kind}-{source}", {})
    archive = keep_disk(kind) / "archive"
    archive.mkdir()
    assert shared.tell("copy", card, archive, "--also", backup).code == 0
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
    assert len(ran.told.document["repaired"]) == 15
    assert ran.told.document["failed"] == []
    assert ran.verified.code == 0, ran.verified
    assert ran.verified.document["extra"] == []
    assert ran.told.document["bytes"]["fetched"] == sum(each["bytes_fetched"] for each in ran.told.document["repaired"])
    assert not list((ran.archive / ".ingest/staging").iterdir())
    assert not (ran.archive / ".ingest/repair").exists()


@pytest.mark.root
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("how", DAMAGES)
def test_each_file_is_right_and_only_damaged_blocks_were_fetched(ran, how, place):
    name = f"{how}-{place}.mov"
    path = ran.archive / ran.card.name / name
    (told,) = [each for each in ran.told.document["repaired"] if each["path"] == str(path)]

    assert path.read_bytes() == (ran.card / name).read_bytes()
    step = {"vfat": 2_000_000_000, "exfat": 1_000_000_000}.get(ran.kind, 1)
    assert path.stat().st_mtime_ns // step == (ran.card / name).stat().st_mtime_ns // step
    assert told["ranges"] == ran.wrong[name]
    owed = 0 if how == "extended" else ran.wrong[name][0][1] - ran.wrong[name][0][0]
    assert told["bytes_fetched"] == owed
    if how == "missing":
        assert (told["quarantine"], told["exchange"], told["strategy"]) == (None, None, "copy")
    else:
        assert Path(told["quarantine"]).read_bytes() == ran.damaged[name]
        assert told["exchange"] == ("ladder" if ran.kind == "exfat" else "exchange")
        assert told["strategy"] == SHARES.get(ran.kind, "copy")
