"""An ordinary user meets files, folders and archives that they may not open: it is said, and the rest arrives."""

from __future__ import annotations

import os
import subprocess

import pytest


@pytest.fixture
def card(stranger):
    """A card of the stranger's."""
    files = {
        "DCIM/a.jpg": b"a",
        "DCIM/locked.jpg": b"secret",
        "shut/in.jpg": b"x",
        "blind/name.jpg": b"y",
        "b.jpg": b"b",
    }
    return stranger.plant("CARD", files)


@pytest.fixture
def archive(stranger):
    return stranger.plant("archive", {})


@pytest.fixture
def ask(stranger):
    return stranger.tell


def test_unreadable_files_and_folders_are_listed_with_advice_and_the_rest_arrives(ask, card, archive):
    (card / "DCIM/locked.jpg").chmod(0)
    (card / "shut").chmod(0)
    (card / "blind").chmod(0o444)  # it can be listed, but nothing in it can be looked at

    told = ask("copy", card, archive)

    assert told.code == told.document["exit_code"] == 7, told.errors
    assert told.document["state"] == "completed_with_errors"
    failures = {os.path.relpath(failure["path"], card): failure for failure in told.document["failures"]}
    assert set(failures) == {"DCIM/locked.jpg", "shut", "blind/name.jpg"}
    for failure in failures.values():
        assert (failure["state"], failure["reason"], failure["errno"]) == ("failed", "permission", 13)
        assert "right" in failure["advice"]
        assert failure["operation"]
    assert told.document["failures_total"] == told.document["items"]["failed"] == 3
    assert told.document["items"]["finalized"] == 2
    assert (archive / "CARD/DCIM/a.jpg").read_bytes() == b"a"
    assert not (archive / "CARD/DCIM/locked.jpg").exists()


def test_the_summary_says_what_did_not_arrive_and_that_the_source_is_to_be_kept(stranger, card, archive):
    (card / "DCIM/locked.jpg").chmod(0)

    done = stranger.run("copy", card, archive)

    assert done.returncode == 7
    assert "1 file did NOT arrive:" in done.stdout
    assert f"{card}/DCIM/locked.jpg: failed (permission)." in done.stdout
    assert "NOT FULLY ARCHIVED" in done.stdout
    assert "Keep the source." in done.stdout


def test_resume_of_a_session_by_name_tries_its_failed_files_again(ask, card, archive, media):
    (card / "DCIM/locked.jpg").chmod(0)
    first = ask("copy", card, archive)

    untouched = ask("resume")
    too_early = ask("resume", first.document["session"])
    (card / "DCIM/locked.jpg").chmod(0o644)
    told = ask("resume", first.document["session"][:8])

    assert (first.code, too_early.code, untouched.code) == (7, 7, 0)
    assert untouched.document == []
    assert told.code == 0, told.errors
    assert told.document["session"] == first.document["session"]
    assert told.document["state"] == "completed"
    assert told.document["items"]["failed"] == 0
    assert told.document["items"]["finalized"] == 5
    assert media(archive / "CARD") == media(card)
    assert ask("verify", archive, "--strict").document["ok"] == 5


def test_resume_finds_what_is_in_a_folder_that_could_not_be_read_the_first_time(ask, card, archive, media):
    (card / "shut").chmod(0)
    first = ask("copy", card, archive)
    (card / "shut").chmod(0o755)

    told = ask("resume", first.document["session"])

    assert first.code == 7
    assert media(archive / "CARD") == media(card), (told.code, told.document)
    assert told.code == 0, told.document


def test_nothing_at_all_readable_is_exit_5(ask, stranger, archive):
    source = stranger.plant("LOCKED", {"a.jpg": b"a", "d/b.jpg": b"b"})
    for file in ("a.jpg", "d/b.jpg"):
        (source / file).chmod(0)

    told = ask("copy", source, archive)

    assert told.code == told.document["exit_code"] == 5
    assert told.document["items"]["failed"] == 2


def test_a_source_that_cannot_be_opened_is_exit_5(ask, card, archive):
    card.chmod(0)

    told = ask("copy", card, archive)

    assert told.code == 5
    assert told.error["path"] == str(card)


def test_an_archive_that_cannot_be_written_is_exit_5(ask, card, archive, snapshot):
    archive.chmod(0o555)
    before = snapshot(archive)

    told = ask("copy", card, archive)

    assert told.code == 5
    assert told.error["errno"] == 13
    assert str(archive) in told.error["path"]
    assert told.error["advice"]
    assert snapshot(archive) == before


