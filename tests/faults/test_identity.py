"""Disks that are not where they were, and disks that are not what they seem: on real mounts.

Vanished, back empty on the disk underneath, another disk, a clone, another path: each is told from the others, nothing
is written to any of the wrong ones, and where the archive itself is found the session goes on there.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import replace

import pytest

pytestmark = pytest.mark.root

FILES = {"A.MOV": 66 << 20, "B.JPG": 10_000, "M.MOV": 2_000_000, "Z/Z.JPG": 10_000}
SMALL = {"A.JPG": 20_000, "Z/B.JPG": 30_000}
MEGABYTES = 120


@pytest.fixture
def card(make_card):
    return make_card(FILES)


@pytest.fixture
def drive(mounts, tmp_path):
    """The archive's disk, and where it is mounted."""
    device = mounts.image("drive", MEGABYTES)
    return device, mounts.mount(device, tmp_path / "drive")


@pytest.fixture
def copied(make_card, drive, shell):
    """A card that was brought home to the disk, in a session that is over."""
    card = make_card(SMALL)
    assert shell.run("copy", card.folder, drive[1]).code == 0
    return card


@pytest.fixture
def stopped(card, drive, mounts, shell):
    """A session that lost its disk in the middle."""
    _, disk = drive
    running = shell.start("copy", card.folder, disk, "--workers", "1")
    with running.catch(card.folder / "A.MOV"):
        mounts.vanish(disk)
    ended = running.end()
    assert ended.code == 8
    return ended


def inside(folder):
    """Every name below a folder, with what would change if it were written to."""
    found = {}
    for place, folders, files in os.walk(folder):
        for name in folders + files:
            facts = os.lstat(os.path.join(place, name))
            found[os.path.join(place, name)] = (facts.st_ino, facts.st_size, facts.st_mtime_ns)
    return found


def refused(shell, *arguments, code, untouched):
    """What it says when it refuses, and touches nothing there."""
    before = inside(untouched)
    ended = shell.run(*arguments)
    assert ended.code == code, ended
    assert inside(untouched) == before
    told = ended.document.get("error", {})
    return f"{told.get('cause', ended.document.get('problem'))}. {told.get('advice', '')}"


def uuid_of(root):
    return json.loads((root / ".ingest/root.json").read_text())["uuid"]


def on(device):
    return subprocess.run(
        ["blkid", "-p", "-o", "value", "-s", "UUID", device], capture_output=True, text=True, check=True
    ).stdout.strip()


# A new session


def test_a_clone_beside_its_archive_is_no_destination(copied, drive, mounts, shell, tmp_path):
    device, disk = drive
    clone = mounts.mount(mounts.clone(device, "clone"), tmp_path / "clone")

    said = refused(shell, "copy", copied.folder, clone, code=2, untouched=clone)

    assert f"clone of the archive at {disk}" in said
    assert f"remove {clone}/.ingest/root.json" in said
    for way in (("copy", copied.folder, disk, "--also", clone), ("copy", copied.folder, clone, "--also", disk)):
        assert "clone" in refused(shell, *way, code=2, untouched=clone)
    assert "clone" in refused(shell, "copy", copied.folder, clone, "--dry-run", code=2, untouched=clone)
    # Made an archive of its own, it is one.
    (clone / ".ingest/root.json").unlink()
    assert shell.run("copy", copied.folder, disk, "--also", clone).code == 0
    assert uuid_of(clone) != uuid_of(disk)


def test_a_disk_that_was_copied_with_its_uuid_is_no_destination_beside_its_archive(
    copied, drive, mounts, shell, tmp_path
):
    device, disk = drive
    twin = mounts.mount(mounts.clone(device, "twin", same_uuid=True), tmp_path / "twin")

    said = refused(shell, "copy", copied.folder, twin, code=2, untouched=twin)

    assert f"the same marker as {disk}: one is a clone of the other" in said


