"""A command that makes no sense is refused before anything happens, in a sentence and, with --json, in a document."""

from __future__ import annotations

import json
import os

import pytest

MISTAKES = [
    ("copy", "card"),
    ("copy", "card", "archive", "--no-such-option"),
    ("copy", "card", "archive", "--buffer", "3000"),
    ("copy", "card", "archive", "--buffer", "2KiB"),
    ("copy", "card", "archive", "--buffer", "128MiB"),
    ("copy", "card", "archive", "--buffer", "fast"),
    ("copy", "card", "archive", "--workers", "0"),
    ("copy", "card", "archive", "--workers", "two"),
    ("copy", "card", "archive", "--threads", "0"),
    ("copy", "card", "archive", "--batch", "0"),
    ("copy", "card", "archive", "--batch", "1001"),
    ("copy", "card", "archive", "--flush", "never"),
    ("copy", "card", "archive", "--cache", "forget"),
    ("copy", "card", "archive", "--read-mode", "telepathy"),
    ("copy", "card", "archive", "--duplicates", "maybe"),
    ("copy", "card", "archive", "--profile", "no-such-profile"),
    ("copy", "card", "archive", "--events", "-"),
    ("copy", "card", "archive", "--also", "./archive/../archive/"),
    ("copy", "card", "card", "archive"),
    ("copy", "card", "card/DCIM"),
    ("copy", "card/DCIM", "card"),
    ("copy", "card", "archive", "--also", "card/DCIM"),
    ("copy", "card", "a-file"),
    ("copy", "card", "archive", "--create", "--also", "card/new"),
    ("scan", "card", "--to", "card/DCIM"),
    ("resume", "--events", "-"),
    ("query",),
    ("query", "SELECT 1", "--root", "archive", "--csv"),
    ("verify",),
    ("show",),
    ("no-such-command",),
    # A variable of a script that is not set; it would stand for the folder that it runs in.
    ("copy", "", "archive"),
    ("copy", "card", ""),
    ("copy", "card", "archive", "--also", ""),
    ("copy", "card", "archive", "--log-file", ""),
    ("check", ""),
    ("check", "card", "--root", ""),
    ("scan", ""),
    ("verify", ""),
    ("repair", "", "--from", "archive"),
    ("query", "SELECT 1", "--root", ""),
    ("clear", ""),
    ("storage", "forget", ""),
    ("storage", "relocate", "", "archive"),
    ("catalog", "rebuild", ""),
]


@pytest.fixture(scope="module")
def desk(shared):
    """A card, an empty archive and a file, side by side."""
    shared.plant("card", {"DCIM/a.jpg": b"a"})
    shared.plant("archive", {})
    (shared.folder / "a-file").write_bytes(b"")
    return shared


@pytest.mark.parametrize("mistake", MISTAKES, ids=" ".join)
def test_a_mistake_is_refused_with_one_document_and_one_line_and_nothing_is_touched(desk, mistake, snapshot):
    before = snapshot(desk.folder)

    told = desk.tell(*mistake, cwd=desk.folder)

    assert told.code == 2, told.errors
    assert set(told.document) == {"error", "exit_code"}
    assert told.document["exit_code"] == 2
    assert {"path", "operation", "errno", "cause", "advice"} <= set(told.error)
    assert told.error["cause"]
    assert told.error["advice"]
    assert len(told.errors.splitlines()) == 1
    assert told.errors.startswith("ingest: ")
    assert snapshot(desk.folder) == before


def test_without_json_there_is_a_line_on_stderr_and_nothing_on_stdout(desk):
    done = desk.run("copy", "--no-such-option")

    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert "--no-such-option" in done.stderr


def test_a_destination_that_is_not_there_may_be_a_disk_that_is_not_mounted(desk, snapshot):
    before = snapshot(desk.folder)

    told = desk.tell("copy", "card", "no-disk", cwd=desk.folder)
    also = desk.tell("copy", "card", "archive", "--also", "no-disk", cwd=desk.folder)

    for each in (told, also):
        assert each.code == 4
        assert "is the disk mounted" in each.error["cause"]
        assert each.error["path"] == str(desk.folder / "no-disk")
        assert "--create" in each.error["advice"]
    assert snapshot(desk.folder / "card") == {
        k[5:]: v for k, v in before.items() if k == b"card" or k.startswith(b"card/")
    }
    assert not (desk.folder / "no-disk").exists()


def test_create_makes_the_folders_that_are_missing(tell, card, tmp_path, media):
    told = tell("copy", card, tmp_path / "new" / "archive", "--also", tmp_path / "new" / "backup", "--create")

    assert told.code == 0, told.errors
    assert media(tmp_path / "new/archive/EOS_DIGITAL") == media(tmp_path / "new/backup/EOS_DIGITAL") == media(card)


def test_a_mount_folder_without_its_disk_is_refused_unless_it_is_meant(tell, card):
    told = tell("copy", card, "/mnt")

    if told.code != 4:
        pytest.fail(f"/mnt was taken for an archive: {told}") if not os.path.ismount("/mnt") else pytest.skip(
            "a disk is at /mnt"
        )
    assert "is the disk mounted" in told.error["cause"]


@pytest.mark.parametrize("wanted", ["4k", "4096", "64MiB"])
def test_a_buffer_may_be_written_in_several_ways(desk, wanted):
    told = desk.tell("copy", desk.folder / "card", desk.folder / "archive", "--buffer", wanted, "--dry-run")

    assert told.code == 0, told.errors


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("resume", "ffffffff"), 4), (("show", "ffffffff"), 4), (("verify", "no-such-place"), 4),
        (("query", "SELECT 1", "--root", "no-such-place"), 4), (("scan", "no-such-card"), 4), (("query", "SELECT 1"), 4),
        (("copy", "card", "archive", "--events", "no-folder/events"), 4), (("show", ""), 4),
    ],
)  # fmt: skip
def test_what_is_not_there_is_exit_4_with_what_to_do(desk, arguments, code):
    told = desk.tell(*arguments, cwd=desk.folder)

    assert told.code == told.document["exit_code"] == code
    assert told.error["advice"]


@pytest.mark.parametrize(
    "command",
    [
        ("copy", "{card}", "{archive}"),
        ("sessions",),
        ("resume",),
        ("check", "{card}"),
        ("storage", "list"),
        ("doctor",),
    ],
    ids=" ".join,
)
def test_a_home_that_is_no_folder_is_an_error_and_not_an_empty_journal(tell, card, archive, ingest, command):
    ingest.home.rmdir()
    ingest.home.write_bytes(b"a file")

    told = tell(*(word.format(card=card, archive=archive) for word in command))

    assert told.code == 1
    assert '"internal"' not in json.dumps(told.document)
    assert "INGEST_HOME" in json.dumps(told.document)


def test_a_home_of_any_name_works(tell, ingest, card, archive, tmp_path):
    odd = type(ingest)(tmp_path / "what?mode=ro #1 %41 é")

    told = tell("copy", card, archive, by=odd)
    checked = tell("doctor", by=odd)
    listed = tell("sessions", by=odd)

    assert told.code == checked.code == 0, told.errors + json.dumps(checked.document)
    assert len(listed.document["sessions"]) == 1
    assert sorted(path.name for path in tmp_path.glob("what*")) == ["what?mode=ro #1 %41 é"]
    assert (odd.home / "ingest.sqlite3").is_file()
