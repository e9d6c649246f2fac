from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from ingest.model.options import Cache, CopyOptions, Flush, ReadMode
from ingest.storage.tuning import (
    LOCAL_BUFFER,
    LOCAL_WORKERS,
    MMAP_MIN,
    MOST_THREADS,
    NETWORK_BUFFER,
    NETWORK_SHARD_FILES,
    SHARD_FILES,
    TINY_BYTES,
    TINY_FILES,
    read_mode,
    tune,
)
from ingest.storage.volumes import Mount, Storage, Volume

MOUNT = Mount(1, b"/", b"/mnt/x", "ext4", b"/dev/sdz1", read_only=False)


def volume(storage: Storage = Storage.LOCAL, kind: str = "ext4", *, spinning: bool | None = False) -> Volume:
    block = storage is not Storage.NETWORK and kind not in ("tmpfs", "fuse.mergerfs", "")
    return Volume(MOUNT, storage, kind, spinning, None, block)


SSD = volume()
DISK = volume(spinning=True)
VIRTUAL = volume(spinning=None)
UNKNOWN = volume(kind="", spinning=None)
SHARE = volume(Storage.NETWORK, "nfs4", spinning=None)
CARD = volume(Storage.REMOVABLE, "exfat")
STICK = volume(Storage.REMOVABLE, "ext4")
DAEMON = volume(kind="fuse.mergerfs", spinning=None)
MEMORY = volume(kind="tmpfs", spinning=None)


@pytest.fixture
def cores(monkeypatch):
    def have(number: int) -> None:
        monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(number)), raising=False)

    return have


@pytest.fixture
def kernel(monkeypatch):
    def be(release: str, system: str = "Linux") -> None:
        monkeypatch.setattr("os.uname", lambda: SimpleNamespace(sysname=system, release=release), raising=False)

    return be


