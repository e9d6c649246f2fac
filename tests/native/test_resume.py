"""stage with trails: what an attempt leaves of a big file is proven by the next one, and gone on with."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import threading
import time

import pytest

from ingest import _native

MIB = 1 << 20
SIZE = _native.TRAIL_LEAST + 16 * MIB + 77
WHOLE = SIZE // MIB * MIB
SAMPLE = 18 * MIB

STAGE = """
card, trails, attempt, *archives = sys.argv[1:]
seen = os.stat(card + "/clip.mov")
staged = _native.stage(
    _native.Root(os.fsencode(card)), [_native.Root(os.fsencode(archive)) for archive in archives], [4], [b"clip.mov"],
    [seen.st_size], [seen.st_mtime_ns], [[os.fsencode(attempt)] for _ in archives], trails=os.fsencode(trails),
    keys=[b"root %d" % at for at in range(len(archives))],
)
result = [(methods[0], faults.get(0)) for methods, *_, faults in staged[5]], staged[9]
"""


@pytest.fixture
def trails(tmp_path):
    (tmp_path / "trails").mkdir()
    return tmp_path / "trails"


@pytest.fixture
def clip(card):
    card.write("clip.mov", os.urandom(MIB) * (SIZE // MIB) + bytes(77))
    return card.path / "clip.mov"


@pytest.fixture
def attempt(card, clip, trails, rows):
    """One attempt at the clip under a name of its own; stopped when a word of the page has reached so much."""

    made = []

    def make(name: bytes, *archives, stop: tuple[int, int] | None = None, **options):
        page, seen = _native.Page(), clip.stat()

        def watch(word: int, enough: int) -> None:
            while page.words()[word] < enough:
                time.sleep(0.0005)
            page.cancel()

        watcher = threading.Thread(target=watch, args=stop) if stop else None
        if watcher:
            watcher.start()
        given = {"trails": os.fsencode(trails), "keys": [b"root %d" % at for at in range(len(archives))], **options}
        staged = _native.stage(
            card.root(), [archive.root() for archive in archives], [4], [b"clip.mov"], [seen.st_size], [seen.st_mtime_ns],
            [[name] for _ in archives], page=page, **given,
        )  # fmt: skip
        if watcher:
            watcher.join()
        made.append(staged)
        return rows(staged)[0], staged[9].get(0, 0)

    make.staged = made
    return make


@pytest.fixture
def names(trails):
    """The parts that the clip's trail speaks of."""

    def look():
        found = _native.trail(os.fsencode(trails / "4.trail"))
        return None if found is None else sorted(found[1])

    return look


@pytest.mark.parametrize("threads", [1, 3])
def test_what_was_stopped_is_gone_on_with_and_read_once(attempt, archive, clip, names, threads):
    row, _ = attempt(b"1.part", archive, stop=(2, 48 * MIB), threads=threads)
    assert row.fault[0] == "cancelled"
    assert names() == [(b"root 0", b"1.part")]

    row, resumed = attempt(b"2.part", archive, threads=threads)

    assert row.copies[0].fault is None
    assert resumed >= 40 * MIB
    assert SIZE - resumed <= row.read <= SIZE - resumed + SAMPLE
    assert row.digest == _native.blake3(clip.read_bytes())
    assert archive.read("2.part") == clip.read_bytes()
    assert archive.files() == {"2.part"}


@pytest.mark.parametrize("threads", [1, 3])
def test_other_digests_take_what_was_there_from_the_part_and_not_from_the_source(attempt, archive, disk, clip, threads):
    wanted = ["md5", "sha256", "xxh128"]
    attempt(b"1.part", archive, disk, stop=(2, 110 * MIB), threads=threads, hashes=wanted)

    row, resumed = attempt(b"2.part", archive, disk, threads=threads, hashes=wanted)

    assert (row.fault, row.copies[0].fault, row.copies[1].fault) == (None, None, None)
    assert resumed >= 64 * MIB
    # The two stopped a few blocks apart at most: each counts for half.
    assert row.read <= SIZE - resumed // 2 + SAMPLE + 8 * MIB
    more = attempt.staged[-1][8]
    data = clip.read_bytes()
    assert more[:2] == [hashlib.md5(data).digest(), hashlib.sha256(data).digest()]
    attempt(b"3.part", archive, disk, trails=None, hashes=wanted)
    assert attempt.staged[-1][8] == more, "as of one read from start to end"


