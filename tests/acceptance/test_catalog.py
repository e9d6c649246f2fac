"""A journal that is damaged or lost: it is said, set aside, and what it knew of archives built anew from manifests."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
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


HARM = {
    "another program's bytes": lambda path: path.write_bytes(b"this is no database at all, not by far" * 300),
    "a flipped byte in the header": lambda path: overwrite(path, 3, b"X"),
    "the first page overwritten": lambda path: overwrite(path, 100, b"\xa5" * 3996),
    "pages overwritten": lambda path: overwrite(path, 8192, b"\xa5" * (path.stat().st_size - 12_288)),
    "cut in the middle": lambda path: os.truncate(path, path.stat().st_size // 2),
    "cut after a page and a half": lambda path: os.truncate(path, 6000),
    "emptied": lambda path: os.truncate(path, 0),
}


@pytest.fixture(params=list(HARM))
def harmed(request, copied, journal):
    """The journal's bytes after it was damaged in one of several ways."""
    assert not journal.with_name("ingest.sqlite3-wal").exists()
    HARM[request.param](journal)
    return journal.read_bytes()


@pytest.fixture
def damaged(copied, journal):
    journal.write_bytes(b"this is no database at all, not by far" * 300)
    return journal.read_bytes()


def kept(home):
    return sorted(path.name for path in home.iterdir() if ".damaged-" in path.name)


def test_a_damaged_journal_is_set_aside_and_built_anew_and_the_card_is_known_again(
    harmed, ingest, tell, card, archive, backup, journal, snapshot
):
    before = {root: snapshot(root) for root in (archive, backup)}

    told = tell("catalog", "rebuild", archive, backup)

    assert told.code == told.document["exit_code"] == 0, told.errors
    (aside,) = kept(ingest.home)
    assert told.document["set_aside"] == str(ingest.home / aside)
    assert aside in told.errors
    assert (ingest.home / aside).read_bytes() == harmed
    assert [(root["path"], root["files"], root["added"], root["damaged"]) for root in told.document["roots"]] == [
        (str(archive), FILES, FILES, []),
        (str(backup), FILES, FILES, []),
    ]
    assert {root: snapshot(root) for root in (archive, backup)} == before
    again = tell("copy", card, archive, "--also", backup)
    assert again.code == 0, again.errors
    assert again.document["items"]["duplicate"] == FILES
    assert again.document["bytes"]["copied"] == again.document["bytes"]["verified"] == 0, "nothing was read back"
    assert tell("doctor").code == 0


READABLE = {
    "the state of a session": "UPDATE sessions SET state = 'bompleted'",
    "its options": "UPDATE sessions SET options = replace(options, '{', 'z')",
    "when it began": "UPDATE sessions SET created_at = 'nun'",
    "its source's path": "UPDATE session_sources SET path = 'text'",
    "an archive's path": "UPDATE roots SET path = 'text'",
    "the state of an item": "UPDATE items SET state = 'dinalized'",
    "the state of a copy": "UPDATE copies SET state = 'dinalized'",
    "a copy's time": "UPDATE locations SET mtime_ns = 'long ago'",
}


@pytest.fixture(scope="module")
def told_by_a_sound_one(shared):
    """A card on an archive, and the journal that knows it."""
    for name in ("archive", "home"):
        (shared.folder / name).mkdir()
    card = shared.plant("CARD", {"DCIM/A.JPG": b"a" * 1000, "DCIM/B.JPG": b"b" * 1000})
    told = shared.tell("copy", card, shared.folder / "archive")
    assert told.code == 0, told.errors
    return told.document["session"], (shared.home / "ingest.sqlite3").read_bytes()


