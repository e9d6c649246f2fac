"""How to work with a volume: buffer, concurrency, flushes, read mode. Each choice has its reason here, and a sentence.

What a user could want otherwise has an option too: `--workers`, `--threads`, `--buffer`, `--batch`, `--read-mode`,
`--flush`, `--cache`. The rest follows from what is true of the storage, or is fixed, because on no storage that was met
another value was better. Every number stands next to the measurement or the document that it comes from.

Told, and no choice: *write-behind* (`rust/core/src/behind.rs`). Where a file system's pages can be dropped, big copies go
to the device while they are written; elsewhere write-back starts when the file is whole. Two archives on one disk that
seeks take turns (`rust/core/src/devices.rs`).

Fixed in the engine, each with its reason and its measurement where it stands:

- `SMALL` (sink.rs), 1 MiB: smaller files are flushed together and get no blocks reserved; for them those calls cost more
  than they save.
- `AHEAD` (copy.rs), 16: so many small files are opened and asked for before their turn.
- `FEW` (stage.rs), 32: fewer small files than that are flushed one by one, whatever the file system.
- `WINDOW`, `MOST` (behind.rs): 8 MiB are sent to the device at a time, 256 MiB may wait before it.

And here: `SHARD_BYTES`, `SHARD_FILES` and `MMAP_MIN`, below.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ingest.engine import FEW
from ingest.model.options import MOST_BATCH, Cache, CopyOptions, Flush, ReadMode
from ingest.storage.volumes import Storage, Volume

if TYPE_CHECKING:
    from collections.abc import Sequence

# The seeds' figure for local disks: a buffer that stays in the second-level cache between the read, the hash and the
# write (facts, "Speed": BLAKE3 takes 10 GB/s from there, 7.9 from further away). Beside 256 KiB and 1 MiB the difference
# is small, and changes with the disk: `python benches/figures.py` measures it (section `choices`).
LOCAL_BUFFER: Final = 64 << 10
# Fewer round trips (seed 000). Measured on sshfs over loopback (2-core virtual machine, busy with other work), medians
# of the ratios to 1 MiB in interleaved rounds: 64 KiB, 256 KiB, 4 MiB took 0.86, 0.78, 1.01 of its time to the share
# and 0.96, 1.03, 0.97 from it (256 MiB, 7 rounds); with 2 ms added each way 0.98, 0.81, 0.93 and 1.12, 1.27, 1.16
# (64 MiB, 5 rounds). Rounds of one size differed by more than that: no reason to move it.
NETWORK_BUFFER: Final = 1 << 20
# The seeds pause 50 ms between operations on a share. Here that is 0: where measured, a pause is only added to the time.
# 300 files of 64 KiB to sshfs over loopback took 2.0 s without and 19.3 s with 50 ms after each, which is 15 s of pauses
# (medians of 7 interleaved rounds, machine as above); 100 files with 2 ms added each way 5.5 s and 11.0 s (5 rounds).
# At once on a local device (seed 000). Each worker is a process and spends a core on hashing.
LOCAL_WORKERS: Final = 4
# A spinning disk seeks between streams; a share queues them anyway (seed 000).
SEQUENTIAL_WORKERS: Final = 1
# One thread reads, hashes and writes 2 to 3 GB/s where the device lets it (facts, "Speed"), and the fastest ones do
# 14: more threads than that would only stand in each other's way.
MOST_THREADS: Final = 8
# Below this size a map costs more than the read it saves.
MMAP_MIN: Final = 1 << 20
# A shard is as many files as share one flush: with 1,000 of them a flush of the whole file system costs 0.64 of
# `cp -r` and `sync`, each file's own 2.1 (facts, 20,000 x 16 KiB). Bounded in bytes, so that proven files get their
# names every few seconds, and several workers have something to do on a card of a few hundred clips.
SHARD_FILES: Final = MOST_BATCH
# On a share each file is a flush and several round trips of its own: a smaller batch loses nothing, and what a
# connection that breaks throws away is less.
NETWORK_SHARD_FILES: Final = 256
SHARD_BYTES: Final = 64 << 20
# A job of fewer files and bytes than this is done by one worker before a second one has started.
TINY_FILES: Final = 16
TINY_BYTES: Final = 16 << 20


@dataclass(frozen=True, slots=True)
class Tuning:
    """What was decided for one session.

    Attributes:
        workers: processes. threads: of each, within one big file.
        buffer: bytes. shard_files: files in a batch, at most.
        together: per root, in the order given: one flush of the file system for a batch, instead of one per file.
        disks: per root a number, equal for those that lie on one disk and take turns.
        keep_cache: what was read of the sources stays in memory.
        reasons: one sentence per choice, for the curious (`ingest scan` shows them).
    """

    workers: int
    threads: int
    buffer: int
    shard_files: int
    together: tuple[bool, ...]
    disks: tuple[int, ...]
    keep_cache: bool
    reasons: tuple[str, ...]


def tune(
    options: CopyOptions,
    sources: Sequence[Volume],
    roots: Sequence[Volume | None],
    absent: tuple[int, int] | None = None,
) -> Tuning:
    """What suits these volumes; the user's own choice always wins, then what the configuration says of a place.

    Args:
        roots: None stands for one that takes no part (it is away).
        absent: copies that are to be made, and their bytes; None if that is not known.
    """
    every = [*sources, *(volume for volume in roots if volume is not None)]
    network = any(volume.storage is Storage.NETWORK for volume in every)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers, why_workers = _workers(options, every, cores)
    if options.workers is None and workers > 1 and absent is not None and _tiny(*absent):
        workers, why_workers = 1, "1 worker: it is done before a second one has started"
    threads, why_threads = _threads(options, every, cores)
    buffer, why_buffer = _buffer(options, every, network=network)
    if options.batch is not None:
        shard = min(options.batch, SHARD_FILES)
        why_shard = f"batches of {shard} files: asked for"
    else:
        shard = NETWORK_SHARD_FILES if network else SHARD_FILES
        why_shard = f"batches of {shard} files: " + (
            "a share flushes each anyway" if network else "enough that one flush is nothing to each"
        )
    flushes = [_flush(options, volume) for volume in roots]
    keep, why_cache = _cache(options, sources)
    reading = dict.fromkeys(_reading(options, volume)[1] for volume in sources)
    flushing = dict.fromkeys(why for _, why in flushes)
    behind = dict.fromkeys(_behind(volume) for volume in roots if volume is not None)
    disks, turns = _turns(roots)
    reasons = (why_workers, why_threads, why_buffer, why_shard, *reading, *flushing, *behind, *turns, why_cache)
    together = tuple(together for together, _ in flushes)
    return Tuning(workers, threads, buffer, shard, together, disks, keep, reasons)


def _tiny(files: int, size: int) -> bool:
    return files < TINY_FILES and size < TINY_BYTES


def _sequential(every: Sequence[Volume]) -> str | None:
    """Why these volumes want one stream at a time, None if they do not."""
    if any(volume.storage is Storage.NETWORK for volume in every):
        return "a network share queues requests anyway"
    if any(volume.rotational for volume in every):
        return "a spinning disk seeks"
    return None


def _buffer(options: CopyOptions, every: Sequence[Volume], *, network: bool) -> tuple[int, str]:
    """One size for the whole session, since one read feeds every destination: of several configured the largest.

    What one place has configured does not take from a share what that needs.
    """
    if options.buffer is not None:
        return options.buffer, f"buffer {options.buffer}: asked for"
    configured = max((volume.buffer for volume in every if volume.buffer is not None), default=0)
    if configured and not (
        configured < NETWORK_BUFFER and any(v.storage is Storage.NETWORK and v.buffer is None for v in every)
    ):
        return configured, f"buffer {configured >> 10} KiB: configured"
    buffer = NETWORK_BUFFER if network else LOCAL_BUFFER
    return buffer, f"buffer {buffer >> 10} KiB: " + ("fewer round trips" if network else "stays in the cache")


def _workers(options: CopyOptions, every: Sequence[Volume], cores: int) -> tuple[int, str]:
    """One where streams get into each other's way, else one per core, up to four. Of several configured the fewest.

    A disk that is not known to spin (a virtual one) is taken for one that does not: with several streams a spinning
    disk loses some of its pace, with one a solid-state disk loses most.
    """
    if options.workers is not None:
        return options.workers, f"{options.workers} workers: asked for"
    unsaid = [volume for volume in every if volume.workers is None]
    sequential = _sequential(unsaid)
    if sequential is not None:
        return SEQUENTIAL_WORKERS, f"1 worker: {sequential}"
    configured = min((volume.workers for volume in every if volume.workers is not None), default=None)
    if configured is not None and (configured <= min(LOCAL_WORKERS, cores) or not unsaid):
        return configured, f"{configured} workers: configured"
    known = all(volume.rotational is not None or volume.memory for volume in every)
    storage = "solid-state storage" if known else "no disk that is known to spin"
    workers = min(LOCAL_WORKERS, cores)
    return workers, f"{workers} workers: {storage}, {cores} cores"


def _threads(options: CopyOptions, every: Sequence[Volume], cores: int) -> tuple[int, str]:
    """How many threads share one big file: every core, where the storage is faster than one of them.

    A card or stick is slower than one core, and a FUSE daemon takes requests one after the other. A virtual disk is
    taken for slower too: 4 GiB, cold, verified, took 5.0 s with one thread and 6.4 s with two, which spent twice the
    processor's time on it (medians of 4 interleaved rounds, virtio, 2 cores). With many big files
    on several workers there are more threads than cores for a while (at most workers x threads, 4 x 8). That is left
    to the scheduler: they wait for the device most of the time, and dividing the cores among the workers would leave
    all but one idle for the last file, and for the only one.
    """
    if options.threads is not None:
        return options.threads, f"{options.threads} threads for a big file: asked for"
    slow = _sequential(every)
    if slow is None and any(volume.storage is Storage.REMOVABLE for volume in every):
        slow = "a card is slower than one core"
    if slow is None and any(volume.virtual for volume in every):
        slow = "a virtual disk is no faster with more"
    if slow is None and any(volume.daemon for volume in every):
        slow = "a FUSE daemon takes one request after the other"
    if slow is not None:
        return 1, f"1 thread for a big file: {slow}"
    threads = min(MOST_THREADS, cores)
    return threads, f"{threads} threads for a big file: {cores} cores"


def _flush(options: CopyOptions, volume: Volume | None) -> tuple[bool, str]:
    """Whether a batch of small files reaches this root's device by one flush of the whole file system.

    One syncfs instead of a thousand fsyncs, where it can be believed: the engine knows where (`volume.rs`). It also
    writes what other programs have written there, which is why `--flush each` exists. Where syncfs does not tell of a
    failed write (shares, FUSE, exFAT, the unknown, Linux before 5.8) there is no such choice: that a name means flushed
    bytes is none.
    """
    if volume is None:
        return False, "flush each: an archive that is away"
    if options.flush is Flush.EACH:
        return False, "flush each: asked for"
    if not volume.together:
        return False, f"flush each: {volume.type or 'an unknown file system'} is not known to answer for a batch here"
    return True, f"flush together: {volume.type} answers for a batch, from {FEW} small files on"


def _behind(volume: Volume) -> str:
    """When written bytes go to the device: while the file is written, where that frees memory at once."""
    name = volume.type or "an unknown file system"
    if volume.evictable:
        return f"write-behind on {name}: big copies go to the device while they are written, and leave memory"
    return f"no write-behind on {name}: its pages cannot be dropped, so write-back starts when the file is whole"


def _turns(roots: Sequence[Volume | None]) -> tuple[tuple[int, ...], list[str]]:
    """Which roots take turns, and why: those on one spinning disk, be it on two partitions of it.

    Two streams would make it seek. On other disks each file system is flushed and read back beside the others.
    """
    disks = list(range(len(roots)))
    for number, one in enumerate(roots):
        for earlier, other in enumerate(roots[:number]):
            spins = one is not None and other is not None and (one.rotational or other.rotational)
            if spins and one is not None and other is not None and one.disks & other.disks:
                joined = {disks[number], disks[earlier]}
                disks = [min(joined) if disk in joined else disk for disk in disks]
    shared = len(set(disks)) < len(disks)
    why = ["one archive after the other: they lie on one spinning disk, and it seeks"] if shared else []
    return tuple(disks), why


def _cache(options: CopyOptions, sources: Sequence[Volume]) -> tuple[bool, str]:
    """Whether what was read of the sources stays in memory.

    It goes: nobody reads a card twice, and what other programs keep in memory is worth more. It is also quicker where
    fresh memory is slow: a cold file of 4 GiB took 2.1 s against 10 to 15 s on a virtual machine (2 cores, 24 GiB).
    It stays where memory is all there is (tmpfs), since there is nothing to release.
    """
    if options.cache is not None:
        return options.cache is Cache.KEEP, f"cache {options.cache}: asked for"
    if sources and all(volume.memory for volume in sources):
        return True, "cache keep: the sources live in memory"
    return False, "cache drop: a source is read once, and memory belongs to others"


def read_mode(options: CopyOptions, source: Volume, size: int) -> ReadMode:
    """How to read a file: `auto` maps files of 1 MiB and more on real local disks, and reads the rest.

    A page of a map that goes away kills the reader, so shares, cards and anything that can be pulled out are
    read; so is tmpfs, where a map is slower (the facts' table: 2.0 against 1.2 times `cp`), and so are virtual disks:
    200 cold files of 10 MiB through the whole pipeline took 4.8 s mapped and 3.8 s read (medians of 4 interleaved
    rounds, virtio). In a guest each fresh page of a map is a fault of two kernels.
    """
    mode, _ = _reading(options, source)
    return ReadMode.READ if options.read_mode is ReadMode.AUTO and size < MMAP_MIN else mode


def _reading(options: CopyOptions, source: Volume) -> tuple[ReadMode, str]:
    """How this source's larger files are read; see `read_mode`."""
    if options.read_mode is not ReadMode.AUTO:
        return options.read_mode, f"read mode {options.read_mode}: asked for"
    if source.memory:
        return ReadMode.READ, "read mode read: a map of what lives in memory is slower"
    if source.storage is not Storage.LOCAL or not source.block:
        return ReadMode.READ, "read mode read: a map of what can go away would take the reader with it"
    if source.virtual:
        return ReadMode.READ, "read mode read: a map of a virtual disk is slower"
    return ReadMode.MMAP, f"read mode mmap: a disk of this machine, files from {MMAP_MIN >> 20} MiB on"