@pytest.mark.parametrize("known", [True, False], ids=["known", "another machine"])
def test_a_clone_alone_may_be_the_archive_on_its_new_disk_so_it_is_asked(
    copied, drive, mounts, shell, check, tmp_path, known
):
    device, disk = drive
    root = uuid_of(disk)
    new = mounts.clone(device, "new")
    mounts.vanish(disk)
    mounts.mount(new, disk)
    home = None if known else tmp_path / "another machine"

    def run(*arguments):
        return shell.run(*arguments, home=home)

    ended = run("copy", copied.folder, disk)

    assert ended.code == 2, ended
    assert "moved to another disk, or a clone of it?" in ended.document["error"]["cause"]
    assert on(new) in ended.document["error"]["cause"]
    assert f"ingest storage relocate {root} {disk}" in ended.document["error"]["advice"]
    # It was moved: once that is said, it is the archive, and the old disk is the clone.
    assert run("storage", "relocate", root, disk).code == 0
    again = run("copy", copied.folder, disk)
    assert again.code == 0, again
    assert again.document["destinations"][0]["uuid"] == root
    check(copied, disk, home=home)
    mounts.vanish(disk)
    mounts.mount(device, disk)
    assert run("copy", copied.folder, disk).code == 2


@pytest.mark.parametrize("below", ["", "shoot"], ids=["the mount point", "a folder on it"])
def test_the_folder_underneath_a_disk_that_is_not_mounted_is_not_taken_for_it(
    make_card, drive, mounts, shell, check, below
):
    card = make_card(SMALL)
    _, disk = drive
    archive = disk / below
    assert shell.run("copy", card.folder, archive, "--create").code == 0
    mounts.vanish(disk)

    if below:
        assert "is the disk mounted?" in refused(shell, "copy", card.folder, archive, code=4, untouched=disk)
        assert "is the disk mounted?" in refused(
            shell, "copy", card.folder, archive, "--create", code=4, untouched=disk
        )
        archive.mkdir()
    said = refused(shell, "copy", card.folder, archive, code=4, untouched=disk)

    assert "this is the disk underneath: is the disk mounted?" in said
    assert "--new-root" in said
    assert shell.run("copy", card.folder, archive, "--new-root").code == 0
    check(card, archive)


def test_another_disk_at_the_same_mount_point_may_begin_an_archive(copied, drive, mounts, shell, check):
    _, disk = drive
    first = uuid_of(disk)
    mounts.vanish(disk)
    mounts.mount(mounts.image("another", MEGABYTES), disk)

    ended = shell.run("copy", copied.folder, disk)

    assert ended.code == 0, ended
    assert uuid_of(disk) != first
    assert "was another root before" in ended.errors
    check(copied, disk)


def test_an_archive_is_the_same_through_a_bind_mount_and_at_another_mount_point(
    copied, drive, mounts, shell, journal, tmp_path
):
    device, disk = drive
    bound = mounts.bind(disk, tmp_path / "bound")
    assert shell.run("copy", copied.folder, bound).document["items"]["duplicate"] == len(SMALL)
    mounts.vanish(bound)
    mounts.vanish(disk)
    there = mounts.mount(device, tmp_path / "there")

    ended = shell.run("copy", copied.folder, there)

    assert (ended.code, ended.document["items"]["duplicate"]) == (0, len(SMALL))
    assert [os.fsdecode(row["path"]) for row in journal.rows("SELECT path FROM roots")] == [str(there)]


@pytest.mark.parametrize("kind", ["tmpfs", "overlay"])
def test_an_archive_that_was_copied_into_memory_or_under_an_overlay_is_asked_for(
    copied, drive, mounts, shell, tmp_path, kind
):
    _, disk = drive
    memory = mounts.tmpfs(tmp_path / "memory", "size=200m")
    if kind == "overlay":
        there = mounts.overlay(disk, memory, tmp_path / "over")
    else:
        there = memory / "archive"
        shutil.copytree(disk, there, ignore=shutil.ignore_patterns("lost+found"))

    ended = shell.run("copy", copied.folder, there)

    assert ended.code == 2
    assert f"clone of the archive at {disk}" in ended.document["error"]["cause"]


# A session that is taken up again


