from __future__ import annotations

import pytest

from ingest.model.options import CopyOptions, ReadMode
from ingest.storage.tuning import LOCAL_BUFFER, LOCAL_WORKERS, MMAP_MIN, NETWORK_BUFFER, read_mode, tune
from ingest.storage.volumes import Mount, Storage, Volume

MOUNT = Mount(1, b"/", b"/mnt/x", "ext4", b"/dev/sdz1", read_only=False)


def volume(storage: Storage = Storage.LOCAL, kind: str = "ext4", *, spinning: bool | None = False) -> Volume:
    return Volume(MOUNT, storage, kind, spinning, None)


SSD = volume()
DISK = volume(spinning=True)
UNKNOWN = volume(spinning=None)
SHARE = volume(Storage.NETWORK, "nfs4", spinning=None)
CARD = volume(Storage.REMOVABLE, "exfat")
MEMORY = volume(kind="tmpfs", spinning=None)


@pytest.fixture
def cores(monkeypatch):
    def have(number: int) -> None:
        monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(number)), raising=False)

    return have


@pytest.mark.parametrize(
    ("sources", "roots", "workers", "buffer"),
    [
        ([SSD], [SSD], LOCAL_WORKERS, LOCAL_BUFFER),
        ([CARD], [SSD], LOCAL_WORKERS, LOCAL_BUFFER),
        ([MEMORY], [MEMORY], LOCAL_WORKERS, LOCAL_BUFFER),
        ([UNKNOWN], [SSD], LOCAL_WORKERS, LOCAL_BUFFER),
        ([DISK], [SSD], 1, LOCAL_BUFFER),
        ([SSD], [DISK], 1, LOCAL_BUFFER),
        ([SSD], [SSD, DISK], 1, LOCAL_BUFFER),
        ([SHARE], [SSD], 1, NETWORK_BUFFER),
        ([SSD], [SHARE], 1, NETWORK_BUFFER),
        ([SSD], [SSD, SHARE], 1, NETWORK_BUFFER),
        ([SSD], [], LOCAL_WORKERS, LOCAL_BUFFER),
    ],
)
def test_the_slowest_volume_decides(cores, sources, roots, workers, buffer):
    cores(8)

    tuned = tune(CopyOptions(), sources, roots)

    assert (tuned.workers, tuned.buffer) == (workers, buffer)
    assert len(tuned.reasons) == 2


def test_a_share_is_asked_in_megabytes_one_at_a_time(cores):
    cores(64)

    tuned = tune(CopyOptions(), [SHARE], [SHARE])

    assert (tuned.workers, tuned.buffer) == (1, 1 << 20)


def test_there_are_never_more_workers_than_cores(cores):
    cores(2)

    assert tune(CopyOptions(), [SSD], [SSD]).workers == 2


@pytest.mark.parametrize("place", [SSD, DISK, SHARE])
def test_what_the_user_chose_wins(cores, place):
    cores(1)

    tuned = tune(CopyOptions(workers=7, buffer=1 << 16), [place], [place])

    assert (tuned.workers, tuned.buffer) == (7, 1 << 16)
    assert all("asked for" in reason for reason in tuned.reasons)


@pytest.mark.parametrize(
    ("source", "size", "mode"),
    [
        (SSD, MMAP_MIN, ReadMode.MMAP),
        (SSD, MMAP_MIN - 1, ReadMode.READ),
        (SSD, 1 << 40, ReadMode.MMAP),
        (DISK, MMAP_MIN, ReadMode.MMAP),
        (CARD, 1 << 30, ReadMode.READ),
        (SHARE, 1 << 30, ReadMode.READ),
        (MEMORY, 1 << 30, ReadMode.READ),
        (volume(kind="tmpfs"), 1 << 30, ReadMode.READ),
        (UNKNOWN, 1 << 30, ReadMode.READ),
        (SSD, 0, ReadMode.READ),
    ],
)
def test_only_large_files_of_stable_local_disks_are_mapped(source, size, mode):
    assert read_mode(CopyOptions(), source, size) is mode


def test_a_map_begins_at_a_mebibyte():
    assert MMAP_MIN == 1 << 20


@pytest.mark.parametrize("chosen", [ReadMode.MMAP, ReadMode.READ, ReadMode.DIRECT])
@pytest.mark.parametrize("source", [SSD, SHARE, MEMORY])
def test_a_read_mode_that_was_chosen_is_used(chosen, source):
    assert read_mode(CopyOptions(read_mode=chosen), source, 1) is chosen