@pytest.mark.parametrize("what", READABLE)
def test_a_row_that_can_be_read_and_was_never_written_so_is_damage(shared, told_by_a_sound_one, what):
    session, sound = told_by_a_sound_one
    journal = shared.home / "ingest.sqlite3"
    for left in shared.home.glob("ingest.sqlite3*"):
        left.unlink()
    journal.write_bytes(sound)
    with closing(sqlite3.connect(journal)) as connection:
        connection.execute(READABLE[what])
        connection.commit()

    told = [
        shared.tell(*command)
        for command in (
            ("sessions",),
            ("show", session),
            ("resume",),
            ("storage", "list"),
            ("check", shared.folder / "CARD"),
        )
    ]
    doctor = shared.tell("doctor")
    rebuilt = shared.tell("catalog", "rebuild", shared.folder / "archive")
    again = shared.tell("copy", shared.folder / "CARD", shared.folder / "archive")

    for each in told:
        assert "bug" not in each.errors
        assert each.code in (0, 1)
        assert each.code == 0 or "error" not in each.document or "ingest catalog rebuild" in each.error["advice"]
    assert any(each.code == 1 and "error" in each.document for each in told)
    assert doctor.code == 1
    assert "ingest catalog rebuild" in "".join(each["advice"] for each in doctor.document["findings"])
    assert rebuilt.code == 0, rebuilt.errors
    assert rebuilt.document["damage"]
    assert rebuilt.document["set_aside"]
    assert (again.code, again.document["items"]["duplicate"]) == (0, 2)


def test_nothing_starts_an_empty_journal_in_a_damaged_ones_place(
    damaged, ingest, tell, card, archive, journal, snapshot
):
    before = snapshot(archive)

    for command in (
        ("copy", card, archive),
        ("resume",),
        ("sessions",),
        ("show", "abc"),
        ("storage", "list"),
        ("storage", "forget", archive),
        ("query", "SELECT 1"),
        ("scan", card, "--to", archive),
    ):
        told = tell(*command)
        assert told.code == 1, command
        assert told.error["path"] == str(journal)
        assert told.error["operation"] in ("open", "read", "write")
        assert told.error["cause"]
        assert "ingest catalog rebuild" in told.error["advice"]
    doctor = tell("doctor")
    assert doctor.code == 1
    (wrong,) = [finding for finding in doctor.document["findings"] if finding["status"] == "wrong"]
    assert (wrong["check"], "ingest catalog rebuild" in wrong["advice"]) == ("journal", True)
    assert journal.read_bytes() == damaged
    assert kept(ingest.home) == []
    assert snapshot(archive) == before


def test_an_emptied_journal_is_not_taken_for_a_new_one(copied, tell, card, archive, journal):
    os.truncate(journal, 0)

    told = tell("copy", card, archive)

    assert told.code == 1
    assert "empty" in told.error["cause"]
    assert "ingest catalog rebuild" in told.error["advice"]
    assert journal.stat().st_size == 0


def test_what_needs_no_journal_needs_none_that_is_sound(damaged, tell, archive, backup):
    checked = tell("verify", archive)

    assert (checked.code, checked.document["ok"]) == (0, FILES)
    assert "the journal could not be told" in checked.errors
    assert tell("query", "SELECT count(*) AS n FROM copies", "--root", archive).document == [{"n": FILES}]
    assert tell("repair", archive, "--from", backup).code == 0


def test_a_journal_whose_archives_can_still_be_read_need_not_be_told_them(copied, tell, archive, backup, journal):
    with closing(sqlite3.connect(journal)) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'locations'").fetchone()
    overwrite(journal, (page - 1) * 4096, b"\xa5" * 4096)

    told = tell("catalog", "rebuild")

    assert told.code == 0, told.errors
    assert told.document["damage"]
    assert {root["path"]: root["files"] for root in told.document["roots"]} == {str(archive): FILES, str(backup): FILES}


def test_when_archives_were_verified_is_known_again_and_nothing_else_is_said(copied, tell, ingest, archive, journal):
    assert tell("verify", archive).code == 0
    verified = {root["path"]: root["last_verified"] for root in tell("storage", "list").document["storage"]}
    assert verified[str(archive)]
    with closing(sqlite3.connect(journal)) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'locations'").fetchone()
    overwrite(journal, (page - 1) * 4096, b"\xa5" * 4096)

    said = ingest.run("catalog", "rebuild").stdout

    assert "verified" not in said
    assert {root["path"]: root["last_verified"] for root in tell("storage", "list").document["storage"]} == verified


