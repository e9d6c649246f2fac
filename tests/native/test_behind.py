"""stage with big files: their bytes go to the device, and out of memory, while they are written."""

import ast
import errno
import os
import re
import subprocess
import sys

import pytest

from ingest import _native

MIB = 1 << 20
WINDOW = 8 * MIB
SIZE = 41 * MIB + 3

STAGE = """
card, threads, *archives = sys.argv[1:]
seen = os.stat(card + "/clip.mov")
result = _native.stage(
    _native.Root(os.fsencode(card)), [_native.Root(os.fsencode(archive)) for archive in archives], [0], [b"clip.mov"],
    [seen.st_size], [seen.st_mtime_ns], [[b"part"] for _ in archives], threads=int(threads),
)
"""

# Stops the work when it stands still (the written bytes do not change for a second), and says how far it came and how
# long the end took.
STOPPED = """
import threading, time
card, archive, enough, *names = sys.argv[1:]
seen, page, told = [os.stat(card + "/" + name) for name in names], _native.Page(), []
over = threading.Event()

def stop():
    before = -1
    while not over.wait(1.0) and (page.words()[2] < int(enough) or page.words()[2] != before):
        before = page.words()[2]
    told.extend([page.words()[2], time.monotonic()])
    page.cancel()

watch = threading.Thread(target=stop)
watch.start()
staged = _native.stage(
    _native.Root(os.fsencode(card)), [_native.Root(os.fsencode(archive))], list(range(len(names))),
    [os.fsencode(name) for name in names], [one.st_size for one in seen], [one.st_mtime_ns for one in seen],
    [[b"part%d" % number for number in range(len(names))]], page=page,
)
over.set()
watch.join()
kinds = {fault[0] for fault in [*staged[4].values(), *staged[5][0][4].values()]}
result = (kinds, told[0], time.monotonic() - told[1])
"""

# Two files, the first of which cannot be read to its end.
TWO = """
card, archive = sys.argv[1:]
seen = [os.stat(card + "/" + name) for name in ("one", "two")]
result = _native.stage(
    _native.Root(os.fsencode(card)), [_native.Root(os.fsencode(archive))], [0, 1], [b"one", b"two"],
    [each.st_size for each in seen], [each.st_mtime_ns for each in seen], [[b"part0", b"part1"]],
)
"""

# As a user who may not start a thread more; the folders are pinned before.
ALONE = """
import resource
card, archive = sys.argv[1:]
seen = os.stat(card + "/clip.mov")
source, root = _native.Root(os.fsencode(card)), _native.Root(os.fsencode(archive))
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
result = _native.stage(
    source, [root], [0], [b"clip.mov"], [seen.st_size], [seen.st_mtime_ns], [[b"part"]],
)
"""


