"""Destinations that fill up: at any point of a session, in bytes, in names, or by a quota.

Nothing wrong is there, nothing half-made stays, the other destination is whole, what waits is counted as waiting, and
when there is room again `resume` (or the process that waits) completes it.

5 points on ext4 and 2 in memory by default, 20 of each with ``INGEST_CAMPAIGN=full``.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import threading
import time
from contextlib import contextmanager
from itertools import pairwise
from random import Random

import pytest

pytestmark = pytest.mark.root

FULL = os.environ.get("INGEST_CAMPAIGN") == "full"
POINTS = {"ext4": 3, "tmpfs": 2, "tmpfs inodes": 2}
# Many small files in several batches, some that are copied alone, one that leaves a trail.
FILES = {
    **{f"DCIM/{number:03}/IMG_{number:04}.JPG": 3000 + 1777 * (number % 40) for number in range(300)},
    **{f"CLIP/C{number:04}.MP4": 3_000_000 + 12_345 * number for number in range(5)},
    "CLIP/LONG.MP4": (65 << 20) + 7,
}
SIZE = sum(FILES.values())
SMALL = {"A.JPG": 200_000, "B.MOV": 30_000_000, "C.JPG": 100_000}


def used(disk, *, inodes):
    facts = os.statvfs(disk)
    return facts.f_files - facts.f_ffree if inodes else (facts.f_blocks - facts.f_bfree) * facts.f_frsize


def take_all(folder, *, inodes):
    """Another program takes what is left, at once."""
    facts = os.statvfs(folder)
    assert facts.f_blocks * facts.f_frsize <= 1 << 30, "this is no small disk"
    for number in range(100_000):
        try:
            with (folder / f"{number}").open("xb") as file:
                piece = 0 if inodes else 1 << 40
                while piece >= 4096:
                    try:
                        os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, piece)
                    except OSError as error:
                        assert error.errno in (errno.ENOSPC, errno.EFBIG)  # noqa: PT017 - a smaller one may fit
                        piece //= 2
        except OSError as error:
            assert error.errno == errno.ENOSPC  # noqa: PT017 - what was wanted
            return
        if not inodes and number > 3:
            return


@contextmanager
def another_program(disk, limit, *, inodes):
    """Takes all the room of a disk as soon as so much of it is used."""
    folder = disk / ".Trash-1000"
    folder.mkdir()
    over = threading.Event()

    def watch():
        while not over.is_set() and used(disk, inodes=inodes) < limit:
            time.sleep(0.001)
        if not over.is_set():
            take_all(folder, inodes=inodes)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield folder
    finally:
        over.set()
        thread.join()


def half_made(disk, journal):
    """Staging files on a disk that are not proven copies which only wait for their names."""
    proven = {
        os.fsdecode(row["staging"]) for row in journal.rows("SELECT staging FROM copies WHERE state = 'validated'")
    }
    found = (path for path in (disk / ".ingest/staging").rglob("*") if path.is_file())
    return [path for path in found if str(path.relative_to(disk)) not in proven]


@pytest.mark.parametrize("kind", ["ext4", "tmpfs", "tmpfs inodes"])
def test_a_disk_that_fills_up_at_any_point(make_card, mounts, shell, check, journal, tally, tmp_path, kind):
    inodes = kind == "tmpfs inodes"
    random, points = Random(kind), 20 if FULL else POINTS[kind]
    for point in range(points):
        place = tmp_path / str(point)
        place.mkdir()
        card = make_card(FILES, folder=place / "CARD")
        disk, other = place / "disk", place / "other"
        other.mkdir()
        if kind == "ext4":
            mounts.mount(mounts.image(f"disk-{point}", 160), disk)
        else:
            mounts.tmpfs(disk, "size=160m,nr_inodes=2000")
        already, all_of_it = used(disk, inodes=inodes), 2 * len(FILES) if inodes else SIZE
        limit = already + 3 + int(all_of_it * random.random() * 0.9)

        with another_program(disk, limit, inodes=inodes) as filler:
            ended = shell.run("copy", card.folder, disk, "--also", other)

        document = ended.document
        items, root = document["items"], document["destinations"][0]
        assert ended.code in (0, 8), ended
        if ended.code == 8:
            tally["times full"] += 1
            assert (document["state"], root["state"]) == ("paused(space)", "paused(space)"), document
            assert half_made(disk, journal) == []
        assert items["failed"] == items["changed"] == items["removed"] == 0
        assert items["waiting"] + items["finalized"] == items["discovered"] in (0, len(FILES))
        if items["discovered"]:
            assert document["destinations"][1]["copies"]["finalized"] == len(FILES)
        shutil.rmtree(filler)
        check(card, disk, other, complete=False)
        if ended.code == 8:
            resumed = shell.run("resume")
            assert (resumed.code, resumed.document["state"]) == (0, "completed"), resumed
        check(card, disk, other)
        mounts.vanish(disk)
        shutil.rmtree(place)
    assert tally["times full"] >= points // 2, "it was hardly ever full: this proves little"


def test_who_waits_goes_on_when_there_is_room(make_card, mounts, shell, check, until, tmp_path):
    card = make_card(FILES)
    disk = mounts.mount(mounts.image("disk", 160), tmp_path / "disk")
    events = tmp_path / "events"
    with another_program(disk, used(disk, inodes=False) + SIZE // 2, inodes=False) as filler:
        running = shell.start("copy", card.folder, disk, "--wait", "--events", events)
        until(lambda: events.exists() and '"places"' in events.read_text(), "that it waits")
    assert used(disk, inodes=False) > SIZE
    shutil.rmtree(filler)

    ended = running.end()

    assert (ended.code, ended.document["state"]) == (0, "completed"), ended
    check(card, disk)
    told = [event for event in map(json.loads, events.read_text().splitlines()) if event["event"] == "progress"]
    begun = [step["phase"] for step in told].index("copying")
    for before, after in pairwise(told[begun:]):
        assert before["files_done"] <= after["files_done"] <= after["files"] == len(FILES)
        assert before["work_done"] <= after["work_done"] <= after["work"]
    assert (told[-1]["files_done"], told[-1]["work_done"]) == (len(FILES), told[-1]["work"])


def test_who_waits_goes_on_when_a_disk_that_was_full_from_the_start_has_room(
    make_card, mounts, shell, check, until, tmp_path
):
    card = make_card(SMALL)
    disk = mounts.tmpfs(tmp_path / "disk", "size=40m")
    (disk / "filler").write_bytes(bytes(25 << 20))
    running = shell.start("copy", card.folder, disk, "--wait", "--events", tmp_path / "events")
    until(lambda: (tmp_path / "events").exists() and '"places"' in (tmp_path / "events").read_text(), "that it waits")
    (disk / "filler").unlink()

    ended = running.end()

    assert (ended.code, ended.document["state"]) == (0, "completed"), ended
    check(card, disk)


@pytest.fixture
def limited(make_disk):
    """A btrfs disk of which only so much may be used: the limit shows in no figure that can be asked for."""
    disk = make_disk("btrfs")

    def limit(size):
        for command in (["quota", "enable", disk], ["qgroup", "limit", size, "0/5", disk]):
            done = subprocess.run(["btrfs", *command], capture_output=True, text=True, timeout=60, check=False)
            if done.returncode:
                pytest.skip(f"no quotas on btrfs here: {done.stderr.strip()}")

    return disk, limit


def test_a_quota_that_is_used_up_in_the_middle_is_a_full_disk(make_card, limited, shell, check, journal, archive):
    disk, limit = limited
    card = make_card(SMALL)
    limit("12M")

    ended = shell.run("copy", card.folder, disk, "--also", archive)

    assert (ended.code, ended.document["state"]) == (8, "paused(space)"), ended
    assert f"({os.strerror(errno.EDQUOT)})" in ended.document["problem"]
    assert ended.document["items"]["waiting"] >= 1
    assert half_made(disk, journal) == []
    check(card, disk, complete=False)
    limit("none")
    assert shell.run("resume").code == 0
    check(card, disk, archive)