def test_an_archive_in_a_drawer_is_still_known_and_is_learned_when_it_is_mounted(
    copied, tell, archive, backup, journal, tmp_path
):
    with closing(sqlite3.connect(journal)) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'locations'").fetchone()
    overwrite(journal, (page - 1) * 4096, b"\xa5" * 4096)
    backup.rename(tmp_path / "drawer")

    told = tell("catalog", "rebuild")
    (tmp_path / "drawer").rename(backup)
    later = tell("catalog", "rebuild")

    assert told.code == told.document["exit_code"] == 7
    assert [root["path"] for root in told.document["roots"]] == [str(archive)]
    (away,) = told.document["not_read"]
    assert away["path"] == str(backup)
    assert away["problem"]
    assert "ingest catalog rebuild" in away["advice"]
    assert later.code == 0
    assert {root["path"]: root["added"] for root in later.document["roots"]} == {str(archive): 0, str(backup): FILES}


def test_a_journal_that_tells_no_archive_is_left_alone_until_one_is_named(damaged, tell, journal, ingest):
    told = tell("catalog", "rebuild")

    assert told.code == 2
    assert "ingest catalog rebuild ARCHIVE" in told.error["advice"]
    assert journal.read_bytes() == damaged
    assert kept(ingest.home) == []


@pytest.mark.parametrize("what", ["no folder", "no archive", "no manifest"])
def test_what_is_no_archive_is_refused_before_anything_is_set_aside(damaged, tell, archive, tmp_path, journal, what):
    place = tmp_path / "place"
    if what != "no folder":
        place.mkdir()
    if what == "no manifest":
        (place / ".ingest").mkdir()
        shutil.copy(archive / ".ingest/root.json", place / ".ingest/root.json")

    told = tell("catalog", "rebuild", place)

    assert told.code == 4
    assert told.error["path"] == str(place)
    assert journal.read_bytes() == damaged


def test_a_new_machine_learns_what_an_archive_holds(copied, ingest, tell, card, archive):
    shutil.rmtree(ingest.home)
    ingest.home.mkdir()

    told = tell("catalog", "rebuild", archive)
    again = tell("copy", card, archive)

    assert (told.code, told.document["set_aside"], told.document["damage"]) == (0, None, None)
    assert again.document["items"]["duplicate"] == FILES
    assert again.document["bytes"]["verified"] == 0


def test_without_a_journal_and_without_a_name_there_is_nothing_to_do(tell, ingest):
    told = tell("catalog", "rebuild")

    assert told.code == 2
    assert list(ingest.home.iterdir()) == []


def test_a_sound_journal_stays_and_keeps_what_it_knows(copied, ingest, tell, archive, backup, journal):
    told = tell("catalog", "rebuild", archive)

    assert told.code == 0
    assert (told.document["set_aside"], told.document["roots"][0]["added"]) == (None, 0)
    assert kept(ingest.home) == []
    assert [entry["session"] for entry in tell("sessions").document["sessions"]] == [copied]


def test_a_file_that_was_changed_since_is_compared_byte_by_byte_and_not_believed(damaged, tell, card, archive):
    clip = archive / "EOS_DIGITAL/DCIM/100EOSR5/MVI_0002.MP4"
    facts = clip.stat()
    clip.write_bytes(b"x" * facts.st_size)
    assert tell("catalog", "rebuild", archive).code == 0

    told = tell("copy", card, archive)

    assert told.code == 0
    assert (told.document["items"]["finalized"], told.document["items"]["duplicate"]) == (1, FILES - 1)
    assert clip.read_bytes() == b"x" * facts.st_size
    assert clip.with_name("MVI_0002_1.MP4").read_bytes() == (card / "DCIM/100EOSR5/MVI_0002.MP4").read_bytes()


def test_a_damaged_part_is_named_and_what_only_it_tells_is_compared_when_it_is_copied_again(
    damaged, tell, plant, card, archive, backup, tmp_path
):
    shutil.move(tmp_path / "home", tmp_path / "aside")
    other = plant(tmp_path / "OTHER", {"B.MOV": b"other" * 1000})
    assert tell("copy", other, archive).code == 0
    parts = sorted(archive.glob(".ingest/manifests/*/items-*.parquet"), key=lambda part: part.stat().st_mtime_ns)
    overwrite(parts[0], 200, b"\xa5\xa5")
    shutil.rmtree(tmp_path / "home")
    shutil.move(tmp_path / "aside", tmp_path / "home")

    told = tell("catalog", "rebuild", archive)
    again = tell("copy", card, archive)

    assert told.code == told.document["exit_code"] == 7
    (root,) = told.document["roots"]
    assert [entry["path"] for entry in root["damaged"]] == [str(parts[0])]
    assert root["files"] == 1
    assert again.document["items"]["duplicate"] == FILES
    assert again.document["bytes"]["copied"] == 0


