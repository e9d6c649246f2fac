"""stage with big files: their bytes go to the device, and out of memory, while they are written."""

import errno
import os
import re
import time

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

# Stops the work as soon as it stands still, and says how far it came and how long the end took.
STOPPED = """
import threading, time
card, archive, enough = sys.argv[1:]
seen, page, told = os.stat(card + "/clip.mov"), _native.Page(), []

def stop():
    while page.words()[2] < int(enough):
        time.sleep(0.01)
    time.sleep(1.5)
    told.extend([page.words()[2], time.monotonic()])
    page.cancel()

watch = threading.Thread(target=stop)
watch.start()
staged = _native.stage(
    _native.Root(os.fsencode(card)), [_native.Root(os.fsencode(archive))], [0], [b"clip.mov"],
    [seen.st_size], [seen.st_mtime_ns], [[b"part"]], page=page,
)
watch.join()
fault = staged[4].get(0) or staged[5][0][3].get(0)
result = (fault[0], told[0], time.monotonic() - told[1])
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
    want = [(at, min(WINDOW, SIZE - at)) for at in range(0, SIZE, WINDOW)]
    assert ranges(before, r"SYNC_FILE_RANGE_WRITE\)") == want
    assert ranges(before, r"SYNC_FILE_RANGE_WAIT_BEFORE\|SYNC_FILE_RANGE_WRITE\|SYNC_FILE_RANGE_WAIT_AFTER") == want
    assert ranges(before, "POSIX_FADV_DONTNEED") == want
    assert disk.read("part") == card.read("clip.mov")


@pytest.mark.parametrize("code", ["EIO", "ENOSPC", "EDQUOT"])
@pytest.mark.parametrize("when", [1, 2, 7, 12])
def test_an_error_on_the_way_to_the_device_condemns_the_copy_and_no_other(card, disk, mounts, traced, rows, code, when):
    """The one copy goes in twelve steps, the other lies in memory."""
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

    (kind, written, took), _ = traced(
        STOPPED, card.path, disk.path, str(256 * MIB),
        trace="sync_file_range", inject=("sync_file_range:delay_enter=2s",),
    )  # fmt: skip

    assert kind == "cancelled"
    assert 256 * MIB <= written < 256 * MIB + 4 * WINDOW
    assert took < 10, "two windows are waited for, not all of them"
    assert disk.files() == set()


def test_the_wait_for_what_was_sent_can_be_stopped(card, disk, traced):
    card.write("clip.mov", noise(SIZE))

    began = time.monotonic()
    (kind, written, took), _ = traced(
        STOPPED, card.path, disk.path, str(SIZE), trace="sync_file_range", inject=("sync_file_range:delay_enter=2s",)
    )

    assert (kind, written) == ("cancelled", SIZE)
    assert took < 10
    assert time.monotonic() - began < 60
    assert disk.files() == set()


def test_in_memory_nothing_is_sent_window_by_window(card, mounts, traced):
    card.write("clip.mov", noise(SIZE))
    memory = mounts.tmpfs("size=80m")

    _, calls = traced(STAGE, card.path, "1", memory.path, trace="sync_file_range", about=memory.path / "part")

    assert ranges(calls, r"SYNC_FILE_RANGE_WRITE\)") == [(0, 0)]