def test_the_time_of_the_source_is_kept_by_a_copy_that_was_gone_on_with(attempt, archive, clip):
    attempt(b"1.part", archive, stop=(2, 48 * MIB))

    row, resumed = attempt(b"2.part", archive)

    assert resumed
    assert row.copies[0].mtime == clip.stat().st_mtime_ns == (archive.path / "2.part").stat().st_mtime_ns


def test_stopped_while_the_part_is_proven_it_stays_as_it_is(attempt, archive, names):
    attempt(b"1.part", archive)
    before = (archive.path / "1.part").stat()

    row, _ = attempt(b"2.part", archive, stop=(3, 20 * MIB))

    assert row.fault[0] == "cancelled"
    after = (archive.path / "1.part").stat()
    assert (after.st_ino, after.st_size) == (before.st_ino, before.st_size)
    assert attempt(b"3.part", archive)[1] == WHOLE


def test_stopped_while_it_is_read_back_nothing_has_to_be_copied_again(attempt, archive):
    row, _ = attempt(b"1.part", archive, stop=(3, 10 * MIB))
    assert row.fault is None
    assert row.copies[0].fault[0] == "cancelled"

    row, resumed = attempt(b"2.part", archive)

    assert (row.copies[0].fault, resumed) == (None, WHOLE)


