"""What is said while work goes on, to machines and to people, and that silence can be had."""

from __future__ import annotations

import json


def events(text):
    return [json.loads(line) for line in text.splitlines()]


def test_events_are_lines_of_json_from_started_to_finished(tell, card, archive, tmp_path):
    (tmp_path / "log.jsonl").write_text('{"event": "of an earlier run"}\n', encoding="utf-8")

    told = tell("copy", card, archive, "--events", tmp_path / "log.jsonl")

    assert told.code == 0, told.errors
    _, *log = events((tmp_path / "log.jsonl").read_text(encoding="utf-8"))
    assert log[0]["event"] == "started"
    assert log[0]["session"] == told.document["session"]
    assert log[-1]["event"] == "finished"
    assert all(isinstance(event["time"], float) for event in log)
    assert [event["time"] for event in log] == sorted(event["time"] for event in log)
    assert {key: log[-1][key] for key in told.document if key != "warnings"} == {
        key: told.document[key] for key in told.document if key != "warnings"
    }
    copies = {event["path"]: event for event in log if event["event"] == "copy"}
    assert len(copies) == 6
    assert {event["state"] for event in copies.values()} == {"finalized"}
    assert all(len(event["blake3"]) == 64 and event["root"] == str(archive) for event in copies.values())


def test_progress_never_falls_and_ends_complete(tell, plant, tmp_path, archive):
    card = plant(tmp_path / "CARD", {f"{n:03}.jpg": b"x" * 20_000 for n in range(300)})

    assert tell("copy", card, archive, "--events", tmp_path / "log").code == 0

    steps = [
        event
        for event in events((tmp_path / "log").read_text())
        if event["event"] == "progress" and event["phase"] == "copying"
    ]
    assert steps
    done = [step["work_done"] for step in steps]
    assert done == sorted(done)
    assert all(step["work_done"] <= step["work"] == 2 * 300 * 20_000 for step in steps)
    assert (steps[-1]["files_done"], steps[-1]["files"]) == (300, 300)
    assert (steps[-1]["work_done"], steps[-1]["eta"]) == (2 * 300 * 20_000, 0.0)


def test_what_is_there_already_is_read_and_told_of(tell, plant, tmp_path, archive):
    card = plant(tmp_path / "CARD", {"a.jpg": b"x" * 20_000, "b.jpg": b"y"})
    assert tell("copy", card, archive).code == 0

    assert tell("copy", card, archive, "--events", tmp_path / "log").code == 0

    *_, last = [event for event in events((tmp_path / "log").read_text()) if event["event"] == "progress"]
    assert (last["files_done"], last["files"], last["work_done"], last["work"]) == (2, 2, 20_001, 20_001)


def test_events_on_stdout_are_all_there_is(ingest, card, archive):
    done = ingest.run("copy", card, archive, "--events", "-")

    assert done.returncode == 0, done.stderr
    assert [event["event"] for event in events(done.stdout)][-1] == "finished"


def test_events_end_with_finished_when_files_failed_too(tell, plant, tmp_path, archive):
    plant(archive / "CARD", {"x": b"a file"})
    card = plant(tmp_path / "CARD", {"x/a.jpg": b"a", "b.jpg": b"b"})

    told = tell("copy", card, archive, "--label", "CARD", "--events", tmp_path / "log")

    assert told.code == 7
    log = events((tmp_path / "log").read_text())
    assert log[-1]["event"] == "finished"
    assert log[-1]["exit_code"] == 7
    assert {event["state"] for event in log if event["event"] == "copy"} == {"failed", "finalized"}


def test_an_events_file_that_cannot_be_written_stops_before_the_copy(tell, card, archive):
    told = tell("copy", card, archive, "--events", archive)

    assert told.code != 0
    assert told.error["path"] == str(archive)
    assert list(archive.iterdir()) == []


def test_quiet_says_nothing_when_all_is_well(ingest, card, archive):
    for command in (
        ("copy", card, archive),
        ("scan", card, "--to", archive),
        ("verify", archive),
        ("sessions",),
        ("doctor",),
    ):
        done = ingest.run(*command, "--quiet")

        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), command


def test_quiet_still_says_what_is_wrong(ingest, plant, tmp_path, archive):
    plant(archive / "CARD", {"x": b"a file"})
    card = plant(tmp_path / "CARD", {"x/a.jpg": b"a", "b.jpg": b"b"})

    done = ingest.run("copy", card, archive, "--label", "CARD", "--quiet")

    assert done.returncode == 7
    assert f"{card}/x/a.jpg" in done.stdout + done.stderr


def test_json_leaves_stderr_empty_when_all_is_well(tell, card, archive):
    for command in (("copy", card, archive), ("scan", card, "--to", archive), ("verify", archive), ("sessions",)):
        told = tell(*command)

        assert (told.code, told.errors) == (0, ""), command
