"""Destinations that are full, read-only, gone, or no longer what they were.

Real small disks: tmpfs, and ext4 on a loop device. Each is known to be a mount point before anything is filled.
After the fault nothing wrong is there and nothing is written anywhere else; when its cause is gone, `resume`
completes the session.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import uuid

import pytest

BIG = 66 << 20  # alone in its batch
FILES = {"A.MOV": BIG, "B.JPG": 10_000, "M.MOV": 2_000_000, "Z/Z.JPG": 10_000}
ROOM = "size=200m"


@pytest.fixture
def card(make_card):
    return make_card(FILES)


def stopped_in_the_middle(shell, card, *destinations, also=()):
    """One worker, frozen in the middle of the first file."""
    others = [part for place in also for part in ("--also", place)]
    running = shell.start("copy", card.folder, *destinations, *others, "--workers", "1")
    return running, running.catch(card.folder / "A.MOV")


def everything(folder):
    """Every name below a folder, with what would change if it were written to."""
    found = {}
    for place, folders, files in os.walk(folder):
        for name in folders + files:
            facts = os.lstat(os.path.join(place, name))
            found[os.path.join(place, name)] = (facts.st_ino, facts.st_size, facts.st_mtime_ns)
    return found


# No room


@pytest.mark.root
@pytest.mark.parametrize("inodes", [False, True], ids=["bytes", "inodes"])
def test_a_disk_that_fills_up_in_the_middle_pauses_the_session(card, mounts, shell, check, tmp_path, inodes):
    disk = mounts.tmpfs(tmp_path / "disk", f"{ROOM},nr_inodes=200" if inodes else ROOM)
    running, frozen = stopped_in_the_middle(shell, card, disk)
    with frozen:
        filler = mounts.fill(disk, inodes=inodes)

    ended = running.end()

    assert (ended.code, ended.document["state"]) == (8, "paused(space)")
    assert ended.document["destinations"][0]["state"] == "paused(space)"
    assert ended.document["items"]["failed"] == 0
    for file in filler:
        file.unlink()
    check(card, disk, complete=False)
    resumed = shell.run("resume")
    assert (resumed.code, resumed.document["state"]) == (0, "completed")
    check(card, disk)


@pytest.mark.root
@pytest.mark.parametrize(
    ("small", "large", "missing"),
    [("size=60m", ROOM, "bytes"), (f"{ROOM},nr_inodes=9", f"{ROOM},nr_inodes=99", "inodes")],
)
def test_a_disk_that_is_too_small_is_refused_before_the_first_byte(
    card, mounts, shell, check, tmp_path, small, large, missing
):
    disk = mounts.tmpfs(tmp_path / "disk", small)

    ended = shell.run("copy", card.folder, disk)

    assert (ended.code, ended.document["state"]) == (8, "paused(space)")
    assert missing in ended.document["problem"]
    assert ended.document["bytes"]["copied"] == ended.document["bytes"]["read"] == 0
    check.nothing(disk)
    assert shell.run("resume").code == 8, "there is no more room than before"
    assert mounts.remount(disk, large)
    assert shell.run("resume").code == 0
    check(card, disk)


# Not writable


@pytest.mark.root
def test_a_disk_that_is_mounted_read_only_is_refused(card, mounts, shell, tmp_path):
    disk = mounts.tmpfs(tmp_path / "disk", ROOM)
    assert mounts.remount(disk, "ro")

    ended = shell.run("copy", card.folder, disk)

    assert ended.code == 5
    assert ended.document["error"]["errno"] == errno.EROFS
    assert "read-only" in ended.document["error"]["advice"]
    assert os.listdir(disk) == []


@pytest.mark.root
def test_a_disk_that_turns_read_only_in_the_middle_ends_nothing_silently(card, mounts, shell, check, until, tmp_path):
    disk = mounts.tmpfs(tmp_path / "disk", ROOM)
    running = shell.start("copy", card.folder, disk, "--workers", "1")
    # The kernel refuses while a file is open for writing: it happens between two batches.
    until(lambda: (disk / "CARD").exists() or running.process.poll() is not None, "the first name")
    until(lambda: mounts.remount(disk, "ro"), "a moment without a writer")

    ended = running.end()

    assert ended.code in (5, 7, 8), ended
    check(card, disk, complete=False)
    assert mounts.remount(disk, "rw")
    resumed = shell.run("resume", ended.document["session"])
    assert (resumed.code, resumed.document["state"]) == (0, "completed")
    check(card, disk)


# Gone


@pytest.fixture
def drive(mounts, tmp_path):
    """A disk that can be pulled out, broken or not, and plugged in again."""
    device = mounts.image("drive", 120)
    return device, mounts.mount(device, tmp_path / "drive")


@pytest.mark.root
@pytest.mark.parametrize("broken", [False, True], ids=["unmounted", "pulled"])
def test_a_drive_that_vanishes_is_not_recreated_underneath(card, drive, mounts, shell, check, broken):
    device, disk = drive
    running, frozen = stopped_in_the_middle(shell, card, disk)
    with frozen:
        if broken:
            mounts.break_down(disk)
        mounts.vanish(disk)

    ended = running.end()

    assert os.listdir(disk) == [], "nothing is written to the disk below"
    assert (ended.code, ended.document["state"]) == (8, "paused(network)")
    assert ended.document["items"]["failed"] == 0
    assert shell.run("resume").code == 8, "it is not back yet"
    assert os.listdir(disk) == []
    mounts.come_back(device, disk)
    check(card, disk, complete=False)
    resumed = shell.run("resume")
    assert (resumed.code, resumed.document["state"]) == (0, "completed")
    check(card, disk)


@pytest.mark.root
def test_a_drive_that_loses_power_keeps_what_was_acknowledged(card, drive, mounts, shell, check, until, journal):
    """The file system is shut down without a flush: only what was fsynced survives, and that must be all that counts."""
    device, disk = drive
    running = shell.start("copy", card.folder, disk, "--workers", "1")
    until(lambda: journal.live("SELECT 1 FROM copies WHERE state = 'finalized'"), "the first finalized copy")
    with running.freeze():
        mounts.break_down(disk)
        mounts.vanish(disk)
    ended = running.end()
    assert ended.code == 8
    mounts.come_back(device, disk)

    assert check(card, disk, complete=False) > 0

    resumed = shell.run("resume")
    assert (resumed.code, resumed.document["state"]) == (0, "completed")
    check(card, disk)


@pytest.mark.root
def test_a_drive_that_comes_back_while_the_session_runs_is_not_written_to_unseen(card, drive, mounts, shell, check):
    """Same device, same inode, another mount: it pauses, or goes on; either way the books are right."""
    device, disk = drive
    running, frozen = stopped_in_the_middle(shell, card, disk)
    with frozen:
        mounts.vanish(disk)
        mounts.mount(device, disk)

    ended = running.end()

    assert ended.code in (0, 8)
    check(card, disk, complete=ended.code == 0)
    assert shell.run("resume").code == 0
    check(card, disk)


@pytest.mark.root
def test_an_empty_disk_in_its_place_is_not_taken_for_the_archive(card, mounts, shell, tmp_path, check):
    disk = mounts.tmpfs(tmp_path / "disk", ROOM)
    running, frozen = stopped_in_the_middle(shell, card, disk)
    with frozen:
        mounts.vanish(disk)
    assert running.end().code == 8
    mounts.tmpfs(disk, ROOM)

    ended = shell.run("resume")

    assert ended.code == 8
    assert os.listdir(disk) == []
    # Its footage went with it: a new session makes the disk a new root, and copies everything.
    assert shell.run("copy", card.folder, disk).code == 0
    check(card, disk)


def test_a_destination_that_is_missing_at_resume_is_waited_for(card, archive, shell, check, tmp_path):
    running, frozen = stopped_in_the_middle(shell, card, archive)
    frozen.thaw()
    running.kill()
    archive.rename(tmp_path / "away")

    missing = shell.run("resume")
    archive.mkdir()
    empty = shell.run("resume")

    assert (missing.code, empty.code) == (8, 8)
    assert os.listdir(archive) == [], "an empty folder of that name is not the archive"
    archive.rmdir()
    (tmp_path / "away").rename(archive)
    assert shell.run("resume").code == 0
    check(card, archive)


# No longer the same


def remove_marker(archive):
    (archive / ".ingest/root.json").rename(archive.parent / "root.json")


def swap_marker(archive):
    remove_marker(archive)
    other = json.loads((archive.parent / "root.json").read_text()) | {"uuid": str(uuid.uuid4())}
    (archive / ".ingest/root.json").write_text(json.dumps(other))


def empty_marker(archive):
    remove_marker(archive)
    (archive / ".ingest/root.json").touch()


SPOILS = [remove_marker, swap_marker, empty_marker]


def test_a_root_without_its_marker_is_refused_at_resume_and_not_touched(card, archive, shell, check):
    running, frozen = stopped_in_the_middle(shell, card, archive)
    frozen.thaw()
    running.kill()
    for spoil in SPOILS:
        spoil(archive)
        before = everything(archive)

        ended = shell.run("resume")

        assert ended.code in (1, 8), spoil
        assert "marker" in str(ended.document["error"]) or "root" in str(ended.document["error"]), spoil
        assert everything(archive) == before, "nothing was written"
        os.replace(archive.parent / "root.json", archive / ".ingest/root.json")
    assert shell.run("resume").code == 0
    check(card, archive)


@pytest.mark.parametrize("spoil", SPOILS, ids=lambda spoil: spoil.__name__)
def test_a_root_that_loses_its_marker_while_it_is_written_to_is_never_called_done(card, archive, shell, check, spoil):
    running, frozen = stopped_in_the_middle(shell, card, archive)
    with frozen:
        spoil(archive)

    ended = running.end()

    assert (ended.code, ended.document["state"]) == (8, "paused(network)")
    assert "root" in ended.document["problem"] or "marker" in ended.document["problem"]
    check(card, archive, complete=False)
    os.replace(archive.parent / "root.json", archive / ".ingest/root.json")
    assert shell.run("resume").code == 0
    check(card, archive)


def test_a_folder_of_the_archive_that_turns_into_a_link_leads_nowhere(card, archive, shell, check, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    running, frozen = stopped_in_the_middle(shell, card, archive)
    with frozen:
        (archive / "CARD").symlink_to(elsewhere)

    ended = running.end()

    assert os.listdir(elsewhere) == []
    assert ended.code != 0
    (archive / "CARD").unlink()
    assert shell.run("resume", ended.document["session"]).code == 0
    check(card, archive)


def test_a_file_of_somebody_else_under_a_final_name_is_never_replaced(card, archive, shell, journal, tally):
    running, frozen = stopped_in_the_middle(shell, card, archive)
    with frozen:
        (archive / "CARD").mkdir()
        (archive / "CARD/A.MOV").write_bytes(b"somebody else's")

    ended = running.end()

    assert (archive / "CARD/A.MOV").read_bytes() == b"somebody else's"
    assert ended.code == 0
    copies = journal.copies(journal.session(card)["key"]).values()
    where = {bytes(row["source_path"]): os.fsdecode(row["path"]) for row in copies if row["state"] == "finalized"}
    assert len(where) == len(FILES)
    for source, path in where.items():
        assert (archive / path).read_bytes() == (card.folder / os.fsdecode(source)).read_bytes()
        tally["acknowledgements checked"] += 1


def test_the_same_file_of_somebody_else_under_a_final_name_is_no_double(card, archive, shell, check):
    running, frozen = stopped_in_the_middle(shell, card, archive)
    with frozen:
        (archive / "CARD").mkdir()
        shutil.copy2(card.folder / "A.MOV", archive / "CARD/A.MOV")

    assert running.end().code == 0

    check(card, archive)


# One of two


def fill(mounts, disk):
    mounts.fill(disk)


def pull(mounts, disk):
    mounts.break_down(disk)
    mounts.vanish(disk)


@pytest.mark.root
@pytest.mark.parametrize(
    ("fault", "state"), [(fill, "paused(space)"), (pull, "paused(network)")], ids=["full", "pulled"]
)
def test_one_of_two_destinations_fails_and_the_other_completes(
    card, archive, drive, mounts, shell, check, fault, state
):
    device, disk = drive
    running, frozen = stopped_in_the_middle(shell, card, disk, also=[archive])
    with frozen:
        fault(mounts, disk)

    ended = running.end()

    assert (ended.code, ended.document["state"]) == (8, state)
    failed, well = ended.document["destinations"]
    assert (failed["state"], failed["copies"]["failed"]) == (state, 0)
    assert well["copies"]["finalized"] == len(FILES), "the other destination got everything"
    assert well["state"] != state
    check(card, archive, complete=False)
    for path, versions in card.versions.items():
        assert (archive / "CARD" / path).stat().st_size == (card.folder / path).stat().st_size, (path, versions)
    if os.path.ismount(disk):
        for file in disk.glob(".filler-*"):
            file.unlink()
    else:
        mounts.mount(device, disk)
    read = ended.document["bytes"]["read"]
    resumed = shell.run("resume")
    assert (resumed.code, resumed.document["state"]) == (0, "completed")
    assert resumed.document["bytes"]["read"] - read <= card.size, "only what the failed one lacks is read again"
    check(card, disk, archive)


@pytest.mark.root
def test_one_of_two_destinations_is_too_small_from_the_start(card, archive, mounts, shell, check, tmp_path):
    disk = mounts.tmpfs(tmp_path / "disk", "size=50m")

    ended = shell.run("copy", card.folder, archive, "--also", disk)

    assert (ended.code, ended.document["state"]) == (8, "paused(space)")
    check.nothing(disk)
    assert mounts.remount(disk, ROOM)
    assert shell.run("resume").code == 0
    check(card, archive, disk)
