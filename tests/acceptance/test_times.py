"""Times that no manifest can hold: before 1677-09-21 and after 2262-04-11, on files and on folders.

Such a file fails alone, with a reason of its own; a folder only carries its time, and gets the nearest that can be held.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

ADVICE = "Its time is beyond what a manifest can hold (1677-09-21 to 2262-04-11): set it with touch, then copy again"
FIRST, LAST = -(1 << 63), (1 << 63) - 1


def moment(*date: int) -> int:
    """Nanoseconds from the epoch to midnight of a day."""
    return int((datetime(*date, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * 10**9


# Each is the time of a file and of the folder that another file lies in.
BEYOND = {"JUST": moment(2262, 4, 12), "LATE": moment(2400, 1, 1), "EARLY": moment(1600, 1, 1)}
SOUND = {**{f"{name}/{name}.JPG": name.encode() * 100 for name in BEYOND}, "A.MOV": b"footage" * 1000}
UNTIMELY = {f"{name}.MOV": name.encode() * 50 for name in BEYOND}


def give(path, time):
    os.utime(path, ns=(time, time))
    if os.stat(path).st_mtime_ns != time:
        pytest.skip("no file system here keeps such times")


@pytest.fixture
def sound(plant):
    """A card on a file system that keeps any time: ext4 begins in 1901, and xfs may end in 2038."""
    if not os.path.isdir("/dev/shm"):
        pytest.skip("needs /dev/shm")
    folder = tempfile.mkdtemp(prefix="ingest-times-", dir="/dev/shm")
    yield plant(Path(folder) / "EOS_DIGITAL", SOUND | UNTIMELY)
    shutil.rmtree(folder)


@pytest.fixture
def card(sound):
    for name, time in BEYOND.items():
        give(sound / f"{name}.MOV", time)
        give(sound / name, time)
    return sound


def test_such_files_fail_alone_and_all_others_arrive(tell, ingest, card, archive, rows, media):
    told = tell("copy", card, archive)

    assert (told.code, told.document["state"]) == (7, "completed_with_errors"), told.errors
    assert (told.document["items"]["failed"], told.document["items"]["finalized"]) == (len(UNTIMELY), len(SOUND))
    for failure in told.document["failures"]:
        assert (failure["state"], failure["reason"], failure["advice"]) == ("failed", "time", ADVICE)
    assert {os.path.basename(each["path"]) for each in told.document["failures"]} == set(UNTIMELY)
    arrived = {os.fsdecode(path): content for path, (content, _) in media(archive).items() if content is not None}
    assert arrived == {f"EOS_DIGITAL/{path}": content for path, content in SOUND.items()}
    # The manifest has them, with the nearest time that it can hold.
    failed = rows(archive, "SELECT source_path, reason, mtime_ns FROM copies WHERE state = 'failed'")
    assert {row["reason"] for row in failed} == {"time"}
    times = {os.path.basename(row["source_path"]): row["mtime_ns"] for row in failed}
    assert times == {"JUST.MOV": LAST, "LATE.MOV": LAST, "EARLY.MOV": FIRST}
    assert ADVICE in ingest.run("show", told.document["session"][:8], "--items", "failed").stdout
    # Of the folders it is said that they have another time.
    (warning,) = told.document["warnings"]
    assert "(and of 2 more) is beyond what can be held" in warning
    for name, time in BEYOND.items():
        there = (archive / "EOS_DIGITAL" / name).stat().st_mtime_ns
        assert abs(there) < abs(time)


def test_tried_again_they_stay_failed_until_their_time_is_set(tell, card, archive, media):
    session = tell("copy", card, archive).document["session"]
    # The engine tells every time beyond as the last one that there is.
    give(card / "LATE.MOV", moment(2500, 1, 1))

    again = tell("resume", session)

    assert (again.code, again.document["items"]["failed"]) == (7, len(UNTIMELY))
    assert {failure["reason"] for failure in again.document["failures"]} == {"time"}
    assert not list(archive.glob("EOS_DIGITAL/*[EY].MOV"))
    for name in UNTIMELY:
        give(card / name, moment(2024, 5, 6))
    mended = tell("resume", session)
    assert (mended.code, mended.document["items"]["finalized"]) == (0, len(UNTIMELY) + len(SOUND)), mended.errors
    assert media(archive)[b"EOS_DIGITAL/LATE.MOV"] == (UNTIMELY["LATE.MOV"], moment(2024, 5, 6))


def test_a_file_of_such_a_time_that_is_named_alone_fails(tell, card, archive):
    told = tell("copy", card / "LATE.MOV", archive)

    assert (told.code, told.document["failures"][0]["reason"]) == (7, "time")


def test_scan_and_dry_run_show_them(tell, card, archive):
    for command in (("scan", card), ("copy", card, archive, "--dry-run")):
        told = tell(*command)
        assert told.code == 0, told.errors
        found = {os.path.basename(line["source_path"]): line for line in told.document["items"]}
        assert {(found[name]["decision"], found[name]["reason"]) for name in UNTIMELY} == {("failed", "time")}
        assert {found[os.path.basename(path)]["decision"] for path in SOUND} == {"new"}


def test_check_keeps_them_with_that_reason(tell, card, archive):
    tell("copy", card, archive)

    for way in ((), ("--fast",)):
        told = tell("check", card, "--copies", "1", "--same-volume", "--accept-reread", *way)

        assert (told.code, told.document["covered"]) == (1, len(SOUND)), told.errors
        assert {os.path.basename(kept["path"]) for kept in told.document["not_covered"]} == set(UNTIMELY)
        for kept in told.document["not_covered"]:
            assert kept["reason"] == "its time is beyond what a manifest can hold (1677-09-21 to 2262-04-11)"
            assert kept["advice"] == ADVICE


def test_the_last_times_that_can_be_held_are_kept_and_what_is_left_out_anyway_does_not_fail(tell, sound, archive, rows):
    give(sound / "JUST.MOV", LAST - 1)
    give(sound / "EARLY.MOV", FIRST + 1)
    give(sound / "LATE.MOV", BEYOND["LATE"])

    told = tell("copy", sound, archive, "--exclude", "LATE.MOV")

    items = told.document["items"]
    assert (told.code, items["excluded"], items["finalized"]) == (0, 1, len(SOUND) + 2), told.errors
    times = {row["mtime_ns"] for row in rows(archive, "SELECT mtime_ns FROM copies WHERE state = 'finalized'")}
    assert {LAST - 1, FIRST + 1} < times
