"""What the places themselves are like: memory, full disks, other file systems, odd times and modes."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest


@pytest.fixture
def memory():
    """A folder in memory, where no read is ever cold."""
    if not os.access("/dev/shm", os.W_OK):
        pytest.skip("there is no /dev/shm here")
    folder = Path(tempfile.mkdtemp(prefix="ingest-acceptance-", dir="/dev/shm"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def disk(tmp_path):
    """Make a small disk of so many bytes: `disk("name", "2m")`; `grow` remounts it."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    mounted = []

    def mount(name, size):
        point = tmp_path / name
        point.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", point], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"no tmpfs here: {done.stderr.strip()}")
        mounted.append(point)
        return point

    yield mount
    for point in mounted:
        subprocess.run(["umount", point], check=True)


@pytest.mark.parametrize("mode", ["direct", "mmap"])
def test_copies_in_memory_arrive_and_are_said_to_be_reread_only(ingest, tell, card, memory, media, mode):
    source = memory / "EOS_DIGITAL"
    shutil.copytree(card, source)
    (memory / "archive").mkdir()

    told = tell("copy", source, memory / "archive", "--read-mode", mode, "--label", "one")
    said = ingest.run("copy", source, memory / "archive", "--label", "two")

    assert told.code == said.returncode == 0, told.errors
    assert told.document["destinations"][0]["verify_method"] == {"direct": 0, "evicted": 0, "reread": 6}
    assert media(memory / "archive/one") == media(source)
    assert "perhaps from memory" in said.stdout


def test_times_before_1970_and_after_2038_are_kept_to_the_nanosecond(tell, plant, tmp_path, archive, rows):
    moments = {"1931.tif": -1_234_567_890_123_456_789, "1970.jpg": 0, "2100.mov": 4_102_444_800_999_999_999}
    card = plant(tmp_path / "card", dict.fromkeys(moments, b"x"))
    for name, moment in moments.items():
        os.utime(card / name, ns=(moment, moment))
        if (card / name).stat().st_mtime_ns != moment:
            pytest.skip("this file system does not keep such times")

    told = tell("copy", card, archive)
    again = tell("copy", card, archive)

    assert told.code == 0, told.errors
    assert {name: (archive / "card" / name).stat().st_mtime_ns for name in moments} == moments
    noted = rows(archive, "SELECT path, mtime_ns FROM copies WHERE state = 'finalized'")
    assert {row["path"].removeprefix("card/"): row["mtime_ns"] for row in noted} == moments
    assert again.document["items"]["duplicate"] == 3


def test_copies_of_write_protected_and_executable_files_are_plain_files_of_the_users(tell, plant, tmp_path, archive):
    card = plant(tmp_path / "card", {"locked.mov": b"l", "tool": b"#!/bin/sh\n"})
    (card / "locked.mov").chmod(0o400)
    (card / "tool").chmod(0o6755)

    told = tell("copy", card, archive)

    assert told.code == 0, told.errors
    assert (archive / "card/locked.mov").stat().st_mode & 0o600 == 0o600
    assert (archive / "card/tool").stat().st_mode & 0o6000 == 0


@pytest.mark.root
def test_what_is_mounted_inside_a_card_is_part_of_it(tell, card, archive, disk):
    inside = disk("inside", "1m")
    (inside / "proxy.mp4").write_bytes(b"proxy")
    subprocess.run(["mount", "--bind", inside, card / "DCIM/EOSMISC"], check=True)
    try:
        told = tell("copy", card, archive)
    finally:
        subprocess.run(["umount", card / "DCIM/EOSMISC"], check=True)

    assert told.code == 0, told.errors
    assert (archive / "EOS_DIGITAL/DCIM/EOSMISC/proxy.mp4").read_bytes() == b"proxy"


@pytest.mark.root
def test_disks_too_small_pause_before_the_first_byte_and_resume_completes_all_of_it(
    ingest, tell, plant, tmp_path, disk, media
):
    card = plant(tmp_path / "CARD", {"clip.mov": os.urandom(3 << 20)})
    small = [disk("one", "2m"), disk("two", "2m")]

    refused = [tell("copy", card, root) for root in small]
    still = tell("resume")
    listed = tell("sessions").document["sessions"]
    said = ingest.run("copy", card, small[0], "--label", "again")
    for root in small:
        subprocess.run(["mount", "-o", "remount,size=64m", root], check=True)
    told = tell("resume")

    assert [each.code for each in refused] == [8, 8]
    assert {each.document["state"] for each in refused} == {"paused(space)"}
    assert {each.document["items"]["waiting"] for each in refused} == {1}
    assert all(str(root) in each.document["problem"] for root, each in zip(small, refused, strict=True))
    assert still.code == 8
    assert [entry["resumable"] for entry in listed] == [True, True]
    assert said.returncode == 8
    assert "PAUSED, NOT FULLY ARCHIVED" in said.stdout
    assert "ingest resume" in said.stdout
    assert told.code == 0, told.errors
    assert [each["state"] for each in told.document] == ["completed"] * 3
    assert [each["session"] for each in told.document[:2]] == [each.document["session"] for each in refused]
    assert media(small[0] / "CARD") == media(small[1] / "CARD") == media(card)


def test_a_hundred_failures_are_listed_and_the_rest_is_counted(ingest, tell, plant, tmp_path, archive):
    plant(archive / "L", {"x": b"a file"})
    card = plant(tmp_path / "card", {**{f"x/{n:03}.jpg": b"%d" % n for n in range(130)}, "good.jpg": b"good"})

    told = tell("copy", card, archive, "--label", "L")
    said = ingest.run("show", told.document["session"])

    assert told.code == 7
    assert len(told.document["failures"]) == 100
    assert told.document["failures_total"] == told.document["items"]["failed"] == 130
    assert "130 files did NOT arrive" in said.stdout
    assert f"ingest show {told.document['session'][:8]} --items failed" in said.stdout
