"""The journal's own disk: full, locked, read-only, damaged. What cannot be written down is not done, and is said."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import subprocess

import pytest

BIG = 66 << 20  # alone in its batch
# The first is long enough to be caught in the middle by who looks from outside.
FILES = {"A.MOV": 4 * BIG, **{f"D/{number:04}.JPG": 2000 for number in range(1500)}, "M.MOV": BIG}


@pytest.fixture
def home(mounts, ingest):
    """The journal's folder on a disk of 3 MB."""
    return mounts.tmpfs(ingest.home, "size=3m")


@pytest.mark.root
def test_a_journal_that_cannot_grow_stops_the_intake_and_resumes_when_there_is_room(
    make_card, archive, home, mounts, shell, check
):
    card = make_card(FILES)
    running = shell.start("copy", card.folder, archive, "--workers", "1")
    with running.catch(card.folder / "A.MOV"):
        filler = mounts.fill(home)

    ended = running.end()

    assert ended.code not in (0, 6, 7), ended
    assert ended.document["error"]["path"].startswith(str(home))
    assert "full" in ended.document["error"]["cause"] or ended.document["error"]["errno"] == errno.ENOSPC
    assert ended.document["error"]["advice"]
    assert "Traceback" not in ended.errors
    check(card, archive, complete=False)
    arrived = len(list((archive / "CARD").rglob("*.*"))) if (archive / "CARD").exists() else 0
    assert arrived < len(FILES), "it stopped"
    for file in filler:
        file.unlink()
    resumed = shell.run("resume")
    assert (resumed.code, resumed.document["state"]) == (0, "completed")
    check(card, archive)


@pytest.mark.root
def test_a_journal_that_is_full_from_the_start_begins_nothing(make_card, archive, home, mounts, shell, check):
    card = make_card({"A.JPG": 1000})
    filler = mounts.fill(home)

    ended = shell.run("copy", card.folder, archive)

    assert ended.code not in (0, 6, 7)
    assert ended.document["error"]["path"].startswith(str(home))
    check.nothing(archive)
    for file in filler:
        file.unlink()
    assert shell.run("copy", card.folder, archive).code == 0
    check(card, archive)


@pytest.mark.root
def test_a_journal_on_a_read_only_disk_begins_nothing(make_card, archive, home, mounts, shell, check):
    card = make_card({"A.JPG": 1000})
    assert mounts.remount(home, "ro")

    ended = shell.run("copy", card.folder, archive)

    assert ended.code not in (0, 6, 7, 8)
    assert "INGEST_HOME" in str(ended.document["error"]) or str(home) in str(ended.document["error"])
    check.nothing(archive)


def test_another_writer_is_waited_for(make_card, archive, shell, check, ingest, tmp_path):
    shell.run("copy", make_card({"X": 1}, tmp_path / "FIRST").folder, tmp_path / "other", "--create")
    card = make_card({"A.MOV": BIG, "B.JPG": 1000})
    other = sqlite3.connect(ingest.home / "ingest.sqlite3", isolation_level=None)
    running = shell.start("copy", card.folder, archive, "--workers", "1")
    with running.catch(card.folder / "A.MOV"):
        other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            running.process.wait(4)  # far longer than it needs: it waits, and gives no name meanwhile
        assert not (archive / "CARD").exists()
    finally:
        other.execute("ROLLBACK")
        other.close()

    ended = running.end()

    assert (ended.code, ended.document["state"]) == (0, "completed")
    check(card, archive)


def test_two_sessions_at_once_share_the_journal_and_the_archive(make_card, archive, shell, check, tmp_path):
    cards = [
        make_card({f"D/{n:03}.JPG": 3000 + n for n in range(150)} | {"A.MOV": BIG}, tmp_path / name) for name in "PQ"
    ]
    both = [shell.start("copy", card.folder, archive) for card in cards]

    codes = [running.end().code for running in both]

    assert codes == [0, 0]
    for card in cards:
        for other in cards:
            if other is not card:
                (archive / other.folder.name).rename(tmp_path / f"aside-{other.folder.name}")
        check(card, archive)
        for other in cards:
            if other is not card:
                (tmp_path / f"aside-{other.folder.name}").rename(archive / other.folder.name)


