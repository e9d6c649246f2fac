"""Half-copied big files: whatever broke off the copy, the next attempt proves what is there and copies the rest.

The bar: killed at random moments of a big file, `ingest resume` reads at most the missing bytes and 32 blocks from the
source, every time with equal bytes, and what is missing is at most five seconds of work more than it has to be.
Source bytes are counted by the session's own document, whose count `test_source_reads.py` checks against the kernel's.

5 kills of 256 MiB by default. ``INGEST_CAMPAIGN=full``: 50 kills of 4 GiB, about 20 minutes.
"""

from __future__ import annotations

import bisect
import hashlib
import os
import random
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from faults.commands import Frozen

FULL = os.environ.get("INGEST_CAMPAIGN") == "full"
pytestmark = pytest.mark.timeout(7200 if FULL else 300)
MIB = 1 << 20
BLOCK = MIB
KILLS, BIG = (50, 4 << 30) if FULL else (5, 256 * MIB)
CLIP = "CLIP/C0001.MP4"
SIZE = 160 * MIB + 5
HUGE = 640 * MIB + 5
MOST_READ = 32 * BLOCK
MOST_LATE = 5.0  # seconds


def parts(archive):
    return sorted(archive.glob(".ingest/staging/*/*.part"))


def length(archive):
    """How much of its one part an archive holds."""
    try:
        return max((part.stat().st_size for part in parts(archive)), default=0)
    except FileNotFoundError:
        return 0


def trails(home):
    return sorted(Path(home).glob("trails/*/*.trail"))