@pytest.mark.parametrize(
    ("sources", "roots", "workers", "buffer"),
    [
        ([SSD], [SSD], LOCAL_WORKERS, LOCAL_BUFFER),
        ([CARD], [SSD], LOCAL_WORKERS, LOCAL_BUFFER),
        ([MEMORY], [MEMORY], LOCAL_WORKERS, LOCAL_BUFFER),
        ([UNKNOWN], [SSD], LOCAL_WORKERS, LOCAL_BUFFER),
        ([VIRTUAL], [VIRTUAL], LOCAL_WORKERS, LOCAL_BUFFER),
        ([SSD], [SSD, None], LOCAL_WORKERS, LOCAL_BUFFER),
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


def test_every_choice_has_its_sentence(cores):
    cores(8)

    reasons = tune(CopyOptions(), [CARD], [SSD, SHARE, None]).reasons

    for choice in ("worker", "thread", "buffer", "batches", "read mode", "flush together", "flush each", "cache"):
        assert [reason for reason in reasons if choice in reason.partition(":")[0]], choice
    assert all(": " in reason for reason in reasons)


def test_two_archives_of_a_kind_have_one_sentence(cores):
    cores(8)

    reasons = tune(CopyOptions(), [SSD], [SSD, SSD]).reasons

    assert len([reason for reason in reasons if "flush" in reason.partition(":")[0]]) == 1


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

    chosen = CopyOptions(workers=7, threads=5, buffer=1 << 16, flush=Flush.EACH, cache=Cache.KEEP)

    tuned = tune(chosen, [place], [place])

    assert (tuned.workers, tuned.threads, tuned.buffer) == (7, 5, 1 << 16)
    assert (tuned.together, tuned.keep_cache) == ((False,), True)


@pytest.mark.parametrize(
    ("sources", "roots", "threads"),
    [
        ([SSD], [SSD], 6),
        ([VIRTUAL], [VIRTUAL], 1),
        ([MEMORY], [MEMORY], 6),
        ([SSD], [SSD, None], 6),
        ([DISK], [SSD], 1),
        ([SSD], [SSD, DISK], 1),
        ([SHARE], [SSD], 1),
        ([SSD], [SHARE], 1),
        ([CARD], [SSD], 1),
        ([SSD], [STICK], 1),
        ([DAEMON], [SSD], 1),
    ],
)
def test_a_big_file_is_shared_by_all_cores_where_the_storage_is_faster_than_one(cores, sources, roots, threads):
    cores(6)

    assert tune(CopyOptions(), sources, roots).threads == threads


def test_more_threads_than_the_fastest_device_feeds_are_of_no_use(cores):
    cores(128)

    assert tune(CopyOptions(), [SSD], [SSD]).threads == MOST_THREADS


@pytest.mark.parametrize(("place", "files"), [(SSD, SHARD_FILES), (CARD, SHARD_FILES), (SHARE, NETWORK_SHARD_FILES)])
def test_a_batch_is_smaller_where_each_file_is_flushed_over_a_network(place, files):
    assert tune(CopyOptions(), [SSD], [place]).shard_files == files
    assert NETWORK_SHARD_FILES < SHARD_FILES


@pytest.mark.parametrize("place", [SSD, SHARE])
def test_a_batch_is_of_as_many_files_as_was_asked_for(place):
    tuned = tune(CopyOptions(batch=17), [SSD], [place])

    assert tuned.shard_files == 17
    assert "batches of 17 files: asked for" in tuned.reasons


@pytest.mark.parametrize(
    ("absent", "options", "workers"),
    [
        (None, CopyOptions(), 2),
        ((TINY_FILES - 1, TINY_BYTES - 1), CopyOptions(), 1),
        ((TINY_FILES, 1), CopyOptions(), 2),
        ((1, TINY_BYTES), CopyOptions(), 2),
        ((1, 1), CopyOptions(workers=3), 3),
    ],
)
def test_a_job_that_is_soon_done_has_one_worker_and_says_so(cores, absent, options, workers):
    cores(2)

    tuned = tune(options, [SSD], [SSD], absent)

    assert tuned.workers == workers
    assert tuned.reasons[0].startswith(f"{workers} worker")


@pytest.mark.parametrize("source", [SSD, SHARE, CARD, DAEMON, MEMORY])
def test_what_is_said_of_the_read_mode_is_what_is_done(source):
    (told,) = (reason for reason in tune(CopyOptions(), [source], [SSD]).reasons if reason.startswith("read mode"))

    assert told.partition(":")[0] == f"read mode {read_mode(CopyOptions(), source, 1 << 30)}"


@pytest.mark.parametrize("kind", ["ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs"])
def test_file_systems_that_tell_what_failed_are_flushed_together(kernel, kind):
    kernel("6.1.0-13-amd64")

    assert tune(CopyOptions(), [SSD], [volume(kind=kind)]).together == (True,)


@pytest.mark.parametrize(
    "root", [SHARE, CARD, DAEMON, MEMORY, UNKNOWN, volume(kind="zfs"), volume(kind="overlay"), volume(kind="fuseblk")]
)
def test_others_are_flushed_file_by_file(kernel, root):
    kernel("6.1.0")

    assert tune(CopyOptions(), [SSD], [root]).together == (False,)


@pytest.mark.parametrize(
    ("release", "system", "together"),
    [
        ("5.8.0", "Linux", True),
        ("5.10.1-arch", "Linux", True),
        ("10.0", "Linux", True),
        ("5.7.19", "Linux", False),
        ("4.19.0-26", "Linux", False),
        ("strange", "Linux", False),
        ("23.4.0", "Darwin", False),
    ],
)
def test_one_flush_is_believed_from_linux_5_8_on(kernel, release, system, together):
    kernel(release, system)

    assert tune(CopyOptions(), [SSD], [SSD]).together == (together,)
    assert tune(CopyOptions(flush=Flush.TOGETHER), [SSD], [SSD]).together == (together,)


def test_each_archive_is_flushed_in_its_own_way(kernel):
    kernel("6.1.0")

    assert tune(CopyOptions(), [SSD], [SSD, SHARE, None, STICK]).together == (True, False, False, True)


@pytest.mark.parametrize(
    ("root", "together"),
    [(volume(kind="zfs"), True), (CARD, True), (SSD, True), (SHARE, False), (DAEMON, False), (volume(kind="fuseblk"), False)],
)  # fmt: skip
def test_one_flush_is_never_relied_on_where_it_hides_errors(kernel, root, together):
    kernel("6.1.0")

    assert tune(CopyOptions(flush=Flush.TOGETHER), [SSD], [root]).together == (together,)


@pytest.mark.parametrize(
    ("sources", "chosen", "keep"),
    [
        ([SSD], None, False), ([CARD], None, False), ([SHARE], None, False), ([MEMORY], None, True),
        ([MEMORY, SSD], None, False), ([SSD], Cache.KEEP, True), ([MEMORY], Cache.DROP, False),
    ],
)  # fmt: skip
def test_what_was_read_leaves_memory_unless_it_lives_there(sources, chosen, keep):
    assert tune(CopyOptions(cache=chosen), sources, [SSD]).keep_cache is keep


@pytest.mark.parametrize(
    ("source", "size", "mode"),
    [
        (SSD, MMAP_MIN, ReadMode.MMAP),
        (SSD, MMAP_MIN - 1, ReadMode.READ),
        (SSD, 1 << 40, ReadMode.MMAP),
        (DISK, MMAP_MIN, ReadMode.MMAP),
        (VIRTUAL, 1 << 30, ReadMode.READ),
        (DAEMON, 1 << 30, ReadMode.READ),
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


# What the configuration says


def test_what_is_configured_of_a_place_wins_over_what_it_is_taken_for(cores):
    cores(8)

    tuned = tune(CopyOptions(), [SSD], [replace(SHARE, buffer=1 << 22, workers=3)])

    assert (tuned.workers, tuned.buffer) == (3, 1 << 22)
    assert {"3 workers: configured", "buffer 4096 KiB: configured"} <= set(tuned.reasons)


def test_an_option_wins_over_the_configuration():
    tuned = tune(CopyOptions(workers=2, buffer=1 << 16), [SSD], [replace(SHARE, buffer=1 << 22, workers=3)])

    assert (tuned.workers, tuned.buffer) == (2, 1 << 16)


@pytest.mark.parametrize(
    ("other", "workers", "buffer"), [(SHARE, 1, NETWORK_BUFFER), (DISK, 1, 1 << 17), (SSD, 4, 1 << 17)]
)
def test_one_place_s_configuration_takes_nothing_from_what_another_needs(cores, other, workers, buffer):
    cores(8)

    tuned = tune(CopyOptions(), [replace(SSD, buffer=1 << 17, workers=16)], [other])

    assert (tuned.workers, tuned.buffer) == (workers, buffer)


def test_of_several_places_the_fewest_workers_and_the_largest_buffer_hold(cores):
    cores(8)

    tuned = tune(CopyOptions(), [replace(SSD, workers=6, buffer=1 << 14)], [replace(SSD, workers=5, buffer=1 << 15)])

    assert (tuned.workers, tuned.buffer) == (5, 1 << 15)


@pytest.mark.parametrize("flush", list(Flush))
def test_a_share_that_is_called_local_is_still_flushed_file_by_file(flush):
    assert tune(CopyOptions(flush=flush), [SSD], [replace(SHARE, storage=Storage.LOCAL)]).together == (False,)
