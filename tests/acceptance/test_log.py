"""The log (`--log-file`) and the trail of events (`show --events`): what happened, for those who ask later."""

from __future__ import annotations

import json
import os
from datetime import datetime, timedelta

import pytest

LEVELS = {"info", "warning", "error"}


@pytest.fixture
def tmp_path(same_place):
    return same_place


def log_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_line_has_a_time_a_level_an_event_and_the_session(tell, card, archive, tmp_path):
    told = tell("copy", card, archive, "--log-file", tmp_path / "log")

    lines = log_of(tmp_path / "log")
    assert told.code == 0
    assert [line["event"] for line in lines] == ["started", "begun", *["copy"] * 6, "ended", "finished"]
    for line in lines:
        assert datetime.fromisoformat(line["time"]).utcoffset() == timedelta(0)
        assert line["level"] in LEVELS
        assert line["command"] == "copy"
        assert line["session"] == told.document["session"]
        assert None not in [value for key, value in line.items() if key not in ("reason", "eta")]
    assert lines[-1]["items"] == told.document["items"]
    assert {line["path"] for line in lines if line["event"] == "copy"} == {
        f"EOS_DIGITAL/{path.relative_to(card)}" for path in card.rglob("*") if path.is_file()
    }


def test_what_did_not_arrive_is_told_with_operation_errno_and_cause(tell, plant, archive, tmp_path):
    card = plant(tmp_path / "CARD", {"a.mov": b"a", "sub/b\n.mov": b"b"})
    (archive / "CARD").mkdir()
    (archive / "CARD/sub").write_bytes(b"a file in the folder's place")

    told = tell("copy", card, archive, "--label", "CARD", "--log-file", tmp_path / "log")

    assert told.code == 7
    (failed,) = [line for line in log_of(tmp_path / "log") if line["event"] == "failure"]
    assert failed["level"] == "error"
    assert failed["path"] == f"{card}/sub/b\n.mov"
    assert failed["root"] == str(archive)
    assert failed["operation"]
    assert failed["cause"].startswith("failed (")
    assert log_of(tmp_path / "log")[-1]["level"] == "error"


def test_names_that_are_not_utf_8_are_told_as_in_the_documents(tell, plant, archive, tmp_path):
    card = plant(tmp_path / "CARD", {b"a\xff.mov": b"a"})

    assert tell("copy", card, archive, "--log-file", tmp_path / "log").code == 0

    (copied,) = [line for line in log_of(tmp_path / "log") if line["event"] == "copy"]
    assert copied["path"] == "CARD/a\\xff.mov"
    assert copied["path_b64"]


def test_a_log_is_appended_to_by_all_commands(tell, card, archive, backup, tmp_path):
    log = ("--log-file", tmp_path / "log")
    assert tell("copy", card, archive, "--also", backup, *log).code == 0
    os.truncate(archive / "EOS_DIGITAL/.cameraid", 1)

    assert tell("resume", *log).code == 0
    assert tell("verify", archive, *log).code == 3
    assert tell("check", card, "--same-volume", *log).code == 1
    assert tell("repair", archive, "--from", backup, *log).code == 0
    assert tell("verify", tmp_path / "nowhere", *log).code == 4

    lines = [(line["command"], line["event"], line["level"]) for line in log_of(tmp_path / "log")]
    assert [line for line in lines if line[0] != "copy"] == [
        ("verify", "changed", "error"), ("verify", "finished", "error"),
        ("check", "not_covered", "error"), ("check", "finished", "error"),
        ("repair", "repaired", "warning"), ("repair", "finished", "info"),
        ("verify", "error", "error"),
    ]  # fmt: skip


def test_a_log_that_cannot_be_opened_stops_before_anything_is_done(tell, card, archive):
    told = tell("copy", card, archive, "--log-file", archive)

    assert told.code != 0
    assert told.error["operation"] == "--log-file"
    assert list(archive.iterdir()) == []


