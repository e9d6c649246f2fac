"""Sources that change, shrink, vanish or turn into something else while they are copied.

A worker is frozen in the middle of a file, so that the change falls between its first and its last byte for
certain. What arrives is always something that the card held as a whole; everything else is named.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from pathlib import Path

import pytest

BIG = 66 << 20  # alone in its batch
MODES = pytest.mark.parametrize("mode", ["read", "mmap"])


def append(path):
    with path.open("ab") as stream:
        stream.write(b"more")


def truncate_a_little(path):
    os.truncate(path, BIG - 1)


def change_content(path):
    with path.open("r+b") as stream:
        stream.seek(BIG - 100)
        stream.write(b"changed")


def change_first_byte(path):
    """Of what was read already: only the times tell."""
    with path.open("r+b") as stream:
        stream.write(b"\xff")


def touch(path):
    os.utime(path)


def replace_with_equal_size_and_time(path):
    new = path.parent.parent / "new"
    new.write_bytes(bytes(BIG))
    facts = path.stat()
    os.utime(new, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    new.replace(path)


def replace_with_link(path):
    other = path.parent.parent / "elsewhere"
    path.rename(other)
    path.symlink_to(other)


def remove(path):
    path.unlink()


def rename(path):
    path.rename(path.parent.parent / "renamed")


CHANGES = [
    append, truncate_a_little, change_content, change_first_byte, touch, replace_with_equal_size_and_time,
    replace_with_link, remove, rename,
]  # fmt: skip


@MODES
def test_files_that_change_while_they_are_read_are_named_and_given_no_name(
    make_card, archive, shell, check, tally, mode
):
    files = {f"{number}.MOV": change for number, change in enumerate(CHANGES)}
    card = make_card({**dict.fromkeys(files, BIG), "A.JPG": 10_000, "D/E.JPG": 20_000})
    running = shell.start("copy", card.folder, archive, "--workers", "1", "--read-mode", mode)
    for name, change in files.items():
        with running.catch(card.folder / name):
            change(card.folder / name)
        tally["changes"] += 1

    ended = running.end()

    assert (ended.code, ended.document["state"]) == (7, "completed_with_errors")
    named = {Path(failure["path"]).name: failure["state"] for failure in ended.document["failures"]}
    assert set(named) == set(files)
    assert set(named.values()) <= {"changed", "removed"}, named
    assert ended.document["items"]["finalized"] == 2
    check(card, archive, missing=set(files))
    assert not [name for name in files if (archive / "CARD" / name).exists()]


def test_what_changed_arrives_as_it_is_now_when_the_session_is_named_again(make_card, archive, shell, check):
    card = make_card({"A.MOV": BIG, "B.JPG": 10_000})
    running = shell.start("copy", card.folder, archive)
    with running.catch(card.folder / "A.MOV"):
        append(card.folder / "A.MOV")
    ended = running.end()
    assert ended.code == 7
    card.versions["A.MOV"].clear()
    card.admit("A.MOV")

    again = shell.run("resume", ended.document["session"])

    assert (again.code, again.document["state"]) == (0, "completed")
    check(card, archive)


BEFORE_ITS_TURN = {
    "deleted": (lambda path: path.unlink(), "removed"),
    "rewritten": (lambda path: path.write_bytes(b"other"), "changed"),
    "touched": (os.utime, "changed"),
    "link": (lambda path: (path.unlink(), path.symlink_to("Z.JPG")), "changed"),
    "folder": (lambda path: (path.unlink(), path.mkdir()), "changed"),
    "fifo": (lambda path: (path.unlink(), os.mkfifo(path)), "changed"),
}


def test_files_that_are_others_before_their_turn_are_named(make_card, archive, shell, check):
    """One worker is in the middle of the first file: the others were scanned, and not opened yet."""
    files = {f"{name}.JPG": 10_000 for name in BEFORE_ITS_TURN}
    card = make_card({"A.MOV": BIG, "B.MOV": BIG, **files, "Z.JPG": 5000})
    running = shell.start("copy", card.folder, archive, "--workers", "1")
    with running.catch(card.folder / "A.MOV"):
        for name, (change, _) in BEFORE_ITS_TURN.items():
            change(card.folder / f"{name}.JPG")

    ended = running.end()

    assert ended.code == 7
    named = {Path(failure["path"]).stem: failure["state"] for failure in ended.document["failures"]}
    assert named == {name: state for name, (_, state) in BEFORE_ITS_TURN.items()}
    check(card, archive, missing=set(files))


def test_a_folder_that_turns_into_a_link_leads_nowhere(make_card, archive, shell, check, tmp_path):
    """Not even to files of the right names, sizes and times."""
    card = make_card({"A.MOV": BIG, "M/M.MOV": BIG})
    running = shell.start("copy", card.folder, archive, "--workers", "1")
    with running.catch(card.folder / "A.MOV"):
        (card.folder / "M").rename(tmp_path / "M")
        (card.folder / "M").symlink_to(tmp_path / "M")

    ended = running.end()

    assert ended.code == 7
    assert not (archive / "CARD/M/M.MOV").exists()
    check(card, archive, missing={"M/M.MOV"})


REST = {"A.MOV": BIG, "M.MOV": 3_000_000, "Z.JPG": 10_000}


# Cards that are pulled out


@pytest.fixture
def plugged(mounts, make_card, tmp_path):
    """A card on a disk of its own, and what it takes to pull it out and put it back."""
    device = mounts.image("card", 100)
    point = mounts.mount(device, tmp_path / "reader")
    card = make_card(REST, point / "CARD")
    # A mount that somebody still holds is not flushed when it goes, and what breaks down later would lose the card.
    subprocess.run(["sync", "--file-system", point], check=True, timeout=60)
    mounts.vanish(point)
    mounts.mount(device, point)  # nothing of it is in memory any more
    return card, device, point


def pull(mounts, point):
    mounts.break_down(point)
    mounts.vanish(point)
    assert os.listdir(point) == []


@pytest.mark.root
@MODES
def test_a_card_that_is_pulled_out_pauses_the_session_and_resumes_when_it_is_back(
    plugged, mounts, archive, shell, check, mode
):
    card, device, point = plugged
    running = shell.start("copy", card.folder, archive, "--workers", "1", "--read-mode", mode)
    with running.catch(card.folder / "A.MOV"):
        pull(mounts, point)

    ended = running.end()

    assert (ended.code, ended.document["state"]) == (8, "paused(network)")
    assert ended.document["items"]["failed"] == ended.document["items"]["removed"] == 0, (
        "a cable is no verdict on a file"
    )
    assert shell.run("resume").code == 8, "it is not back yet"
    mounts.come_back(device, point)
    check(card, archive, complete=False)
    resumed = shell.run("resume")
    assert (resumed.code, resumed.document["state"]) == (0, "completed")
    check(card, archive)


@pytest.mark.root
def test_a_card_whose_mount_goes_away_between_files_pauses_or_completes_but_loses_nothing(
    mounts, make_card, archive, shell, check, tmp_path
):
    """Unmounted lazily, open files go on to be read: both ends are honest, as long as nothing is called removed."""
    point = mounts.tmpfs(tmp_path / "reader", "size=100m")
    card = make_card(REST, point / "CARD")
    copy = shutil.copytree(card.folder, tmp_path / "saved", copy_function=shutil.copy2)
    running = shell.start("copy", card.folder, archive, "--workers", "1")
    with running.catch(card.folder / "A.MOV"):
        mounts.vanish(point)

    ended = running.end()

    assert ended.code in (0, 8)
    assert ended.document["items"]["removed"] == ended.document["items"]["failed"] == 0
    mounts.tmpfs(point, "size=100m")
    shutil.copytree(copy, card.folder, copy_function=shutil.copy2)
    check(card, archive, complete=ended.code == 0)
    resumed = shell.run("resume")
    assert resumed.code == 0
    check(card, archive)


@pytest.mark.root
def test_an_empty_mount_point_is_not_taken_for_the_card(plugged, mounts, archive, shell, check, journal):
    card, device, point = plugged
    running = shell.start("copy", card.folder, archive, "--workers", "1")
    with running.catch(card.folder / "A.MOV"):
        pull(mounts, point)
    assert running.end().code == 8
    (point / "CARD").mkdir()

    ended = shell.run("resume")

    assert ended.code == 8
    states = {row["state"] for row in journal.rows("SELECT state FROM items")}
    assert states <= {"discovered", "finalized"}, "no item may be called removed"
    (point / "CARD").rmdir()
    mounts.mount(device, point)
    assert shell.run("resume").code == 0
    check(card, archive)


@pytest.mark.root
def test_an_empty_mount_point_is_not_taken_for_a_card_that_was_never_scanned(
    plugged, mounts, archive, shell, check, tmp_path
):
    """Killed before the scan is whole there is nothing to know the card by, but its identity."""
    card, device, point = plugged
    strace = ["-o", "/dev/null", "-P", str(card.folder), "-e", "inject=getdents64:signal=KILL:when=1"]
    assert shell.traced("copy", card.folder, archive, strace=strace).end_killed()
    mounts.vanish(point)
    (point / "CARD").mkdir()

    ended = shell.run("resume")

    assert ended.code == 8, ended
    (point / "CARD").rmdir()
    mounts.mount(device, point)
    assert shell.run("resume").code == 0
    check(card, archive)


@pytest.mark.root
def test_another_card_in_the_reader_is_not_taken_for_the_first(plugged, mounts, make_card, archive, shell, check):
    card, device, point = plugged
    running = shell.start("copy", card.folder, archive, "--workers", "1")
    with running.catch(card.folder / "A.MOV"):
        pull(mounts, point)
    assert running.end().code == 8
    other = mounts.image("other", 20)
    mounts.mount(other, point)
    make_card({"A.MOV": 5_000_000, "OTHER.JPG": 1000}, point / "CARD")

    ended = shell.run("resume")

    assert ended.code == 8
    assert not (archive / "CARD/OTHER.JPG").exists()
    mounts.vanish(point)
    mounts.mount(device, point)
    assert shell.run("resume").code == 0
    check(card, archive)


def test_a_missing_card_at_resume_waits_for_it(make_card, archive, shell, check, tmp_path):
    card = make_card(REST)
    running = shell.start("copy", card.folder, archive, "--workers", "1")
    running.catch(card.folder / "A.MOV").thaw()
    running.kill()
    card.folder.rename(tmp_path / "away")

    ended = shell.run("resume")

    assert ended.code == 8
    assert ended.document["error"]["errno"] == errno.ENOENT
    (tmp_path / "away").rename(card.folder)
    assert shell.run("resume").code == 0
    check(card, archive)


# A card that is dying, and one that is gone: the same error, told apart by a look at the card itself


@pytest.mark.root
def test_bytes_that_a_dying_card_does_not_give_are_named_and_everything_else_arrives(
    faulty_disk, make_card, shell, archive, check, ingest
):
    disk = faulty_disk()
    card = make_card({"A.JPG": 10_000, "B.MOV": 5_000_000, "C.JPG": 70_000}, disk.backing / "CARD")
    card.folder = disk.mount / "CARD"
    spoilt = 3_000_000
    disk.rules({"op": "read", "path": "*/B.MOV", "at": spoilt, "err": "EIO", "count": 0})

    ended = shell.run("copy", card.folder, archive)

    assert disk.hits(op="read", err="EIO")
    assert (ended.code, ended.document["state"]) == (7, "completed_with_errors"), ended
    (failure,) = ended.document["failures"]
    assert (failure["path"], failure["state"], failure["reason"]) == (str(card.folder / "B.MOV"), "failed", "io")
    assert failure["operation"] == "read"
    ((start, end),) = failure["ranges"]
    assert start <= spoilt < end <= 5_000_000
    assert end - start <= 4 << 20
    assert any(f"[{start}, {end})" in text for text in ended.document["warnings"])
    check(card, archive, missing={"B.MOV"})
    told = ingest.run("show", ended.document["session"], "--items", "failed").stdout
    assert told.count(f"bytes {start:,} to {end:,}") == 2  # in the summary, and in the list
    shown = shell.run("show", ended.document["session"], "--items", "failed")
    assert shown.document["items_listed"][0]["ranges"] == [[start, end]]
    # Another reader gives them.
    disk.rules()
    assert shell.run("resume", ended.document["session"]).code == 0
    check(card, archive)


@pytest.mark.root
def test_a_card_that_dies_while_it_is_scanned_is_waited_for_and_nothing_is_blamed(
    faulty_disk, make_card, shell, archive, check, until
):
    disk = faulty_disk()
    card = make_card({f"{folder:02}/{n}.JPG": 100 for folder in range(20) for n in range(3)}, disk.backing / "CARD")
    card.folder = disk.mount / "CARD"
    everything = ["getattr", "open", "read", "readdir", "statfs"]
    disk.rules({"op": "readdir", "path": "/CARD/07", "act": "hang"})
    running = shell.start("copy", card.folder, archive)
    until(lambda: disk.hits(act="hang"), "the middle of the scan")

    disk.rules({"op": everything, "count": 0, "err": "EIO"})

    ended = running.end()
    assert disk.hits(err="EIO")
    assert (ended.code, ended.document["state"]) == (8, "paused(network)"), ended
    assert str(card.folder) in ended.document["problem"]
    assert ended.document["failures_total"] == 0
    disk.rules()
    assert shell.run("resume").code == 0
    check(card, archive)