def resumes(shell, check, card, archive):
    """Once the archive is back, everything arrives."""
    ended = shell.run("resume")
    assert (ended.code, ended.document["state"]) == (0, "completed"), ended
    check(card, archive)
    return ended


def test_at_resume_each_wrong_thing_at_its_path_has_its_own_sentence(card, drive, stopped, mounts, shell, check):
    device, disk = drive

    def said(untouched):
        return refused(shell, "resume", code=8, untouched=untouched)

    assert "a folder of the disk underneath" in said(disk)
    disk.rmdir()
    assert "No such file or directory" in said(disk.parent / "nothing")
    other = mounts.mount(mounts.image("other", MEGABYTES), disk)
    assert "another disk is mounted there" in said(other)
    small = card.folder.parent / "small"
    small.mkdir()
    (small / "a").write_bytes(b"1")
    assert shell.run("copy", small, other).code == 0
    assert f"another archive stands there ({uuid_of(other)})" in refused(
        shell, "resume", card_session(shell, card), code=8, untouched=other
    )
    mounts.vanish(other)
    clone = mounts.mount(mounts.clone(device, "clone"), disk)
    assert "a clone of it stands there" in said(clone)
    mounts.vanish(clone)
    mounts.mount(device, disk)
    resumes(shell, check, card, disk)


def card_session(shell, card):
    found = shell.run("sessions").document["sessions"]
    return next(each["session"] for each in found if str(card.folder) in each["sources"])


def test_an_archive_that_is_mounted_elsewhere_is_gone_on_with_there(
    card, drive, stopped, mounts, shell, journal, check, tmp_path
):
    device, disk = drive
    there = mounts.mount(device, tmp_path / "elsewhere")

    ended = resumes(shell, check, card, there)

    assert f"{disk} is mounted at {there} now" in ended.errors
    assert any("the session goes on there" in text for text in ended.document["warnings"])
    for table in ("roots", "session_roots"):
        assert [os.fsdecode(row["path"]) for row in journal.rows(f"SELECT path FROM {table}")] == [str(there)]
    assert not os.listdir(disk)


def test_an_archive_in_a_folder_of_its_disk_is_found_in_that_folder(card, drive, mounts, shell, check, tmp_path):
    device, disk = drive
    running = shell.start("copy", card.folder, disk / "2026/shoot", "--create", "--workers", "1")
    with running.catch(card.folder / "A.MOV"):
        mounts.vanish(disk)
    assert running.end().code == 8
    there = mounts.mount(device, tmp_path / "elsewhere")

    resumes(shell, check, card, there / "2026/shoot")


def test_a_clone_elsewhere_is_named_and_not_gone_on_with(card, drive, stopped, mounts, shell, check, tmp_path):
    device, _ = drive
    clone = mounts.mount(mounts.clone(device, "clone"), tmp_path / "clone")

    said = refused(shell, "resume", code=8, untouched=clone)

    assert f"is a clone, on another file system: {clone}" in said
    # With the archive itself beside it there is nothing to ask.
    there = mounts.mount(device, tmp_path / "elsewhere")
    resumes(shell, check, card, there)


def test_a_clone_that_is_to_take_the_archive_s_place_is_gone_on_with(
    card, drive, stopped, mounts, shell, check, tmp_path
):
    device, _ = drive
    root = stopped.document["destinations"][0]["uuid"]
    clone = mounts.mount(mounts.clone(device, "clone"), tmp_path / "clone")
    assert shell.run("storage", "relocate", root, clone).code == 0

    resumes(shell, check, card, clone)


def test_an_archive_that_was_restored_to_a_new_disk_at_its_old_place_is_gone_on_with_once_that_is_said(
    card, drive, stopped, mounts, shell, check
):
    device, disk = drive
    root = stopped.document["destinations"][0]["uuid"]
    new = mounts.mount(mounts.clone(device, "new"), disk)

    said = refused(shell, "resume", code=8, untouched=new)

    way = f"ingest storage relocate {root} {disk}"
    assert way in said
    assert shell.run(*way.split()[1:]).code == 0
    resumes(shell, check, card, disk)


