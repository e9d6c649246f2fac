from __future__ import annotations

from dataclasses import replace

import pytest

from ingest.engine import FEW
from ingest.model.options import MOST_BATCH, Cache, CopyOptions, Flush, ReadMode
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
    # As the engine says of these types.
    together, evictable = kind in ("ext4", "tmpfs"), kind in ("ext4", "exfat", "nfs4")
    return Volume(MOUNT, storage, kind, spinning, None, block, together=together, evictable=evictable)


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

    flushing = ("flush together", "flush each", "write-behind")
    for choice in ("worker", "thread", "buffer", "batches", "read mode", *flushing, "cache"):
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


def test_a_batch_that_an_older_session_asked_for_is_no_larger_than_one_can_be():
    assert tune(CopyOptions(batch=10_000), [SSD], [SSD]).shard_files == SHARD_FILES == MOST_BATCH


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


@pytest.mark.parametrize("root", [SSD, DISK, STICK, MEMORY])
def test_where_one_flush_answers_for_a_batch_there_is_one_and_its_sentence_says_for_how_many(root):
    tuned = tune(CopyOptions(), [SSD], [root])

    assert tuned.together == (True,)
    assert f"flush together: {root.type} answers for a batch, from {FEW} small files on" in tuned.reasons


@pytest.mark.parametrize("root", [SHARE, CARD, DAEMON, UNKNOWN, volume(kind="zfs"), volume(kind="fuseblk")])
def test_elsewhere_each_file_is_flushed_and_no_option_changes_that(root):
    tuned = tune(CopyOptions(), [SSD], [root])

    assert tuned.together == (False,)
    assert [told for told in tuned.reasons if told.startswith("flush")] == [
        f"flush each: {root.type or 'an unknown file system'} is not known to answer for a batch here"
    ]
    assert set(Flush) == {"auto", "each"}


def test_each_by_itself_can_be_asked_for():
    tuned = tune(CopyOptions(flush=Flush.EACH), [SSD], [SSD, SHARE])

    assert tuned.together == (False, False)
    assert "flush each: asked for" in tuned.reasons


def test_each_archive_is_flushed_in_its_own_way():
    assert tune(CopyOptions(), [SSD], [SSD, SHARE, None, STICK]).together == (True, False, False, True)


# When written bytes go to the device


def test_it_is_told_when_big_copies_go_to_the_device():
    reasons = tune(CopyOptions(), [SSD], [SSD, DISK, MEMORY, None]).reasons

    assert [told for told in reasons if "write-behind" in told] == [
        "write-behind on ext4: big copies go to the device while they are written, and leave memory",
        "no write-behind on tmpfs: its pages cannot be dropped, so write-back starts when the file is whole",
    ]


# Who takes turns


def on(*disks: str, spinning: bool | None = True) -> Volume:
    return replace(volume(spinning=spinning), disks=frozenset(disks))


@pytest.mark.parametrize(
    ("roots", "disks"),
    [
        pytest.param([on("sda"), on("sda")], (0, 0), id="two partitions of a spinning disk"),
        pytest.param([on("sda"), on("sdb")], (0, 1), id="two spinning disks"),
        pytest.param([on("nvme0", spinning=False), on("nvme0", spinning=False)], (0, 1), id="one that does not seek"),
        pytest.param([on("vda", spinning=None), on("vda", spinning=None)], (0, 1), id="one that is not known to"),
        pytest.param([on("sda"), None, on("sda")], (0, 1, 0), id="one that is away between them"),
        pytest.param([on("sda"), on("sdb"), on("sda", "sdb")], (0, 0, 0), id="a RAID of both joins them"),
        pytest.param([on("sda"), on("sda", spinning=None)], (0, 0), id="what is known of one is true of the other"),
        pytest.param([SHARE, SHARE, DISK, DISK], (0, 1, 2, 3), id="disks that are not known are nobody's neighbours"),
    ],
)
def test_archives_on_one_spinning_disk_take_turns(roots, disks):
    tuned = tune(CopyOptions(), [SSD], roots)

    assert tuned.disks == disks
    assert any("spinning disk, and it seeks" in told for told in tuned.reasons) is (len(set(disks)) < len(disks))


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


def test_a_share_that_is_called_local_is_still_flushed_file_by_file():
    assert tune(CopyOptions(), [SSD], [replace(SHARE, storage=Storage.LOCAL)]).together == (False,)
