"""The trail of events keeps what befell a session, and stays small whatever does."""

from __future__ import annotations

import os
import signal

import pytest

FILES = {"A.JPG": 10_000, "B.MOV": 3_000_000, "C.JPG": 70_000}


@pytest.fixture
def trail(shell):
    """The events of a session, as `show` tells them."""

    def ask(session):
        told = shell.run("show", session, "--events")
        assert told.code == 0
        return told.document["events"]

    return ask


@pytest.fixture
def disk(faulty_disk, shell, make_card, tmp_path):
    """A disk that is an archive already."""
    disk = faulty_disk()
    assert shell.run("copy", make_card({"X": 10}, tmp_path / "FIRST").folder, disk.mount).code == 0
    return disk


@pytest.mark.root
@pytest.mark.parametrize(
    ("rule", "operation", "number"),
    [
        ({"op": "write", "act": "flip"}, "verify", 0),
        ({"op": "write", "err": "EIO"}, "write", 5),
        ({"op": "fsync", "err": "EIO"}, "fsync", 5),
    ],
    ids=["flip", "EIO on write", "EIO on fsync"],
)
def test_a_setback_that_was_overcome_is_kept_with_what_it_was(make_card, shell, disk, trail, rule, operation, number):
    card = make_card(FILES)
    disk.rules({**rule, "path": "*/staging/????????/2-*"})

    ended = shell.run("copy", card.folder, disk.mount)

    assert disk.hits()
    assert ended.code == 0, ended.errors
    (setback,) = [event for event in trail(ended.document["session"]) if event["event"] == "setback"]
    assert setback["path"] == str(card.folder / "B.MOV")
    assert setback["root"] == str(disk.mount)
    assert (setback["operation"], setback["errno"]) == (operation, number)
    assert "tried again" in setback["text"]


@pytest.mark.root
def test_a_disk_that_fails_for_ever_fills_no_journal(make_card, shell, disk, trail, journal):
    card = make_card({f"{number:04}.JPG": 100 for number in range(1500)})
    disk.rules({"op": "create", "err": "EACCES", "count": 0, "path": "*/staging/????????/[0-9]*.part"})

    ended = shell.run("copy", card.folder, disk.mount)

    assert ended.code == 5
    events = trail(ended.document["session"])
    assert len(events) <= 1003
    assert [event["event"] for event in events[-2:]] == ["ended", "dropped"]
    kept = sum(event["event"] == "failure" for event in events)
    assert events[-1]["text"] == f"{1500 - kept} more events were not recorded"


def test_a_worker_that_died_is_told_of(make_card, archive, shell, trail):
    card = make_card({"A.JPG": 10_000, "B.MOV": 120 << 20})
    running = shell.start("copy", card.folder, archive)
    with running.catch(card.folder / "B.MOV") as caught:
        os.kill(caught.workers[0], signal.SIGKILL)

    ended = running.end()

    assert ended.code == 0
    (worker,) = [event for event in trail(ended.document["session"]) if event["event"] == "worker"]
    assert "was replaced" in worker["text"]
    assert worker["item"] is not None


def test_a_run_that_was_killed_leaves_its_beginning_and_the_next_says_so(make_card, archive, shell, trail):
    card = make_card({"A.JPG": 10_000, "B.MOV": 120 << 20})
    running = shell.start("copy", card.folder, archive)
    with running.catch(card.folder / "B.MOV"):
        running.kill()
    (report,) = shell.run("sessions").document["sessions"]

    assert shell.run("resume").code == 0

    told = [(event["run"], event["event"]) for event in trail(report["session"])]
    assert told == [(1, "begun"), (2, "resumed"), (2, "ended")]
    resumed = trail(report["session"])[1]
    assert "interrupted without a word" in resumed["text"]


@pytest.mark.root
def test_a_root_that_is_full_and_then_is_not_is_told_both_times(make_card, shell, trail, mounts, tmp_path):
    card = make_card({"A.MOV": 20 << 20})
    small = mounts.tmpfs(tmp_path / "small", "size=16m")
    paused = shell.run("copy", card.folder, small)
    assert paused.code == 8
    mounts.tmpfs(tmp_path / "small", "remount,size=100m")

    assert shell.run("resume").code == 0

    told = [(event["run"], event["event"]) for event in trail(paused.document["session"])]
    assert told == [(1, "begun"), (1, "root_paused"), (1, "ended"), (2, "resumed"), (2, "root_back"), (2, "ended")]
