"""kill -9 of `ingest repair`, at the nth call of everything that changes something; with names that change at once, and
on a system that cannot do that.

After each kill nothing is lost: what stood under a name stands there still or is in quarantine, and a name that is
empty has both the damaged file and the proven new one below `.ingest`. The next `ingest repair` alone makes the archive
sound, leaves nothing behind, and tells of each file once.
"""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from processes import spread

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FULL = os.environ.get("INGEST_CAMPAIGN") == "full"
pytestmark = pytest.mark.timeout(3600 if FULL else 300)
CALLS = ["pwrite64", "write", "fsync", "renameat2", "linkat", "mkdirat", "unlinkat", "rmdir", "ioctl", "ftruncate"]
MOST = None if FULL else 2  # points of one call
AT_ONCE = os.cpu_count() or 1
MIB = 1 << 20
FILES = {"clip.mov": 2 * MIB + 77, "still.jpg": 90_000, "gone.jpg": 4_000, "right.jpg": 5_000}


@dataclass
class Rounds:
    """Archives with the same damage, each repaired, killed at it, and repaired again."""

    template: Path
    folder: Path
    shell: Any
    tally: Counter
    right: dict[str, bytes]
    damaged: dict[str, bytes]
    numbers: Iterator[int] = field(default_factory=count)

    def prepare(self) -> Path:
        place = self.folder / f"round-{next(self.numbers)}"
        shutil.copytree(self.template, place)
        return place

    def start(self, place: Path, *strace: str) -> Any:
        # Nothing but what repair itself calls: Python and its libraries read and map, and change nothing.
        return self.shell.traced(
            "repair", place / "archive", "--from", place / "backup", strace=["-o", "/dev/null", *strace]
        )

    def nothing_lost(self, place: Path) -> None:
        """Under each name stands what did or what should; or there is nothing for a moment, and both are kept."""
        archive = place / "archive"
        for name, right in self.right.items():
            path, damaged = archive / "CARD" / name, self.damaged.get(name)
            kept = [file.read_bytes() for file in archive.glob(f".ingest/quarantine/*/CARD/{name}")]
            staged = [file.read_bytes() for file in archive.glob(".ingest/staging/*/*.part")]
            now = path.read_bytes() if path.exists() else None
            if now is None and damaged is not None:
                assert damaged in kept, f"{name} is lost"
                assert right in staged, f"{name}: nothing could take its place"
            elif now == right and damaged is not None and damaged != right:
                assert damaged in kept + staged, f"the damaged {name} is lost"
            else:
                assert now in (right, damaged), f"{name} holds something else"
            self.tally["names looked at"] += 1

    def repaired(self, place: Path) -> None:
        """One more repair, and everything is as if there had been one only."""
        archive = place / "archive"
        ended = self.shell.run("repair", archive, "--from", place / "backup")
        assert (ended.code, ended.document["failed"]) == (0, []), ended
        for name, right in self.right.items():
            assert (archive / "CARD" / name).read_bytes() == right
            assert (archive / "CARD" / name).stat().st_nlink == 1
        for name, damaged in self.damaged.items():
            if damaged is not None and damaged != self.right[name]:
                (kept,) = archive.glob(f".ingest/quarantine/*/CARD/{name}")
                assert kept.read_bytes() == damaged
                assert kept.stat().st_nlink == 1
        verified = self.shell.run("verify", archive, "--strict")
        assert (verified.code, verified.document["extra"]) == (0, []), verified
        assert not list((archive / ".ingest/staging").iterdir()), "staging was not cleared"
        assert not (archive / ".ingest/repair").exists()
        told = self.shell.run(
            "query",
            "SELECT path, count(*) AS n FROM copies WHERE operation = 'repair' GROUP BY path",
            "--root",
            archive,
        ).document["reports"]
        assert {row["path"]: row["n"] for row in told} == dict.fromkeys((f"CARD/{name}" for name in self.damaged), 1), (
            told
        )
        shutil.rmtree(place)


@pytest.fixture
def rounds(make_card, shell, tally, tmp_path):
    card = make_card(FILES)
    template = tmp_path / "template"
    for name in ("archive", "backup"):
        (template / name).mkdir(parents=True)
    assert shell.run("copy", card.folder, template / "archive", "--also", template / "backup").code == 0
    right = {name: (card.folder / name).read_bytes() for name in FILES}
    copies = template / "archive" / "CARD"
    flipped = bytearray(right["clip.mov"])
    flipped[MIB + 5] ^= 1
    damaged: dict[str, bytes | None] = {
        "clip.mov": bytes(flipped),
        "still.jpg": right["still.jpg"][:50_000],
        "gone.jpg": None,
    }
    for name, data in damaged.items():
        (copies / name).unlink()
        if data is not None:
            (copies / name).write_bytes(data)
    return Rounds(template, tmp_path, shell, tally, right, damaged)


def counted(rounds: Rounds, *inject: str) -> Counter:
    """How often a thread makes each call, at most, in a run that nobody disturbs."""
    place, log = rounds.prepare(), rounds.folder / "calls"
    traced = ["-o", str(log), "-e", f"trace={','.join(CALLS)}", *inject]
    running = rounds.shell.traced("repair", place / "archive", "--from", place / "backup", strace=traced)
    assert running.end().code == 0
    by_thread = Counter(re.findall(rf"^(\d+) +({'|'.join(CALLS)})\(", log.read_text(), re.MULTILINE))
    most: Counter = Counter()
    for (_, call), number in by_thread.items():
        most[call] = max(most[call], number)
    shutil.rmtree(place)
    return most