def test_two_that_cannot_be_told_apart_are_asked_for(card, drive, stopped, mounts, shell, check, tmp_path):
    device, _ = drive
    one = mounts.mount(device, tmp_path / "one")
    two = mounts.mount(mounts.clone(device, "two", same_uuid=True), tmp_path / "two")

    said = refused(shell, "resume", code=8, untouched=tmp_path / "two")

    assert str(one) in said
    assert str(two) in said
    root = stopped.document["destinations"][0]["uuid"]
    assert shell.run("storage", "relocate", root, one).code == 0
    resumes(shell, check, card, one)


# In the middle of a run


@pytest.mark.parametrize("what", ["vanished", "underneath", "another disk", "clone", "elsewhere"])
def test_in_the_middle_each_is_told_from_the_others(make_card, mounts, shell, check, tmp_path, drive, what):
    card = make_card(FILES)
    device, disk = drive
    archive = disk / "shoot" if what == "vanished" else disk
    running = shell.start("copy", card.folder, archive, "--create", "--workers", "1")
    with running.catch(card.folder / "A.MOV"):
        mounts.vanish(disk)
        if what == "another disk":
            mounts.mount(mounts.image("other", MEGABYTES), disk)
        elif what == "clone":
            mounts.mount(mounts.clone(device, "clone"), disk)
        elif what == "elsewhere":
            mounts.mount(device, tmp_path / "elsewhere")
        before = inside(disk)

    ended = running.end()

    assert (ended.code, ended.document["state"]) == (8, "paused(network)")
    assert inside(disk) == before
    assert ended.document["items"]["failed"] == 0
    sentence = {
        "vanished": "No such file or directory", "underneath": "a folder of the disk underneath",
        "another disk": "another disk is mounted there", "clone": "a clone of it stands there",
        "elsewhere": f"the archive is at {tmp_path / 'elsewhere'} now",
    }[what]  # fmt: skip
    assert sentence in ended.document["problem"], ended.document["problem"]
    if what == "elsewhere":
        disk = archive = tmp_path / "elsewhere"
    else:
        if os.path.ismount(disk):
            mounts.vanish(disk)
        mounts.mount(device, disk)
    check(card, archive, complete=False)
    resumes(shell, check, card, archive)


def test_one_of_two_that_is_a_clone_now_does_not_stop_the_other(card, drive, archive, mounts, shell, check):
    device, disk = drive
    running = shell.start("copy", card.folder, disk, "--also", archive, "--workers", "1")
    with running.catch(card.folder / "A.MOV"):
        mounts.vanish(disk)
        clone = mounts.mount(mounts.clone(device, "clone"), disk)
        before = inside(clone)

    ended = running.end()

    assert ended.code == 8
    assert "a clone of it stands there" in ended.document["problem"]
    assert inside(clone) == before
    assert ended.document["destinations"][1]["copies"]["finalized"] == len(FILES)
    mounts.vanish(clone)
    mounts.mount(device, disk)
    resumes(shell, check, card, disk)
    check(card, archive)


def test_who_waits_goes_on_where_the_archive_comes_back(card, drive, mounts, shell, check, until, tmp_path):
    device, disk = drive
    running = shell.start("copy", card.folder, disk, "--wait", "--workers", "1", "--events", tmp_path / "events")
    with running.catch(card.folder / "A.MOV"):
        mounts.vanish(disk)
    until(lambda: '"places"' in (tmp_path / "events").read_text(), "that it waits")
    there = mounts.mount(device, tmp_path / "elsewhere")

    ended = running.end()

    assert (ended.code, ended.document["state"]) == (0, "completed"), ended
    assert any("the session goes on there" in text for text in ended.document["warnings"])
    check(card, there)


# Sources


@pytest.fixture
def reader(mounts, tmp_path, make_card):
    """A card on a disk of its own."""
    device = mounts.image("card", MEGABYTES)
    point = mounts.mount(device, tmp_path / "EOS")
    card = make_card(FILES, folder=point / "DCIM")
    os.sync()
    return device, point, card