NEVER = ["card", "below the card", "copy", "marker", "new in the archive", "link to the card", "backup"]


@pytest.mark.parametrize("where", NEVER)
@pytest.mark.parametrize("option", ["--log-file", "--events"])
def test_no_line_is_ever_written_to_footage_or_into_an_archive(
    tell, once, card, archive, backup, tmp_path, snapshot, option, where
):
    clip = card / "DCIM/100EOSR5/MVI_0002.MP4"
    assert once("copy", card, archive, "--also", backup).code == 0
    (tmp_path / "link").symlink_to(clip)
    target = {
        "card": clip, "below the card": card / "new.log", "copy": archive / "EOS_DIGITAL/DCIM/100EOSR5/MVI_0002.MP4",
        "marker": archive / ".ingest/root.json", "new in the archive": archive / "logs.jsonl",
        "link to the card": tmp_path / "link", "backup": backup / "x",
    }[where]  # fmt: skip
    before = [snapshot(place) for place in (card, archive, backup)]

    told = tell("copy", card, archive, option, target)

    assert (told.code, told.error["operation"]) == (2, option)
    assert told.error["path"] == str(target.resolve())
    assert [snapshot(place) for place in (card, archive, backup)] == before


@pytest.mark.parametrize(
    "command", [("verify", "archive"), ("repair", "archive", "--from", "EOS_DIGITAL"), ("check", "EOS_DIGITAL"), ("resume",)], ids=" ".join
)  # fmt: skip
def test_whatever_the_command_its_log_is_not_written_to_what_it_works_on(
    tell, once, card, archive, ingest, snapshot, tmp_path, command
):
    session = once("copy", card, archive).document["session"]
    words = [tmp_path / word if (tmp_path / word).is_dir() else word for word in command]
    if command == ("resume",):
        words.append(session[:13])
    before = snapshot(card), snapshot(archive)

    for target in (card / "x.log", archive / "x.log"):
        if command[0] == "verify" and target.parent == card:
            continue
        assert tell(*words, "--log-file", target).code == 2, target

    assert (snapshot(card), snapshot(archive)) == before


@pytest.mark.parametrize("text", ["a clip of somebody's", "[1]", "{", '{\n  "of": "another program"}\n'])
def test_a_file_that_holds_no_such_lines_is_not_appended_to(tell, card, archive, tmp_path, text):
    (tmp_path / "file").write_text(text)

    told = tell("copy", card, archive, "--log-file", tmp_path / "file")

    assert told.code == 2
    assert "something else" in told.error["cause"]
    assert (tmp_path / "file").read_text() == text


def test_a_log_may_be_empty_or_reached_by_a_link(tell, card, archive, tmp_path):
    (tmp_path / "log").touch()
    (tmp_path / "link").symlink_to(tmp_path / "log")
    (tmp_path / "dangling").symlink_to(tmp_path / "new")

    assert tell("copy", card, archive, "--log-file", tmp_path / "link").code == 0
    assert tell("copy", card, archive, "--log-file", tmp_path / "dangling").code == 0

    assert log_of(tmp_path / "log")[-1]["event"] == log_of(tmp_path / "new")[-1]["event"] == "finished"


@pytest.mark.parametrize("option", ["--log-file", "--events"])
def test_a_pipe_that_nobody_reads_is_refused_and_one_that_somebody_reads_is_not(tell, card, archive, tmp_path, option):
    os.mkfifo(tmp_path / "pipe")

    told = tell("copy", card, archive, option, tmp_path / "pipe")

    assert told.code == 1
    assert told.error["operation"] == option
    assert list(archive.iterdir()) == []
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert tell("copy", card, archive, option, tmp_path / "pipe").code == 0
        assert b'"finished"' in os.read(reader, 1 << 16)
    finally:
        os.close(reader)