def test_the_same_card_copied_twice_at_once_is_there_once(make_card, archive, shell, check):
    """Two people start the same copy: no double, no damage, each session tells the truth."""
    card = make_card({f"D/{number:03}.JPG": 3000 + number for number in range(100)} | {"A.MOV": BIG})
    both = [shell.start("copy", card.folder, archive, "--label", "CARD") for _ in range(2)]

    ended = [running.end() for running in both]

    assert {end.code for end in ended} == {0}, ended
    arrived = [end.document["items"]["finalized"] + end.document["items"]["duplicate"] for end in ended]
    assert arrived == [101, 101]
    check(card, archive)


def test_a_damaged_journal_is_said_so_and_begins_nothing(make_card, archive, shell, check, ingest, tmp_path):
    card = make_card({"A.JPG": 1000})
    assert shell.run("copy", make_card({"X": 1}, tmp_path / "FIRST").folder, tmp_path / "other", "--create").code == 0
    file = ingest.home / "ingest.sqlite3"
    file.write_bytes(os.urandom(8192))

    ended = shell.run("copy", card.folder, archive)

    assert ended.code == 1
    assert ended.document["error"]["path"] == str(file)
    assert "ingest catalog rebuild" in ended.document["error"]["advice"]
    check.nothing(archive)
    assert shell.run("catalog", "rebuild", tmp_path / "other").code == 0
    assert shell.run("copy", card.folder, archive).code == 0
    check(card, archive)


@pytest.mark.parametrize("harm", ["log lost", "log damaged", "log cut", "index damaged"])
def test_a_kill_after_which_the_journals_log_is_lost_or_damaged_loses_no_footage(
    make_card, archive, shell, check, ingest, harm
):
    """The journal then knows less than it had acknowledged: what it does not know any more is compared, never believed."""
    card = make_card({f"D/{number:03}.JPG": 3000 + number for number in range(150)} | {"M.MOV": BIG})
    running = shell.start("copy", card.folder, archive, "--workers", "1", "--batch", "10")
    running.catch(card.folder / "M.MOV").thaw()
    running.kill()
    log, index = ingest.home / "ingest.sqlite3-wal", ingest.home / "ingest.sqlite3-shm"
    assert log.stat().st_size > 0
    match harm:
        case "log lost":
            log.unlink()
        case "log damaged":
            data = bytearray(log.read_bytes())
            data[len(data) // 2] ^= 0xFF
            log.write_bytes(data)
        case "log cut":
            os.truncate(log, log.stat().st_size // 2)
        case "index damaged":
            index.write_bytes(os.urandom(index.stat().st_size))

    resumed = shell.run("resume")
    ended = shell.run("copy", card.folder, archive)

    assert resumed.code == 0, resumed
    assert ended.code == 0, ended
    assert ended.document["items"]["finalized"] + ended.document["items"]["duplicate"] == 151
    check(card, archive, abandoned=True)


def test_a_journal_that_is_gone_loses_no_footage_and_copies_nothing_twice(make_card, archive, shell, check, ingest):
    """Killed in the middle, and the machine's disk died as well: the archive is all that is left."""
    card = make_card({"A.JPG": 5000, "B.MOV": BIG, "C.JPG": 6000})
    running = shell.start("copy", card.folder, archive)
    running.catch(card.folder / "B.MOV").thaw()
    running.kill()
    shutil.rmtree(ingest.home)

    ended = shell.run("copy", card.folder, archive)

    assert ended.code == 0
    assert ended.document["items"]["finalized"] + ended.document["items"]["duplicate"] == 3
    check(card, archive, abandoned=True)
