"""--strategy: copies that share what the source holds, on one file system; recorded, and verified like any copy."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections import Counter

import pytest

pytestmark = pytest.mark.root

MIB = 1 << 20


@pytest.fixture
def place(make_disk, card):
    """The card of these tests and room for an archive on a small disk: `place("xfs")`."""

    def make(kind):
        disk = make_disk(kind)
        shutil.copytree(card, disk / "EOS_DIGITAL")
        (disk / "EOS_DIGITAL/CLIP").mkdir()
        (disk / "EOS_DIGITAL/CLIP/long.mov").write_bytes(os.urandom(MIB) * 40)
        (disk / "archive").mkdir()
        subprocess.run(["sync", "-f", disk], check=True)
        return disk / "EOS_DIGITAL", disk / "archive"

    return make


def among_records(source):
    """How many files btrfs keeps among its own records (btrfs(5), max_inline)."""
    return sum(0 < path.stat().st_size <= 2048 for path in source.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("kind", "strategy"),
    [("xfs", "reflink"), ("btrfs", "reflink"), ("xfs", "hardlink"), ("btrfs", "hardlink"), ("ext4", "hardlink")],
)
def test_a_card_comes_home_without_taking_room_and_says_how(ingest, tell, place, rows, media, snapshot, kind, strategy):
    source, archive = place(kind)
    before, free = snapshot(source), shutil.disk_usage(archive).free
    # What has no blocks to share is written; a link to one cannot be read cold.
    inside = among_records(source) if kind == "btrfs" else 0
    written, warm = (inside, 0) if strategy == "reflink" else (0, inside)

    told = tell("copy", source, archive, "--strategy", strategy)

    assert told.code == 0, told.errors
    [destination] = told.document["destinations"]
    assert destination["strategy"] == {"copy": written, "reflink": 0, "hardlink": 0, strategy: 7 - written}
    assert destination["verify_method"]["reread"] == warm
    assert told.document["bytes"]["copied"] == told.document["bytes"]["read"] == told.document["bytes"]["discovered"]
    assert media(archive / "EOS_DIGITAL") == media(source)
    assert snapshot(source) == before
    assert free - shutil.disk_usage(archive).free < 8 * MIB
    told = rows(archive, "SELECT strategy, verify_method = 'reread' AS warm FROM copies WHERE state = 'finalized'")
    made = Counter((row["strategy"], row["warm"]) for row in told)
    assert made == Counter({("copy", False): written, (strategy, True): warm, (strategy, False): 7 - written - warm})
    same = os.path.samefile(source / "CLIP/long.mov", archive / "EOS_DIGITAL/CLIP/long.mov")
    assert same == (strategy == "hardlink")
    verified = tell("verify", archive)
    assert (verified.code, verified.document["ok"]) == (0, 7)
    again = tell("copy", source, archive, "--strategy", strategy)
    assert (again.code, again.document["items"]["duplicate"]) == (0, 7)
    assert list((archive / ".ingest/staging").iterdir()) == []


def test_the_journal_tells_the_strategy_of_the_slow_way_too(tell, place, rows):
    """Names that are taken send an item another way through the program than the straight one."""
    source, archive = place("xfs")
    assert tell("copy", source, archive, "--label", "CARD").code == 0
    (source / "CLIP/long.mov").write_bytes(b"another clip")

    told = tell("copy", source, archive, "--label", "CARD", "--strategy", "reflink")

    assert told.code == 0, told.errors
    assert rows(archive, "SELECT path, strategy FROM copies WHERE strategy = 'reflink'") == [
        {"path": "CARD/CLIP/long_1.mov", "strategy": "reflink"}
    ]


def test_auto_writes_bytes_on_the_sources_own_disk_too(tell, place, rows):
    source, archive = place("xfs")

    assert tell("copy", source, archive).code == 0

    assert rows(archive, "SELECT DISTINCT strategy FROM copies") == [{"strategy": "copy"}]


def test_the_summary_says_plainly_what_a_hard_link_is(ingest, place):
    source, archive = place("ext4")

    said = ingest.run("copy", source, archive, "--strategy", "hardlink")

    assert said.returncode == 0
    assert "7 copies are the source's own files under a second name" in said.stdout
    assert "Hard links are no second copy" in said.stdout


@pytest.mark.parametrize("options", [[], ["--dry-run"], ["--create"]])
@pytest.mark.parametrize("strategy", ["reflink", "hardlink"])
def test_another_file_system_is_refused_before_anything_is_written(tell, place, archive, strategy, options):
    source, _ = place("xfs")
    destination = archive / "new" if "--create" in options else archive

    told = tell("copy", source, destination, "--strategy", strategy, *options)

    assert told.code == 2
    assert told.error["path"] == str(destination)
    assert "another file system" in told.error["cause"]
    assert "--strategy copy" in told.error["advice"]
    assert list(archive.iterdir()) == []


def test_a_file_system_without_clones_is_found_out_by_trying(ingest, tell, place):
    source, archive = place("ext4")

    told = tell("copy", source, archive, "--strategy", "reflink")

    assert told.code == 2
    assert "its file system makes no clones" in told.error["cause"]
    assert list((archive / ".ingest/staging").iterdir()) == []
    assert tell("sessions").document["sessions"] == []


def test_a_mixed_set_of_destinations_shares_where_it_can_and_says_where_it_cannot(
    ingest, tell, place, archive, rows, media
):
    source, near = place("btrfs")

    told = tell("copy", source, archive, "--also", near, "--strategy", "reflink")

    assert told.code == 0, told.errors
    inside = among_records(source)
    assert [place["strategy"]["reflink"] for place in told.document["destinations"]] == [0, 7 - inside]
    assert [place["strategy"]["copy"] for place in told.document["destinations"]] == [7, inside]
    [warning] = told.document["warnings"]
    assert warning == f"{archive}: copies are written, not cloned: it is on another file system than the source"
    assert told.document["bytes"]["read"] == told.document["bytes"]["discovered"]
    assert media(archive / "EOS_DIGITAL") == media(near / "EOS_DIGITAL") == media(source)
    assert rows(archive, "SELECT DISTINCT strategy FROM copies") == [{"strategy": "copy"}]


@pytest.mark.parametrize("strategy", ["reflink", "hardlink"])
def test_a_card_larger_than_what_is_left_fits_when_it_is_shared(tell, make_disk, strategy):
    disk = make_disk("xfs")
    (disk / "CARD").mkdir()
    (disk / "archive").mkdir()
    room = shutil.disk_usage(disk).free
    with (disk / "CARD/long.mov").open("wb") as clip:
        piece = os.urandom(MIB)
        for _ in range(room * 6 // 10 // MIB):
            clip.write(piece)

    refused = tell("copy", disk / "CARD", disk / "archive")
    told = tell("copy", disk / "CARD", disk / "archive", "--label", "again", "--strategy", strategy)
    planned = tell("copy", disk / "CARD", disk / "archive", "--label", "third", "--strategy", strategy, "--dry-run")

    assert refused.code == 8
    assert told.code == 0, told.errors
    assert told.document["destinations"][0]["strategy"][strategy] == 1
    assert planned.document["destinations"][0]["enough"]
    assert any(sentence.startswith(f"strategy {strategy}: asked for") for sentence in planned.document["how"])


@pytest.mark.parametrize("strategy", ["reflink", "hardlink"])
def test_progress_moves_with_what_is_read_where_nothing_is_written(tell, place, tmp_path, strategy):
    source, archive = place("xfs")

    told = tell("copy", source, archive, "--strategy", strategy, "--events", tmp_path / "log")

    assert told.code == 0, told.errors
    log = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    steps = [event for event in log if event["event"] == "progress" and event["phase"] in ("copying", "finalizing")]
    done, size = [step["work_done"] for step in steps], told.document["bytes"]["discovered"]
    assert done == sorted(done)
    assert {step["work"] for step in steps} == {2 * size}
    assert done[-1] == 2 * size


def test_an_interrupted_session_goes_on_sharing(ingest, tell, place, rows, strace):
    """Killed while it names its files, each of which takes a second; what is resumed is the session with its choices."""
    source, archive = place("xfs")
    process = subprocess.Popen(
        [
            strace, "-f", "-qq", "-o", "/dev/null", "-etrace=renameat2", "-einject=renameat2:delay_exit=1s",
            *ingest.command("copy", source, archive, "--strategy", "reflink", "--quiet"),
        ],
        env=ingest.environment, start_new_session=True,
    )  # fmt: skip
    limit = time.monotonic() + 60
    while not (archive / "EOS_DIGITAL").is_dir():
        assert process.poll() is None
        assert time.monotonic() < limit
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(60)

    assert tell("resume").code == 0

    assert rows(archive, "SELECT DISTINCT strategy FROM copies") == [{"strategy": "reflink"}]


def test_a_file_that_cannot_be_shared_is_copied_and_told_so(ingest, place, rows, strace):
    """One file has as many names as its file system allows."""
    source, archive = place("xfs")
    said = subprocess.run(
        [
            strace, "-f", "-qq", "-o", "/dev/null", "-etrace=linkat", "-einject=linkat:error=EMLINK", "-P", "long.mov",
            *ingest.command("copy", source, archive, "--strategy", "hardlink"),
        ],
        env=ingest.environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip

    assert said.returncode == 0, said.stderr
    assert "6 copies are the source's own files" in said.stdout
    assert "1 copy had to be written" in said.stdout
    assert rows(archive, "SELECT path FROM copies WHERE strategy = 'copy'") == [{"path": "EOS_DIGITAL/CLIP/long.mov"}]