def noise(length: int) -> bytes:
    return (bytes(range(251)) * (length // 251 + 1))[:length]


@pytest.fixture(autouse=True)
def _cached(disk):
    if disk.root().magic not in {0xEF53, 0x58465342, 0x9123683E}:
        pytest.skip("pages cannot be dropped on this file system")


def ranges(calls: list[str], what: str) -> list[tuple[int, int]]:
    found = [re.search(r", (\d+), (\d+), " + what, call) for call in calls]
    return [(int(match[1]), int(match[2])) for match in found if match]


@pytest.mark.parametrize("threads", ["1", "3"])
def test_each_byte_is_sent_and_dropped_once_before_the_flush(card, disk, traced, rows, threads):
    card.write("clip.mov", noise(SIZE))

    result, calls = traced(
        STAGE, card.path, threads, disk.path, trace="sync_file_range,fadvise64,fsync", about=disk.path / "part"
    )

    [(digest, _, _, _, fault, [copy])] = rows(result)
    assert (digest, fault, copy.fault) == (_native.blake3(card.read("clip.mov")), None, None)
    flush = next(at for at, call in enumerate(calls) if call.startswith("fsync"))
    before = calls[:flush]
    want, slices = ([(at, min(step, SIZE - at)) for at in range(0, SIZE, step)] for step in (WINDOW, MIB))
    assert ranges(before, r"SYNC_FILE_RANGE_WRITE\)") == want
    assert ranges(before, r"SYNC_FILE_RANGE_WAIT_BEFORE\|SYNC_FILE_RANGE_WRITE\|SYNC_FILE_RANGE_WAIT_AFTER") == slices
    assert ranges(before, "POSIX_FADV_DONTNEED") == want
    assert disk.read("part") == card.read("clip.mov")


@pytest.mark.parametrize("code", ["EIO", "ENOSPC", "EDQUOT"])
@pytest.mark.parametrize("when", [1, 2, 25, 48])
def test_an_error_on_the_way_to_the_device_condemns_the_copy_and_no_other(card, disk, mounts, traced, rows, code, when):
    """The one copy goes in six windows and is waited for in 42 slices, the other lies in memory."""
    card.write("clip.mov", noise(SIZE))
    memory = mounts.tmpfs("size=80m")

    result, calls = traced(
        STAGE, card.path, "1", disk.path, memory.path,
        trace="sync_file_range", inject=(f"sync_file_range:error={code}:when={when}",), about=disk.path / "part",
    )  # fmt: skip

    assert len([call for call in calls if "(INJECTED)" in call]) == 1
    [(digest, read, _, _, fault, [copy, other])] = rows(result)
    assert (digest, read, fault, other.fault) == (_native.blake3(card.read("clip.mov")), SIZE, None, None)
    assert copy.fault[:4] == ("io", "write", getattr(errno, code), os.fsencode(disk.path / "part"))
    assert disk.files() == set(), "what could not be written is not left behind"
    assert memory.read("part") == card.read("clip.mov")


def test_a_slow_device_holds_up_the_writer_before_memory_is_full_of_it_and_a_request_to_stop_is_heeded(
    card, disk, traced
):
    with open(card.path / "clip.mov", "wb") as file:
        file.truncate(2048 * MIB)

    (kinds, written, took), _ = traced(
        STOPPED, card.path, disk.path, str(256 * MIB), "clip.mov",
        trace="sync_file_range", inject=("sync_file_range:delay_enter=400ms",),
    )  # fmt: skip

    assert kinds == {"cancelled"}
    assert 256 * MIB <= written < 512 * MIB, "a window more for every three or four seconds"
    assert took < 20, "two windows are waited for, not all of them"
    assert disk.files() == set()


def test_files_shorter_than_a_window_hold_up_the_writer_as_well(card, disk, traced):
    names = [f"{number:02}.mov" for number in range(80)]
    for name in names:
        with open(card.path / name, "wb") as file:
            file.truncate(7 * MIB)

    (kinds, written, _), _ = traced(
        STOPPED, card.path, disk.path, str(252 * MIB), *names,
        trace="sync_file_range", inject=("sync_file_range:delay_enter=400ms",),
    )  # fmt: skip

    assert kinds == {"cancelled"}
    assert 252 * MIB <= written < 500 * MIB
    assert disk.files() == set()


def test_the_wait_for_what_was_sent_can_be_stopped(card, disk, traced):
    card.write("clip.mov", noise(SIZE))

    (kinds, written, took), calls = traced(
        STOPPED, card.path, disk.path, str(SIZE), "clip.mov",
        trace="sync_file_range,fadvise64,unlinkat", inject=("sync_file_range:delay_enter=400ms",),
    )  # fmt: skip

    assert (kinds, written) == ({"cancelled"}, SIZE)
    assert took < 20
    assert disk.files() == set()
    gone = next(at for at, call in enumerate(calls) if call.startswith("unlinkat"))
    # Dropping what is dirty would send it: of a file that nobody wants any more nothing is.
    assert not [call for call in calls[gone:] if "/part0" in call and "fadvise64" in call]


def test_what_is_given_up_is_closed_before_the_next_needs_its_room(card, disk, traced, rows):
    for name in ("one", "two"):
        card.write(name, noise(SIZE))

    # Which of all reads of that program is one of the first file, near its end.
    _, calls = traced(TWO, card.path, disk.path, trace="read")
    for path in disk.path.iterdir():
        path.unlink()
    when = [at for at, call in enumerate(calls, 1) if "/card/one>" in call][20]

    result, calls = traced(
        TWO, card.path, disk.path, trace="read,close,fallocate,sync_file_range",
        inject=(f"read:error=EIO:when={when}", "sync_file_range:delay_enter=30ms"),
    )  # fmt: skip

    assert [row.fault and row.fault[:3] for row in rows(result)] == [("io", "read", errno.EIO), None]
    closed = next(at for at, call in enumerate(calls) if call.startswith("close") and "/part0" in call)
    assert closed < next(at for at, call in enumerate(calls) if call.startswith("fallocate") and "/part1" in call)


def test_where_no_thread_is_to_be_had_pages_go_as_the_system_pleases(card, disk, rows):
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    card.write("clip.mov", noise(SIZE))
    for place in (card, disk):
        place.path.chmod(0o777)
    program = f"import os, sys\nfrom ingest import _native\n{ALONE}\nprint(repr(result))"

    ran = subprocess.run(
        [sys.executable, "-c", program, card.path, disk.path], capture_output=True, text=True, check=False
    )

    assert ran.returncode == 0, ran.stderr
    [(digest, _, _, _, fault, [copy])] = rows(ast.literal_eval(ran.stdout))
    assert (digest, fault, copy.fault) == (_native.blake3(noise(SIZE)), None, None)


def test_in_memory_nothing_is_sent_window_by_window(card, mounts, traced):
    card.write("clip.mov", noise(SIZE))
    memory = mounts.tmpfs("size=80m")

    _, calls = traced(STAGE, card.path, "1", memory.path, trace="sync_file_range", about=memory.path / "part")

    assert ranges(calls, r"SYNC_FILE_RANGE_WRITE\)") == [(0, 0)]
