"""stage with several threads: one big file read once by all of them, and written in order."""

import errno
import os
import shutil
import subprocess
import threading

import pytest

from ingest import _native

MIB = 1 << 20
BIG = 17 * MIB + 5

STAGE = """
card, threads, *archives = sys.argv[1:]
seen = os.stat(card + "/clip.mov")
result = _native.stage(
    _native.Root(os.fsencode(card)), [_native.Root(os.fsencode(archive)) for archive in archives], [0], [b"clip.mov"],
    [seen.st_size], [seen.st_mtime_ns], [[b"part"] for _ in archives], threads=int(threads),
)
"""


def pattern(length: int) -> bytes:
    return (bytes(range(251)) * (length // 251 + 1))[:length]


@pytest.mark.parametrize("mode", ["read", "mmap", "direct"])
@pytest.mark.parametrize("size", [16 * MIB - 1, 16 * MIB, 16 * MIB + 1, BIG, 24 * MIB])
def test_the_digest_is_the_one_that_b3sum_gives(card, disk, stage, mode, size):
    name = card.write("clip.mov", pattern(size))

    [(digest, read, _, _, fault, [copy])] = stage(card, [disk], name, mode=mode, threads=2)

    assert (fault, copy.fault, read) == (None, None, size)
    assert disk.read("staging/0") == card.read(name)
    if tool := shutil.which("b3sum"):
        told = subprocess.run([tool, "--no-names", card.path / "clip.mov"], capture_output=True, check=True, text=True)
        assert digest.hex() == told.stdout.strip()
    assert digest == _native.blake3(card.read(name))


def test_the_source_is_opened_once_and_each_byte_is_read_once(card, traced):
    """Without an archive, so that no other file is read by position; a call may be traced in two halves."""
    card.write("clip.mov", pattern(BIG))

    result, calls = traced(STAGE, card.path, "2", trace="openat,openat2,pread64")

    assert result[1] == [BIG]
    assert len([call for call in calls if call.startswith("open") and '"clip.mov"' in call]) == 1
    ours = [call for call in calls if "clip.mov>" in call or "pread64 resumed" in call]
    read = [call for call in ours if "pread64" in call and not call.endswith("<unfinished ...>")]
    assert sum(int(call.rsplit("= ", 1)[1]) for call in read) == BIG


def test_what_was_read_is_dropped_from_the_cache_unless_it_is_to_stay(card, archive, traced):
    card.write("clip.mov", pattern(BIG))

    def dropped(code: str, path: str) -> bool:
        _, calls = traced(code, card.path, "2", archive.path, trace="fadvise64")
        (archive.path / "part").unlink()
        return any(path in call and "DONTNEED" in call for call in calls)

    kept = STAGE.replace("threads=", "keep_cache=True, threads=")

    assert dropped(STAGE, "card/clip.mov")
    assert not dropped(kept, "card/clip.mov")
    assert dropped(kept, "archive/part"), "a copy is always read back cold"


@pytest.mark.parametrize("first", [True, False])
def test_a_root_that_fills_up_in_the_middle_ends_its_copy_alone(card, archive, mounts, traced, rows, first):
    """Without preallocation, so that it is a write that fails while other threads wait for their turn."""
    card.write("clip.mov", pattern(BIG))
    small = mounts.tmpfs("size=5m")
    archives = [small, archive] if first else [archive, small]

    result, _ = traced(
        STAGE, card.path, "3", *(place.path for place in archives),
        trace="fallocate", inject=("fallocate:error=EOPNOTSUPP",),
    )  # fmt: skip

    [(digest, read, _, _, fault, copies)] = rows(result)
    assert (digest, read, fault) == (_native.blake3(card.read("clip.mov")), BIG, None)
    assert copies[archives.index(small)].fault[:3] == ("io", "write", errno.ENOSPC)
    assert copies[archives.index(archive)].fault is None
    assert small.files() == set()
    assert archive.read("part") == card.read("clip.mov")


def test_when_the_last_copy_fails_nothing_more_is_read(card, archive, traced, rows):
    card.write("clip.mov", pattern(4 * BIG))

    result, _ = traced(STAGE, card.path, "2", archive.path, trace="write", inject=("write:error=EIO:when=7",))

    [(digest, read, _, copied, fault, [copy])] = rows(result)
    assert (digest, copied, fault) == (None, 0, None)
    assert copy.fault[:3] == ("io", "write", errno.EIO)
    assert read < 4 * BIG
    assert archive.files() == set()


def test_a_source_that_cannot_be_read_ends_every_copy(card, archive, disk, traced, rows, gone):
    card.write("clip.mov", pattern(BIG))

    result, _ = traced(
        STAGE, card.path, "3", archive.path, disk.path, trace="pread64", inject=("pread64:error=EIO:when=5",)
    )

    [(digest, _, _, _, fault, copies)] = rows(result)
    assert (digest, copies) == (None, [gone, gone])
    assert fault[:3] == ("io", "read", errno.EIO)
    assert archive.files() == disk.files() == set()


def test_a_copy_that_cannot_be_read_back_is_removed(card, disk, traced, rows):
    card.write("clip.mov", pattern(BIG))

    # The copy itself is only ever written, and then read back.
    result, calls = traced(
        STAGE,
        card.path,
        "2",
        disk.path,
        trace="pread64",
        inject=("pread64:error=EIO:when=2",),
        about=disk.path / "part",
    )

    [(digest, _, _, _, fault, [copy])] = rows(result)
    assert (digest, fault) == (_native.blake3(card.read("clip.mov")), None)
    assert copy.fault[:3] == ("io", "read", errno.EIO), calls
    assert disk.files() == set()


def test_each_thread_says_what_it_works_on_and_is_idle_afterwards(card, archive):
    with open(card.path / "huge.mov", "wb") as file:
        file.truncate(4096 * MIB)
    seen = (card.path / "huge.mov").stat()
    page = _native.Page()
    most = [0]

    def watch():
        while most[0] < 2 and page.words()[1] < 2048 * MIB:
            most[0] = max(most[0], sum(word == 8 for word in page.words()[5:37]))
        page.cancel()

    watcher = threading.Thread(target=watch)
    watcher.start()
    staged = _native.stage(
        card.root(), [archive.root()], [7], [b"huge.mov"], [seen.st_size], [seen.st_mtime_ns], [[b"part"]],
        threads=2, page=page,
    )  # fmt: skip
    watcher.join()

    assert most == [2]
    assert staged[4][0][0] == "cancelled"
    assert page.words()[5:37] == [0] * _native.THREADS_MAX
    assert archive.files() == set()


def test_a_source_that_is_cut_off_beneath_the_threads_is_changed(card, archive, stage):
    with open(card.path / "huge.mov", "wb") as file:
        file.truncate(4096 * MIB)
    page, over = _native.Page(), threading.Event()

    def cut():
        while page.words()[1] < 4 * MIB and not over.is_set():
            pass
        os.truncate(card.path / "huge.mov", MIB)

    thread = threading.Thread(target=cut)
    thread.start()
    [(digest, _, _, _, fault, _)] = stage(card, [archive], b"huge.mov", threads=2, page=page)
    over.set()
    thread.join()

    assert (digest, fault[0]) == (None, "changed")
    assert archive.files() == set()