def test_a_part_whose_trail_is_held_is_left_alone_and_another_one_made(attempt, archive, clip, trails, names):
    """As by a worker that hangs in the kernel: nobody knows what it will still write."""
    attempt(b"1.part", archive, stop=(2, 48 * MIB))
    before = archive.read("1.part")
    with open(trails / "4.trail", "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)

        row, resumed = attempt(b"2.part", archive)

        assert (row.copies[0].fault, resumed, row.read) == (None, 0, SIZE)
        assert archive.read("1.part") == before
        assert archive.read("2.part") == clip.read_bytes()
        assert names() == [(b"root 0", b"2.part")], "the new trail knows only its own"
    assert attempt(b"3.part", archive)[1] == WHOLE, "and its lock went with the call"


def test_a_root_that_is_away_keeps_its_part_for_a_later_attempt(attempt, archive, disk, clip, names):
    attempt(b"1.part", archive, disk)

    row, resumed = attempt(b"2.part", disk, keys=[b"root 1"])

    assert (row.copies[0].fault, resumed) == (None, WHOLE)
    assert archive.files() == {"1.part"}
    assert (b"root 0", b"1.part") in names()
    assert attempt(b"3.part", archive)[1] == WHOLE


def test_two_roots_each_go_on_from_what_they_have(attempt, archive, disk, clip):
    attempt(b"1.part", archive, disk)
    os.truncate(archive.path / "1.part", 40 * MIB + 5)
    with (disk.path / "1.part").open("r+b") as part:
        part.seek(60 * MIB)
        part.write(b"damaged")

    row, resumed = attempt(b"2.part", archive, disk, threads=2)

    assert resumed == 100 * MIB
    assert SIZE - 40 * MIB <= row.read <= SIZE - 40 * MIB + SAMPLE
    assert archive.read("2.part") == disk.read("2.part") == clip.read_bytes()


def test_no_room_for_the_rest_is_no_reason_to_give_up_what_is_proven(attempt, mounts, names, clip):
    small = mounts.ext4(200)
    attempt(b"1.part", small, stop=(2, 48 * MIB))
    small.write("other", b"")
    os.truncate(small.path / "1.part", 48 * MIB)
    facts = os.statvfs(small.path)
    with (small.path / "other").open("wb") as other:
        os.posix_fallocate(other.fileno(), 0, facts.f_bavail * facts.f_frsize - 16 * MIB)

    row, _ = attempt(b"2.part", small)

    assert row.copies[0].fault[1:3] == ("fallocate", errno.ENOSPC)
    assert (b"root 0", b"2.part") in names()
    (small.path / "other").unlink()
    row, resumed = attempt(b"3.part", small)
    assert (row.copies[0].fault, resumed) == (None, 48 * MIB)
    assert small.files() - {"lost+found"} == {"3.part"}


@pytest.mark.parametrize("error", ["EIO", "ENODATA"])
def test_a_part_with_a_bad_sector_is_gone_on_with_up_to_there(attempt, traced, card, clip, archive, trails, error):
    """ENODATA is what a direct read of one may say."""
    kept = trails.with_name("kept")

    def half(name: bytes) -> list:
        attempt(name, archive, stop=(2, 48 * MIB))
        shutil.rmtree(kept, ignore_errors=True)
        return [card.path, trails, os.fsdecode(name).replace("1", "2", 1), archive.path]

    # Calls are counted by thread, so it is tried first at which of them the part is read.
    _, calls = traced(STAGE, *half(b"1.part"), trace="pread64")
    reads = [at for at, call in enumerate(calls, 1) if "part" in call and "pread64" in call]
    (archive.path / "2.part").unlink()
    shutil.rmtree(trails)
    trails.mkdir()
    bad = reads[len(reads) // 2]

    result, calls = traced(STAGE, *half(b"1.part"), trace="pread64", inject=(f"pread64:error={error}:when={bad}",))

    ((method, fault),), resumed = result
    assert (fault, method) == (None, method)
    assert any(error in call and "part" in call for call in calls)
    assert 0 < resumed[0] < 48 * MIB
    assert archive.read("2.part") == clip.read_bytes()


# What must never be gone on with


def test_a_part_whose_flush_failed_is_condemned_on_the_disk_before_it_is_removed(
    traced, card, clip, archive, trails, names
):
    # Calls are counted by thread: in the one that copies the folder is flushed first, then the part.
    arguments = [card.path, trails, "s/1.part", archive.path]

    inject = ("fsync:error=EIO:when=2",)
    result, calls = traced(STAGE, *arguments, trace="fsync,fdatasync,unlinkat,write", inject=inject)

    ((method, fault),), resumed = result
    assert (method, fault[1:3], resumed) == (None, ("fsync", errno.EIO), {})
    failed = next(at for at, call in enumerate(calls) if "1.part" in call and "EIO" in call)
    after = [call.partition("(")[0] for call in calls[failed + 1 :] if "4.trail" in call or "1.part" in call]
    assert after[:3] == ["write", "fdatasync", "unlinkat"], calls[failed:]
    assert not archive.exists("s/1.part")
    assert names() == []


def test_where_that_cannot_be_written_down_its_trail_is_removed_before_it(traced, card, clip, archive, trails, names):
    arguments = [card.path, trails, "1.part", archive.path]
    inject = ("fallocate:error=ENOSPC", "fdatasync:error=EIO")

    result, calls = traced(STAGE, *arguments, trace="fdatasync,fallocate,unlinkat", inject=inject)

    ((_, fault),), _ = result
    assert fault[1:3] == ("fallocate", errno.ENOSPC)
    gone = {name: [at for at, call in enumerate(calls) if "unlinkat" in call and name in call][-1]
            for name in ("4.trail", "1.part")}  # fmt: skip
    assert gone["4.trail"] < gone["1.part"], calls
    assert names() is None


def test_a_source_that_is_not_what_it_was_takes_its_part_with_it(attempt, archive, clip, names):
    attempt(b"1.part", archive, stop=(2, 48 * MIB))
    os.utime(clip)

    row, resumed = attempt(b"2.part", archive)

    assert (row.copies[0].fault, resumed, row.read) == (None, 0, SIZE)
    assert archive.files() == {"2.part"}, "the old part went before the new one was made"
    assert names() == [(b"root 0", b"2.part")]


def test_another_volume_s_file_is_another_file(attempt, archive):
    attempt(b"1.part", archive, volume=b"card A")

    assert attempt(b"2.part", archive, volume=b"card B")[1] == 0
    assert attempt(b"3.part", archive, volume=b"card B")[1] == WHOLE


# The contract's edges


def test_no_trail_tells_nothing_and_a_folder_that_is_not_there_is_an_error(trails, tmp_path):
    assert _native.trail(os.fsencode(trails / "1.trail")) is None
    (trails / "1.trail").write_bytes(b"no trail")
    assert _native.trail(os.fsencode(trails / "1.trail")) is None
    with pytest.raises(FileNotFoundError):
        _native.trail(os.fsencode(tmp_path / "none" / "1.trail"))


def test_every_root_needs_a_key(attempt, archive, disk):
    with pytest.raises(ValueError, match="keys"):
        attempt(b"1.part", archive, disk, keys=[b"root 0"])


def test_small_files_leave_no_trail(card, archive, trails, stage):
    card.write("small", bytes(100_000))
    (row,) = stage(card, [archive], b"small", trails=os.fsencode(trails), keys=[b"k"])

    assert row.copies[0].fault is None
    assert os.listdir(trails) == []


def test_without_the_folder_a_copy_is_made_all_the_same(attempt, archive, trails):
    shutil.rmtree(trails)

    row, resumed = attempt(b"1.part", archive)

    assert (row.copies[0].fault, resumed) == (None, 0)
    assert not trails.exists()