@pytest.fixture
def pulled(reader, archive, mounts, shell):
    """A session whose card was pulled out in the middle."""
    _, point, card = reader
    running = shell.start("copy", card.folder, archive, "--workers", "1")
    with running.catch(card.folder / "A.MOV"):
        mounts.break_down(point)
        mounts.vanish(point)
    ended = running.end()
    assert ended.code == 8
    return ended


def test_a_card_under_another_mount_point_is_read_there(reader, pulled, archive, mounts, shell, tmp_path, journal):
    device, _, card = reader
    there = mounts.mount(device, tmp_path / "EOS_1")

    ended = shell.run("resume")

    assert (ended.code, ended.document["state"]) == (0, "completed"), ended
    assert f"{card.folder} is mounted at {there / 'DCIM'} now" in ended.errors
    # Files keep the names by which they were found.
    assert [os.fsdecode(row["path"]) for row in journal.rows("SELECT path FROM session_sources")] == [str(card.folder)]
    for path in FILES:
        assert (archive / "DCIM" / path).read_bytes() == (there / "DCIM" / path).read_bytes()


def test_a_card_that_is_there_twice_is_asked_for(reader, pulled, mounts, shell, tmp_path):
    device, _, _ = reader
    places = [mounts.mount(device, tmp_path / "one"),
              mounts.mount(mounts.clone(device, "two", same_uuid=True), tmp_path / "two")]  # fmt: skip

    ended = shell.run("resume")

    assert ended.code == 8
    assert all(str(place / "DCIM") in ended.document["error"]["cause"] for place in places)


def test_a_card_with_one_file_more_finds_its_folder_again_after_a_restart(
    reader, archive, mounts, shell, check, ingest, tmp_path
):
    """Its first session is still to be resumed. Another boot is played by another boot id, and the reader is another."""
    device, point, card = reader
    running = shell.start("copy", card.folder, archive, "--workers", "1")
    with running.catch(card.folder / "A.MOV"):
        running.kill()
    mounts.vanish(point)
    card = replace(card, folder=mounts.mount(device, tmp_path / "EOS_1") / "DCIM")
    card.write("N.JPG", 9000)
    boot = tmp_path / "boot_id"
    boot.write_text("11111111-2222-4333-8444-555555555555\n")
    anew = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"', boot]

    copy = [*anew, *ingest.command("copy", card.folder, archive, "--json")]
    done = subprocess.run(copy, env=ingest.environment, capture_output=True, text=True, timeout=90, check=False)

    assert done.returncode == 0, (done.stdout, done.stderr)
    assert sorted(os.listdir(archive)) == [".ingest", "DCIM"]
    assert shell.run("resume").code == 0
    assert sorted(os.listdir(archive)) == [".ingest", "DCIM"]
    check(card, archive)
    assert list((archive / ".ingest/claims").iterdir()) == []


def test_another_card_elsewhere_is_not_the_one(reader, pulled, mounts, shell, tmp_path):
    device, _, _ = reader
    mounts.mount(mounts.clone(device, "another"), tmp_path / "another")

    ended = shell.run("resume")

    assert ended.code == 8
    assert "Put the card back in" in ended.document["error"]["advice"]


def test_who_waits_goes_on_where_the_card_comes_back(make_card, mounts, shell, archive, until, tmp_path, reader):
    device, point, card = reader
    running = shell.start("copy", card.folder, archive, "--wait", "--workers", "1", "--events", tmp_path / "events")
    with running.catch(card.folder / "A.MOV"):
        mounts.break_down(point)
        mounts.vanish(point)
    until(lambda: '"places"' in (tmp_path / "events").read_text(), "that it waits")
    # Who waits holds nothing open on it: until the last one lets go, what is mounted is the broken one.
    until(lambda: not os.path.exists(f"/sys/fs/ext4/{os.path.basename(device)}"), "that nobody holds the card")
    there = mounts.mount(device, tmp_path / "EOS_1")

    ended = running.end()

    assert (ended.code, ended.document["state"]) == (0, "completed"), ended
    assert all((archive / "DCIM" / path).read_bytes() == (there / "DCIM" / path).read_bytes() for path in FILES)