def hanging(pid):
    """Some thread of a process that was killed cannot end; the first one has."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return any(task.joinpath("stat").read_text().rpartition(")")[2].split()[0] not in "ZX" for task in tasks)
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def card(make_card):
    return make_card({CLIP: SIZE, "A.JPG": 20_000})


@pytest.fixture
def halved(shell, archive, until):
    """A copy of a card that was killed when so much of its big file was written."""

    def kill(card, enough=100 * MIB, *options, root=archive):
        running = shell.start("copy", card.folder, root, "--workers", "1", *options)
        until(lambda: length(root) >= enough, "half a copy")
        running.kill()
        return length(root)

    return kill


def missing(ended, both=None, size=SIZE):
    """Require that no more of the source was read than was missing, in this run; `both`: the document of the one before."""
    counted = ended.document["bytes"]
    read = counted["read"] - (both.document["bytes"]["read"] if both else 0)
    left = size - counted["resumed"]
    others = counted["discovered"] - size
    assert left <= read <= left + others + MOST_READ, counted


# Kills


def test_killed_at_random_moments_resume_reads_what_is_missing(make_card, shell, check, tally, tmp_path):
    card = make_card({CLIP: BIG})
    draw = random.Random(os.environ.get("INGEST_SEED") or None)
    most_read, latest = 0, 0.0
    for number in range(KILLS):
        home, archive = tmp_path / f"home-{number}", tmp_path / f"archive-{number}"
        archive.mkdir()
        limit = draw.randrange(BIG)
        running = shell.start("copy", card.folder, archive, home=home)
        grown: list[tuple[int, float]] = []
        while running.process.poll() is None:
            now = length(archive)
            grown.append((now, time.monotonic()))
            if now >= limit:
                break
            time.sleep(0.001)
        running.kill()
        killed = time.monotonic()
        assert length(archive) >= limit, "it was in the middle of the file"

        ended = shell.run("resume", home=home, seconds=600)

        assert (ended.code, ended.document["state"]) == (0, "completed"), ended
        check(card, archive, home=home)
        assert not trails(home)
        counted = ended.document["bytes"]
        left = BIG - counted["resumed"]
        assert left <= counted["read"] <= left + MOST_READ, (limit, counted)
        # When was as much there as could be gone on with? Less than 32 blocks are not looked at.
        held = bisect.bisect_left(grown, (max(counted["resumed"], MOST_READ), 0.0))
        late = killed - grown[held][1] if held < len(grown) else 0.0
        assert late <= MOST_LATE, f"{late} s of work were lost"
        tally["kills"] += 1
        tally["gone on with"] += counted["resumed"] > 0
        most_read, latest = max(most_read, counted["read"] - left), max(latest, late)
        shutil.rmtree(archive)
    tally["blocks read beyond what was missing, at most"] = most_read // BLOCK
    tally["milliseconds of work lost, at most"] = round(latest * 1000)
    assert tally["gone on with"] >= KILLS // 2


@pytest.mark.parametrize("moment", [40, 80, 150])
def test_a_worker_killed_in_the_middle_is_replaced_by_one_that_goes_on(card, archive, shell, check, until, moment):
    running = shell.start("copy", card.folder, archive, "--workers", "1")
    worker = until(running.workers, "a worker")[0]
    until(lambda: length(archive) >= moment * MIB, "some of it")
    os.kill(worker, signal.SIGKILL)

    ended = running.end()

    assert (ended.code, ended.document["state"]) == (0, "completed")
    check(card, archive)
    if any("crashed" in warning for warning in ended.document["warnings"]):
        # What the dead worker read is in nobody's count.
        missing(ended)


def test_killed_again_and_again_it_gets_further_each_time(card, archive, shell, check, halved, until):
    halved(card, 60 * MIB)
    for enough in (90, 120, 150):
        running = shell.start("resume")
        until(lambda: length(archive) >= enough * MIB, "some more")  # noqa: B023 - called at once
        running.kill()

    ended = shell.run("resume")

    assert ended.code == 0
    assert ended.document["bytes"]["resumed"] >= 100 * MIB
    missing(ended)
    check(card, archive)


def test_with_more_digests_no_more_is_read_from_the_source(card, archive, shell, check, halved):
    """What was there is read from the archive for them."""
    halved(card, 100 * MIB, "--hash", "md5", "--hash", "xxh64")

    ended = shell.run("resume")

    assert ended.code == 0
    assert ended.document["bytes"]["resumed"] >= 64 * MIB
    missing(ended)
    check(card, archive)
    import pyarrow.parquet as pq

    (part,) = archive.glob(".ingest/manifests/session=*/items-*.parquet")
    rows = pq.ParquetFile(part).read(columns=["path", "md5"]).to_pylist()
    (kept,) = [row["md5"] for row in rows if row["path"].endswith(CLIP)]
    whole = hashlib.md5((card.folder / CLIP).read_bytes())
    assert kept == whole.hexdigest()


# Other ends


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_stopped_by_the_user_it_goes_on_where_it_was(make_card, archive, shell, check, until, ingest, number):
    # So big that it cannot be whole, flushed and proven before the word to stop has reached its worker.
    card = make_card({CLIP: HUGE, "A.JPG": 1000})
    running = shell.start("copy", card.folder, archive, "--workers", "1")
    until(lambda: length(archive) >= 48 * MIB, "a third of a copy")
    running.interrupt(number)
    stopped = running.end()
    assert (stopped.code, stopped.document["state"]) == (6, "paused(user)")
    # The small file may be proven already, and wait for its name.
    big = [part for part in parts(archive) if part.stat().st_size > MIB]
    assert len(big) == len(trails(ingest.home)) == 1
    held = length(archive)

    ended = shell.run("resume")

    assert ended.code == 0
    # SIGTERM ends the workers themselves, which then have no time to tell their last blocks.
    untold = BLOCK if number == signal.SIGINT else MOST_READ
    assert ended.document["bytes"]["resumed"] > held - untold, "a clean stop tells all that it knows"
    missing(ended, both=stopped, size=HUGE)
    check(card, archive)
    assert not trails(ingest.home)


@pytest.mark.root
def test_a_source_that_fails_once_is_gone_on_with_in_the_same_run(faulty_disk, make_card, archive, shell, check, until):
    disk = faulty_disk()
    card = make_card({CLIP: SIZE}, disk.mount / "CARD")
    running = shell.start("copy", card.folder, archive, "--workers", "1")
    until(lambda: length(archive) >= 60 * MIB, "some of it")
    # Whoever reads ahead meets it first, and then whoever reads.
    disk.rules({"path": f"*/{CLIP}", "op": "read", "err": "EIO", "count": 4})

    ended = running.end()

    assert disk.hits(err="EIO")
    assert (ended.code, ended.document["state"]) == (0, "completed"), ended
    counted = ended.document["bytes"]
    assert counted["resumed"] >= 32 * MIB
    assert counted["read"] <= SIZE + MOST_READ, "no byte was read twice but for the look"
    disk.rules()
    check(card, archive)


@pytest.mark.root
def test_a_source_that_stays_broken_is_named_and_leaves_nothing(faulty_disk, make_card, archive, shell, check, ingest):
    disk = faulty_disk()
    card = make_card({CLIP: SIZE, "A.JPG": 10_000}, disk.mount / "CARD")
    disk.rules({"path": f"*/{CLIP}", "op": "read", "err": "EIO", "nth": 110, "count": 0})

    ended = shell.run("copy", card.folder, archive, "--workers", "1")

    assert (ended.code, ended.document["state"]) == (7, "completed_with_errors")
    assert not parts(archive)
    assert not trails(ingest.home)
    disk.rules()
    check(card, archive, missing={CLIP})
    assert shell.run("resume", ended.document["session"]).code == 0
    check(card, archive)


@pytest.mark.root
def test_a_card_that_was_pulled_out_goes_on_when_it_is_back(mounts, make_card, archive, shell, check, until, tmp_path):
    device = mounts.image("card", 260)
    point = mounts.mount(device, tmp_path / "reader")
    card = make_card({CLIP: SIZE}, point / "CARD")
    # A mount that somebody still holds is not flushed when it goes, and what breaks down later would lose the card.
    subprocess.run(["sync", "--file-system", point], check=True, timeout=60)
    mounts.vanish(point)
    mounts.mount(device, point)
    running = shell.start("copy", card.folder, archive, "--workers", "1", "--read-mode", "read")
    with running.catch(card.folder / CLIP) as caught:
        while length(archive) < 80 * MIB:
            caught.thaw()
            time.sleep(0.002)
            caught = Frozen(caught.workers)  # noqa: PLW2901 - frozen again
        mounts.break_down(point)
        mounts.vanish(point)
    assert running.end().code == 8
    mounts.come_back(device, point)

    ended = shell.run("resume")

    assert (ended.code, ended.document["state"]) == (0, "completed"), ended
    assert ended.document["bytes"]["resumed"] >= 64 * MIB
    check(card, archive)


@pytest.mark.root
def test_a_full_disk_condemns_what_was_written_to_it(faulty_disk, make_card, shell, check):
    disk = faulty_disk()
    card = make_card({CLIP: SIZE})
    assert shell.run("copy", make_card({"X": 10}, disk.backing.parent / "FIRST").folder, disk.mount).code == 0
    shutil.rmtree(disk.mount / "FIRST")
    disk.rules({"path": "*/[0-9]*.part", "op": "write", "err": "ENOSPC", "nth": 110, "count": 0})

    ended = shell.run("copy", card.folder, disk.mount)

    assert disk.hits(err="ENOSPC")
    assert (ended.code, ended.document["state"]) == (8, "paused(space)")
    assert not parts(disk.mount)
    disk.rules()
    read = ended.document["bytes"]["read"]
    again = shell.run("resume")
    assert (again.code, again.document["bytes"]["resumed"]) == (0, 0)
    assert again.document["bytes"]["read"] == read + SIZE, "from the start"
    check(card, disk.mount)


@pytest.mark.root
def test_a_worker_that_hangs_in_the_kernel_never_shares_its_part(faulty_disk, make_card, shell, check, until, tally):
    """It was killed, and cannot die: nobody else writes to what it may still write to."""
    disk = faulty_disk()
    card = make_card({CLIP: SIZE})
    assert shell.run("copy", make_card({"X": 10}, disk.backing.parent / "FIRST").folder, disk.mount).code == 0
    shutil.rmtree(disk.mount / "FIRST")
    disk.rules({"path": "*/[0-9]*-1-[0-9]*.part", "op": "write", "act": "hang", "nth": 110, "count": 0})
    running = shell.start("copy", card.folder, disk.mount, "--workers", "1")
    until(lambda: disk.hits(act="hang"), "a write that hangs")
    worker = running.workers()[0]
    (part,) = parts(disk.backing)
    # Not waited for to its end: the worker holds its pipes, too.
    os.kill(running.supervisor, signal.SIGKILL)
    running.process.wait(10)
    time.sleep(0.5)
    assert hanging(worker), "it hangs in the kernel"
    tally["workers that could not die"] += 1
    before = part.stat().st_size

    again = shell.start("resume")

    def other():
        return [each for each in parts(disk.backing) if each.name != part.name]

    # Fresh names are no match for the rule: another part is made beside the one that nobody touches.
    until(lambda: any(each.stat().st_size >= 40 * MIB for each in other()), "another part")
    assert hanging(worker)
    assert part.stat().st_size == before
    disk.rules()
    ended = again.end()
    assert (ended.code, ended.document["bytes"]["resumed"]) == (0, 0), ended
    until(lambda: not hanging(worker), "its end")
    check(card, disk.mount)


@pytest.mark.root
def test_where_nothing_shows_what_the_device_holds_it_is_copied_again_and_said_so(
    faulty_disk, make_card, shell, check, halved
):
    disk = faulty_disk()
    card = make_card({CLIP: SIZE})
    halved(card, 100 * MIB, root=disk.mount)

    ended = shell.run("resume")

    assert (ended.code, ended.document["bytes"]["resumed"]) == (0, 0), ended
    assert ended.document["bytes"]["read"] >= SIZE
    (warning,) = [sentence for sentence in ended.document["warnings"] if "half-copied" in sentence]
    assert str(disk.mount) in warning
    check(card, disk.mount)


@pytest.mark.root
def test_a_flush_that_failed_is_noted_at_once_though_the_proof_of_the_other_part_is_stopped(
    faulty_disk, make_card, tmp_path, until
):
    """Asked a second time, the kernel says that all is well."""
    from ingest import _native

    disks = [faulty_disk("first"), faulty_disk("second")]
    card = make_card({CLIP: SIZE})
    seen = (card.folder / CLIP).stat()
    trails = tmp_path / "trails"
    trails.mkdir()

    def attempt(name, page):
        return _native.stage(
            # Served: as over a network, where what this machine's memory lost comes from the device.
            _native.Root(os.fsencode(card.folder)), [_native.Root(os.fsencode(disk.mount), served=True) for disk in disks],
            [4], [CLIP.encode()], [seen.st_size], [seen.st_mtime_ns], [[name], [name]], trails=os.fsencode(trails),
            keys=[b"one", b"two"], page=page,
        )  # fmt: skip

    def told():
        return sorted(_native.trail(os.fsencode(trails / "4.trail"))[1])

    assert not attempt(b"1.part", _native.Page())[4]
    assert told() == [(b"one", b"1.part"), (b"two", b"1.part")]
    disks[0].rules({"path": "/1.part", "op": "fsync", "err": "EIO"})
    disks[1].rules({"path": "/1.part", "op": "read", "act": "hang", "nth": 3, "count": 0})
    page = _native.Page()
    with ThreadPoolExecutor(1) as threads:
        staged = threads.submit(attempt, b"2.part", page)
        until(lambda: disks[0].hits(err="EIO") and disks[1].hits(act="hang"), "a failed flush and a proof on its way")
        # While the other one is still being proven.
        until(lambda: told() == [(b"two", b"1.part")], "a word in the trail")
        assert not staged.done()
        page.cancel()
        disks[1].rules()
        assert staged.result(60)[4][0][0] == "cancelled"

    assert told() == [(b"two", b"1.part")]
    again = attempt(b"3.part", _native.Page())
    assert again[9] == {0: SIZE // MIB * MIB}, "of the second only"
    assert not (disks[0].mount / "2.part").exists()


# What was changed between two runs


def test_a_part_that_was_damaged_meanwhile_is_gone_on_with_up_to_the_damage(card, archive, shell, check, halved):
    halved(card)
    part = max(parts(archive), key=lambda each: each.stat().st_size)  # a small one may wait for its name beside it
    with part.open("r+b") as stream:
        stream.seek(40 * MIB + 1000)
        stream.write(b"damaged")

    ended = shell.run("resume")

    assert (ended.code, ended.document["bytes"]["resumed"]) == (0, 40 * MIB)
    missing(ended)
    check(card, archive)


@pytest.mark.parametrize("place", [1000, -1000], ids=["first", "last"])
def test_a_source_that_was_changed_under_its_size_and_time_is_copied_from_the_start(
    card, archive, shell, check, halved, place
):
    halved(card)
    clip = card.folder / CLIP
    facts = clip.stat()
    # The last finished block lies somewhere in the second half: all of that is changed.
    with clip.open("r+b") as stream:
        if place > 0:
            stream.seek(place)
            stream.write(b"changed")
        else:
            for block in range(32, SIZE // MIB):
                stream.seek(block * MIB + 77)
                stream.write(b"changed")
    os.utime(clip, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    card.versions[CLIP].clear()
    card.admit(CLIP)

    ended = shell.run("resume")

    assert (ended.code, ended.document["bytes"]["resumed"]) == (0, 0)
    check(card, archive)


def test_a_source_with_another_time_is_named_and_nothing_is_gone_on_with(card, archive, shell, check, halved, ingest):
    halved(card)
    # Seven minutes: neither what a file system rounds nor another time zone.
    later = (card.folder / CLIP).stat().st_mtime_ns + 420 * 10**9
    os.utime(card.folder / CLIP, ns=(later, later))

    ended = shell.run("resume")

    assert ended.code == 7
    assert [failure["state"] for failure in ended.document["failures"]] == ["changed"]
    assert not parts(archive)
    assert not trails(ingest.home)
    again = shell.run("resume", ended.document["session"])
    assert (again.code, again.document["bytes"]["resumed"]) == (0, 0)
    check(card, archive)


def test_lost_or_torn_trails_cost_a_copy_and_nothing_else(make_card, shell, check, until, tmp_path):
    def torn(trail):
        os.truncate(trail, trail.stat().st_size // 2)

    def garbage(trail):
        trail.write_bytes(os.urandom(5000))

    for number, change in enumerate([Path.unlink, torn, garbage]):
        card = make_card({CLIP: SIZE}, tmp_path / f"CARD-{number}")
        home, archive = tmp_path / f"home-{number}", tmp_path / f"archive-{number}"
        archive.mkdir()
        running = shell.start("copy", card.folder, archive, "--workers", "1", home=home)
        until(lambda: length(archive) >= 120 * MIB, "half a copy")  # noqa: B023 - called at once
        running.kill()
        (trail,) = trails(home)
        change(trail)

        ended = shell.run("resume", home=home)

        assert ended.code == 0
        assert bool(ended.document["bytes"]["resumed"]) in ({False, True} if change is torn else {False})
        check(card, archive, home=home)


# Choices


def test_with_partial_restart_a_big_file_is_copied_from_the_start(card, archive, shell, check, halved, ingest):
    halved(card, 100 * MIB, "--partial", "restart")
    assert not trails(ingest.home)

    ended = shell.run("resume")

    assert (ended.code, ended.document["bytes"]["resumed"]) == (0, 0)
    assert ended.document["bytes"]["read"] >= SIZE
    check(card, archive)


@pytest.mark.root
def test_a_disk_with_room_for_one_copy_has_room_to_go_on(mounts, make_card, shell, check, halved, tmp_path):
    """The half copy has all its room already: it is not asked for a second time."""
    small = mounts.mount(mounts.image("small", 230), tmp_path / "small")
    card = make_card({CLIP: SIZE})
    halved(card, 100 * MIB, root=small)

    ended = shell.run("resume")

    assert (ended.code, ended.document["state"]) == (0, "completed"), ended
    assert ended.document["bytes"]["resumed"] >= 32 * MIB
    check(card, small)


def test_two_archives_one_of_which_was_away_meanwhile(make_card, shell, check, until, tmp_path):
    """What it held when it went is gone on with when it is back."""
    card = make_card({CLIP: SIZE})
    roots = [tmp_path / "first", tmp_path / "second"]
    for root in roots:
        root.mkdir()
    running = shell.start("copy", card.folder, roots[0], "--also", roots[1], "--workers", "1")
    until(lambda: min(map(length, roots)) >= 80 * MIB, "half a copy on both")
    running.kill()
    roots[1].rename(tmp_path / "away")
    first = shell.run("resume")
    assert first.code == 8
    done = first.document["bytes"]["resumed"]
    assert done >= 32 * MIB
    (tmp_path / "away").rename(roots[1])

    ended = shell.run("resume")

    assert (ended.code, ended.document["state"]) == (0, "completed"), ended
    assert ended.document["bytes"]["resumed"] >= done + 32 * MIB
    check(card, *roots)


def test_the_summary_says_what_was_not_copied_again(card, archive, ingest, halved, check):
    halved(card)

    done = ingest.run("resume")

    assert done.returncode == 0
    assert "of half-copied files were proven and not copied again" in done.stdout
    check(card, archive)