def test_a_cards_folder_in_the_archive_that_cannot_be_written_fails_its_files(ask, card, archive):
    assert ask("copy", card, archive, "--only", "b.jpg").code == 0
    (archive / "CARD").chmod(0o555)

    told = ask("copy", card, archive)
    (archive / "CARD").chmod(0o755)
    again = ask("copy", card, archive)

    assert told.code == 7
    assert {failure["reason"] for failure in told.document["failures"]} == {"permission"}
    assert told.document["items"]["duplicate"] == 1
    assert again.code == 0
    assert again.document["items"]["finalized"] == 4


def test_a_home_that_cannot_be_written_stops_before_anything_is_copied(ask, stranger, card, archive):
    stranger.home.chmod(0o555)

    told = ask("copy", card, archive)
    plan = ask("scan", card, "--to", archive)

    assert told.code in (1, 5)
    assert told.error["operation"] != "internal", told.error
    assert "INGEST_HOME" in told.error["advice"] or "folder" in told.error["advice"]
    assert [entry.name for entry in archive.iterdir() if entry.name != ".ingest"] == []
    assert plan.code == 0, plan.errors


def test_verify_and_query_need_no_right_to_write(ask, stranger, card, archive):
    assert ask("copy", card, archive).code == 0
    for path in (archive, archive / ".ingest", archive / ".ingest/manifests", stranger.home):
        path.chmod(0o555)

    checked = ask("verify", archive)
    asked = ask("query", "SELECT count(*) AS n FROM copies", "--root", archive)

    assert checked.code == 0, checked.errors
    assert checked.document["ok"] == 5
    assert asked.document == [{"n": 5}]


def test_a_journal_that_could_not_be_written_once_can_be_used_again(ask, stranger, card, archive):
    assert ask("copy", card, archive).code == 0
    journal = stranger.home / "ingest.sqlite3"
    before = sorted(stranger.home.iterdir())
    journal.chmod(0o400)

    refused = ask("copy", card, archive)
    left = sorted(stranger.home.iterdir())
    journal.chmod(0o600)
    again = ask("copy", card, archive)

    assert refused.code == 5
    assert (refused.error["path"], refused.error["cause"]) == (str(journal), "this user cannot write it")
    assert "chmod" in refused.error["advice"]
    assert left == before, "SQLite's shared memory would keep the mode"
    assert again.code == 0, again.errors


@pytest.mark.parametrize("beside", ["-wal", "-shm"])
def test_what_keeps_a_journal_from_being_written_is_named(ask, stranger, card, archive, beside):
    assert ask("copy", card, archive).code == 0
    left = stranger.home / f"ingest.sqlite3{beside}"
    left.touch()
    left.chmod(0o400)
    if "user" in stranger.options:
        os.chown(left, stranger.options["user"], stranger.options["group"])

    told = ask("copy", card, archive)

    assert told.code == 5
    assert told.error["path"] == str(left)
    assert "right to write" in told.error["advice"]


def test_a_journal_that_cannot_be_written_can_still_be_looked_at(ask, stranger, card, archive):
    session = ask("copy", card, archive).document["session"]
    stranger.home.chmod(0o555)
    for file in stranger.home.iterdir():
        file.chmod(0o444)

    assert [entry["session"] for entry in ask("sessions").document["sessions"]] == [session]
    assert ask("show", session).document["items"]["finalized"] == 5
    assert ask("scan", card, "--to", archive).document["counts"]["duplicate"] == 5


def test_verify_says_that_a_file_cannot_be_read_instead_of_calling_it_missing(ask, card, archive):
    assert ask("copy", card, archive).code == 0
    (archive / "CARD/b.jpg").chmod(0)

    told = ask("verify", archive)

    assert told.code == 3
    assert told.document["missing"] == []
    (changed,) = told.document["changed"]
    assert changed["path"] == str(archive / "CARD/b.jpg")
    assert "denied" in changed["reason"].lower()


@pytest.mark.root
def test_a_card_that_is_mounted_read_only_is_no_problem(tell, tmp_path, plant, bind, media):
    card = plant(tmp_path / "medium", {"DCIM/a.jpg": b"a"})
    mount = bind(card, "CARD")
    subprocess.run(["mount", "-o", "remount,ro,bind", mount], check=True)
    (tmp_path / "archive").mkdir()

    told = tell("copy", mount, tmp_path / "archive")

    assert told.code == 0, told.errors
    assert media(tmp_path / "archive/CARD") == media(card)


@pytest.mark.root
def test_an_archive_that_is_mounted_read_only_is_exit_5(tell, tmp_path, plant, bind):
    card = plant(tmp_path / "CARD", {"a.jpg": b"a"})
    mount = bind(plant(tmp_path / "disk", {}), "archive")
    subprocess.run(["mount", "-o", "remount,ro,bind", mount], check=True)

    told = tell("copy", card, mount)

    assert told.code == 5
    assert "read-only" in told.error["advice"]