def test_standard_error_and_nothing_at_all_are_places_for_a_log(tell, card, archive):
    told = tell("copy", card, archive, "--log-file", "/dev/stderr")

    assert told.code == 0
    assert '"event": "finished"' in told.errors
    assert tell("copy", card, archive, "--log-file", os.devnull).code == 0


def test_a_log_whose_disk_is_full_is_given_up_with_one_warning(tell, card, archive, media):
    told = tell("copy", card, archive, "--log-file", "/dev/full")

    assert told.code == 0, told.errors
    assert told.errors.count("the log is no longer written") == 1
    assert media(archive / "EOS_DIGITAL") == media(card)


def test_the_trail_of_a_session_to_which_nothing_happened_is_two_events(tell, once, ingest, card, archive):
    session = once("copy", card, archive).document["session"]

    told = tell("show", session, "--events")
    said = ingest.run("show", session, "--events")

    assert told.code == said.returncode == 0
    begun, ended = told.document["events"]
    assert (begun["event"], ended["event"]) == ("begun", "ended")
    assert set(begun) == {"time", "run", "event", "text", "root", "item", "path", "operation", "errno"}
    assert ended["text"] == "completed: 6 discovered, 6 finalized"
    assert "What happened:" in said.stdout
    assert "events" not in tell("show", session).document


def test_the_trail_tells_of_every_run_and_of_what_failed(tell, plant, archive, tmp_path):
    card = plant(tmp_path / "CARD", {"a.mov": b"a", "sub/b.mov": b"b"})
    (archive / "CARD").mkdir()
    (archive / "CARD/sub").write_bytes(b"a file in the folder's place")
    session = tell("copy", card, archive, "--label", "CARD").document["session"]
    (archive / "CARD/sub").unlink()
    assert tell("resume", session).code == 0

    events = tell("show", session, "--events").document["events"]

    kinds = [(event["run"], event["event"]) for event in events]
    assert kinds[0] == (1, "begun")
    assert kinds[-2:] == [(2, "resumed"), (2, "ended")]
    (failed,) = [event for event in events if event["event"] == "failure"]
    assert failed["path"] == f"{card}/sub/b.mov"
    assert failed["root"] == str(archive)
    assert failed["errno"]
    assert [event["text"] for event in events if event["event"] == "ended"][-1].startswith("completed:")


def test_all_items_of_a_state_are_listed_with_what_to_do(tell, ingest, plant, archive, tmp_path):
    """More than a page of the journal, and more than a document's failures."""
    card = plant(tmp_path / "CARD", {f"{number:04}.tmp": b"" for number in range(1203)})
    session = tell("copy", card, archive, "--exclude", "*.tmp").document["session"]

    told = tell("show", session, "--items", "excluded")
    said = ingest.run("show", session, "--items", "excluded")

    listed = told.document["items_listed"]
    assert [os.path.basename(item["path"]) for item in listed] == [f"{number:04}.tmp" for number in range(1203)]
    assert all("--exclude" in item["advice"] for item in listed)
    assert said.stdout.count(".tmp: excluded") == 1203


def test_what_waits_is_listed_in_one_word(ingest, tell, plant, archive, make_disk):
    small = make_disk("ext4")
    card = plant(archive.parent / "CARD", {"big.mov": bytes(200 << 20), "a.mov": b"a"})
    told = tell("copy", card, small)
    assert told.code == 8

    waiting = tell("show", told.document["session"], "--items", "waiting")

    assert [item["state"] for item in waiting.document["items_listed"]] == ["discovered", "discovered"]
    assert all("ingest resume" in item["advice"] for item in waiting.document["items_listed"])
    assert "root_paused" in [
        event["event"] for event in tell("show", told.document["session"], "--events").document["events"]
    ]


@pytest.mark.parametrize("state", ["nothing", "paused"])
def test_a_state_that_does_not_exist_is_refused_with_those_that_do(tell, once, card, archive, state):
    session = once("copy", card, archive).document["session"]

    told = tell("show", session, "--items", state)

    assert told.code == 2
    assert "waiting" in told.error["advice"]