def test_a_sentence_says_what_was_kept_what_was_learned_and_what_does_not_come_back(damaged, ingest, archive):
    done = ingest.run("catalog", "rebuild", archive)

    assert done.returncode == 0
    assert "it was damaged" in done.stderr
    assert kept(ingest.home)[0] in done.stderr
    assert f"{archive}: 6 files told by 1 part of its manifests, 6 of them new to the journal." in done.stdout
    assert "not restored: sessions to be resumed" in done.stdout


# A rebuild that does not come to its end, and a journal that is gone


# A rebuild is killed before one call of these.
STEPS = [
    "ingest.db.aside:_nobody_else", "ingest.db.aside:_renamed", "ingest.pipeline.rebuild:open_database",
    "ingest.db.engine:_bring_up", "ingest.pipeline.rebuild:restore_root", "ingest.pipeline.rebuild:_mounted",
    "ingest.pipeline.rebuild:_learn_one", "ingest.pipeline.rebuild:settle",
]  # fmt: skip


@pytest.fixture
def waiting(copied, journal, card):
    """A damaged journal of which archives and a session that waited can still be told."""
    with closing(sqlite3.connect(journal)) as connection:
        connection.execute("UPDATE sessions SET state = 'paused(user)'")
        connection.commit()
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'locations'").fetchone()
    overwrite(journal, (page - 1) * 4096, b"\xa5" * 4096)
    return [{"session": copied, "sources": [str(card)]}]


@pytest.mark.parametrize("step", STEPS)
def test_a_rebuild_that_is_killed_loses_nothing_of_what_it_was_told(waiting, ingest, tell, archive, backup, step):
    done = ingest.run("catalog", "rebuild", killed_before=step)
    assert done.returncode == -signal.SIGKILL
    assert tell("doctor").code == 1

    told = tell("catalog", "rebuild")

    assert told.code == 0, told.errors
    assert told.document["damage"]
    assert told.document["set_aside"] in [str(ingest.home / name) for name in kept(ingest.home)]
    assert {root["path"]: root["files"] for root in told.document["roots"]} == {str(archive): FILES, str(backup): FILES}
    assert told.document["given_up"] == waiting
    again = tell("catalog", "rebuild")
    assert (again.code, again.document["damage"], again.document["given_up"]) == (0, None, []), "it is told once"
    assert tell("doctor").code == 0


def test_a_journal_that_is_gone_is_not_taken_for_one_that_never_was(copied, tell, card, archive, backup, journal):
    journal.unlink()

    for command in (("resume",), ("sessions",), ("copy", card, archive), ("storage", "list"), ("show", "abc")):
        told = tell(*command)
        assert told.code == 1, command
        assert told.error["path"] == str(journal)
        assert "gone" in told.error["cause"]
        assert "ingest catalog rebuild" in told.error["advice"]
    doctor = tell("doctor")
    assert doctor.code == 1
    assert "gone" in next(one["detail"] for one in doctor.document["findings"] if one["status"] == "wrong")
    assert not journal.exists()

    unnamed = tell("catalog", "rebuild")
    assert unnamed.code == 2
    assert "sessions" in unnamed.error["advice"]
    told = tell("catalog", "rebuild", archive, backup)
    assert (told.code, told.document["set_aside"]) == (0, None), told.errors
    assert "gone" in told.document["damage"]
    assert tell("copy", card, archive).document["items"]["duplicate"] == FILES


def test_whoever_has_no_archive_yet_can_begin_anew(copied, tell, card, archive, ingest, journal, tmp_path):
    shutil.rmtree(archive / ".ingest")
    journal.unlink()
    told = tell("catalog", "rebuild")
    assert (told.code, "move away what is left of it" in told.error["advice"]) == (2, True)

    shutil.move(ingest.home / "sessions", tmp_path / "sessions")
    shutil.rmtree(ingest.home / "trails", ignore_errors=True)

    assert tell("copy", card, archive).code == 0