# Where exchanging is unknown; strace cannot tell its flag from that of a no-replace rename, so links take all names.
LADDER = ("-e", "inject=renameat2:error=EINVAL")


@pytest.mark.slow
@pytest.mark.parametrize("inject", [(), LADDER], ids=["at-once", "in-turn"])
def test_killed_at_any_call_the_next_repair_finishes(rounds, tally, inject):
    calls = counted(rounds, *inject)
    assert calls["fsync"] > 10
    assert calls["linkat" if inject else "renameat2"] >= 4
    del calls["renameat2" if inject else "linkat"]  # the former always fails there, the latter is never made here
    points = [(call, nth) for call, number in sorted(calls.items()) for nth in spread(number, MOST)]

    def one(point: tuple[str, int]) -> None:
        call, nth = point
        place = rounds.prepare()
        kill = ("-e", f"trace={call},renameat2", *inject, "-e", f"inject={call}:signal=KILL:when={nth}")
        if rounds.start(place, *kill).end_killed():
            tally["hits"] += 1
        else:
            tally["runs that ended before the kill"] += 1
        rounds.nothing_lost(place)
        rounds.repaired(place)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(one, points))

    assert tally["hits"] >= (60 if FULL else 14), tally


def test_killed_again_and_again_it_is_finished_in_the_end(rounds, tally):
    place = rounds.prepare()
    for nth in range(2, 40, 1 if FULL else 5):
        kill = ("-e", "trace=fsync", *LADDER, "-e", f"inject=fsync:signal=KILL:when={nth}")
        if not rounds.start(place, *kill).end_killed():
            break
        tally["hits"] += 1
        rounds.nothing_lost(place)
    rounds.repaired(place)
    assert tally["hits"] >= 3


@pytest.mark.slow
def test_where_names_change_in_turn_a_flush_that_fails_loses_neither_file(rounds, tally):
    """Also one of the folders between the two names: the next repair finishes what was noted."""
    flushes = counted(rounds, *LADDER)["fsync"]

    def one(nth: int) -> None:
        place = rounds.prepare()
        fails = ("-e", "trace=fsync,renameat2", *LADDER, "-e", f"inject=fsync:error=EIO:when={nth}")
        rounds.start(place, *fails).end()
        tally["faults met"] += 1
        rounds.nothing_lost(place)
        rounds.repaired(place)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(one, spread(flushes, None if FULL else 8)))


def test_without_exchange_and_links_the_names_change_in_turn(faulty_disk, rounds):
    """A file system that knows neither flags nor links: the last rung, still with nothing lost."""
    disk = faulty_disk(library="fuse")
    shutil.copytree(rounds.template / "archive", disk.mount / "archive")
    disk.rules({"op": "link", "err": "EPERM", "count": 0})

    ended = rounds.shell.run("repair", disk.mount / "archive", "--from", rounds.template / "backup")

    assert ended.code == 0, ended
    told = {os.path.basename(each["path"]): each for each in ended.document["repaired"]}
    assert told["clip.mov"]["exchange"] == told["still.jpg"]["exchange"] == "ladder"
    for name, right in rounds.right.items():
        assert (disk.backing / "archive/CARD" / name).read_bytes() == right
        rounds.tally["names looked at"] += 1
    for name in ("clip.mov", "still.jpg"):
        with open(told[name]["quarantine"], "rb") as kept:
            assert kept.read() == rounds.damaged[name]


@pytest.mark.parametrize(
    ("rule", "repaired"),
    [
        ({"op": "write", "path": "/archive/.ingest/staging/repair-*", "err": "ENOSPC"}, False),
        ({"op": "fsync", "path": "/archive/.ingest/staging/repair-*", "err": "EIO"}, False),
        ({"op": "write", "path": "/archive/.ingest/staging/repair-*", "act": "flip"}, False),
        ({"op": "read", "path": "/archive/CARD/clip.mov", "err": "EIO", "count": 0}, True),
    ],
    ids=["full", "flush", "silent-flip", "unreadable"],
)
def test_a_disk_that_fails_while_it_is_repaired(faulty_disk, rounds, rule, repaired):
    disk = faulty_disk()
    shutil.copytree(rounds.template / "archive", disk.mount / "archive")
    disk.rules(rule)

    ended = rounds.shell.run("repair", disk.mount / "archive", "--from", rounds.template / "backup")

    assert disk.hits(), "the fault was met"
    rounds.tally["faults met"] += len(disk.hits())
    now = (disk.backing / "archive/CARD/clip.mov").read_bytes()
    if repaired:
        assert ended.code == 0, ended
        assert now == rounds.right["clip.mov"]
        return
    assert ended.code == 3, ended
    for name, right in rounds.right.items():
        path = disk.backing / "archive/CARD" / name
        assert (path.read_bytes() if path.exists() else None) in (right, rounds.damaged.get(name))
    disk.rules()
    assert rounds.shell.run("repair", disk.mount / "archive", "--from", rounds.template / "backup").code == 0
    assert rounds.shell.run("verify", disk.mount / "archive").code == 0
