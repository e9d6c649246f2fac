"""What is no damaged journal, or not this archive's: it is left alone, and nothing is learned from it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

FILES = 6  # of the card


@pytest.fixture
def tmp_path(same_place):
    return same_place


@pytest.fixture
def journal(ingest):
    return ingest.home / "ingest.sqlite3"


@pytest.fixture
def copied(once, card, archive, backup):
    """The card is on both archives."""
    told = once("copy", card, archive, "--also", backup)
    assert told.code == 0, told.errors
    return told.document["session"]


def overwrite(path, at, data):
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


@pytest.fixture
def damaged(copied, journal):
    journal.write_bytes(b"this is no database at all, not by far" * 300)
    return journal.read_bytes()


def kept(home):
    return sorted(path.name for path in home.iterdir() if ".damaged-" in path.name)


# What is not set aside


HOLDER = """
import sys
from pathlib import Path
from ingest.db.engine import open_database
database = open_database(Path(sys.argv[1]))
with database.read() as connection:
    connection.exec_driver_sql("SELECT 1")
print("open", flush=True)
sys.stdin.read()
"""


def test_a_journal_that_another_process_has_open_is_not_touched(copied, ingest, tell, archive, journal):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, ingest.home], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "open\n"
        overwrite(journal, 8192, b"\xa5" * (journal.stat().st_size - 12_288))
        before = journal.read_bytes()

        told = tell("catalog", "rebuild", archive)

        assert told.code == 8
        assert told.error["path"] == str(journal)
        assert journal.read_bytes() == before
        assert kept(ingest.home) == []
        process.stdin.close()
    assert tell("catalog", "rebuild", archive).code == 0


def test_a_newer_journal_is_not_set_aside(copied, ingest, tell, archive, journal):
    with closing(sqlite3.connect(journal)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    before = journal.read_bytes()

    told = tell("catalog", "rebuild", archive)

    assert told.code == 1
    assert "newer version" in told.error["advice"]
    assert journal.read_bytes() == before
    assert kept(ingest.home) == []


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_something_else_under_the_journals_name_is_said_and_left_alone(ingest, tell, card, archive, journal, make):
    make(journal)

    for command in (("copy", card, archive), ("sessions",), ("catalog", "rebuild", archive)):
        told = tell(*command)
        assert told.code in (1, 4), command
        assert told.code == 4 or told.error["path"] == str(journal)
        assert told.error["operation"] != "internal"
    assert kept(ingest.home) == []
    assert list(archive.iterdir()) == []


def test_somebody_elses_database_is_left_alone(ingest, tell, card, archive, journal):
    with closing(sqlite3.connect(journal)) as connection:
        connection.execute("CREATE TABLE sessions (theirs)")
        connection.commit()

    told = tell("copy", card, archive)
    rebuilt = tell("catalog", "rebuild", archive)

    assert told.code == 1
    assert "move it away" in told.error["advice"]
    assert rebuilt.code != 0
    assert kept(ingest.home) == []
    with closing(sqlite3.connect(journal)) as connection:
        assert connection.execute("SELECT sql FROM sqlite_master").fetchall() == [("CREATE TABLE sessions (theirs)",)]


def test_a_clone_of_an_archive_is_not_learned_for_it(damaged, tell, archive, tmp_path):
    shutil.copytree(archive, tmp_path / "clone")

    told = tell("catalog", "rebuild", archive, tmp_path / "clone")

    assert told.code == 2
    assert "clone" in told.error["cause"]


# What stands where a file of our own should


@pytest.mark.parametrize(
    "make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/etc/hostname", path)], ids=["pipe", "folder", "link"]
)
def test_something_else_under_the_lock_files_name_is_said_and_not_waited_for(ingest, tell, card, archive, make):
    lock = ingest.home / "schema.lock"
    make(lock)

    for command in (("copy", card, archive), ("catalog", "rebuild", archive)):
        told = tell(*command)
        assert told.code in (1, 4), command
        if command[0] == "copy":
            assert told.error["path"] == str(lock)
            assert "Move away" in told.error["advice"]
    assert list(archive.iterdir()) == []


def test_a_pipe_under_the_name_of_a_sessions_lock_or_of_the_configuration_is_not_waited_for(
    copied, ingest, tell, card, archive
):
    lock = ingest.home / "sessions" / f"{copied}.lock"
    lock.unlink()
    os.mkfifo(lock)
    assert tell("sessions").code == 0
    assert tell("doctor").code == 0

    os.mkfifo(ingest.home / "config.toml")
    told = tell("copy", card, archive)
    assert (told.code, told.error["path"]) == (2, str(ingest.home / "config.toml"))
    assert tell("doctor").code == 1


def harm(clip):
    """Other bytes, of the same size and time."""
    facts = clip.stat()
    clip.write_bytes(b"x" * facts.st_size)
    os.utime(clip, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def test_a_clone_that_became_an_archive_of_its_own_is_not_known_by_what_was_proven_of_the_other(
    copied, tell, plant, card, archive, tmp_path
):
    clone = shutil.copytree(archive, tmp_path / "clone")
    (clone / ".ingest/root.json").unlink()
    assert tell("copy", plant(tmp_path / "OTHER", {"B.MOV": b"other"}), clone).code == 0
    harm(clip := clone / "EOS_DIGITAL/DCIM/100EOSR5/MVI_0002.MP4")

    told = tell("catalog", "rebuild", clone)
    again = tell("copy", card, clone)

    assert (told.code, told.document["roots"][0]["files"]) == (0, 1)
    assert (again.document["items"]["finalized"], again.document["items"]["duplicate"]) == (1, FILES - 1)
    assert clip.with_name("MVI_0002_1.MP4").read_bytes() == (card / "DCIM/100EOSR5/MVI_0002.MP4").read_bytes()


@pytest.mark.root
def test_on_another_disk_nothing_is_known_of_an_archive_though_its_own_hid_its_uuid(
    copied, tell, card, archive, journal, make_disk
):
    place = shutil.copytree(archive, make_disk("ext4") / "archive")
    archive.rename(archive.with_name("unplugged"))
    harm(clip := place / "EOS_DIGITAL/DCIM/100EOSR5/MVI_0002.MP4")
    with closing(sqlite3.connect(journal)) as connection, connection:
        connection.execute("UPDATE roots SET fs_uuid = NULL")

    moved = tell("storage", "relocate", archive, place)
    again = tell("copy", card, place)

    assert moved.code == 0, moved.errors
    assert (again.document["items"]["finalized"], again.document["items"]["duplicate"]) == (1, FILES - 1)
    assert clip.with_name("MVI_0002_1.MP4").read_bytes() == (card / "DCIM/100EOSR5/MVI_0002.MP4").read_bytes()


@pytest.mark.root
def test_on_another_disk_nothing_is_known_of_an_archive_and_nothing_is_learned_for_it(tell, ingest, card, make_disk):
    (archive := make_disk("ext4") / "archive").mkdir()
    assert tell("copy", card, archive).code == 0
    place = shutil.copytree(archive, make_disk("ext4") / "archive")
    archive.rename(archive.with_name("unplugged"))
    harm(clip := place / "EOS_DIGITAL/DCIM/100EOSR5/MVI_0002.MP4")

    moved = ingest.run("storage", "relocate", archive, place)
    told = tell("catalog", "rebuild", place)
    again = tell("copy", card, place)

    assert moved.returncode == 0, moved.stderr
    assert f"ingest verify {place}" in moved.stdout
    assert (told.code, told.document["roots"][0]["files"]) == (0, 0)
    assert (again.document["items"]["finalized"], again.document["items"]["duplicate"]) == (1, FILES - 1)
    assert clip.with_name("MVI_0002_1.MP4").read_bytes() == (card / "DCIM/100EOSR5/MVI_0002.MP4").read_bytes()
