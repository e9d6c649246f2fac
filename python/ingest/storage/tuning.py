"""How to work with a volume: buffer, concurrency, read mode. Each choice has its reason here, and an option.

Every number stands next to the measurement or the document that it comes from.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ingest.model.options import CopyOptions, ReadMode
from ingest.storage.volumes import Storage, Volume

if TYPE_CHECKING:
    from collections.abc import Sequence

# The seeds' figure for local disks, and what measures best here: a buffer that stays in the second-level cache
# between the read, the hash and the write (README, "Figures": 64 KiB against 1 MiB).
LOCAL_BUFFER: Final = 64 << 10
# Fewer round trips (seed 000).
NETWORK_BUFFER: Final = 1 << 20
# At once on a local device (seed 000). Each worker is a process and spends a core on hashing.
LOCAL_WORKERS: Final = 4
# A spinning disk seeks between streams; a share queues them anyway (seed 000).
SEQUENTIAL_WORKERS: Final = 1
# Below this size a map costs more than the read it saves.
MMAP_MIN: Final = 1 << 20
# A shard is big enough that its one flush is shared by many files, and small enough that a batch of proven
# files gets its names every few seconds. Each file of a shard keeps a descriptor per destination open.
SHARD_FILES: Final = 256
SHARD_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class Tuning:
    """What was decided for one session.

    Attributes:
        workers: processes. buffer: bytes. reasons: one sentence per choice, for `doctor` and the curious.
    """

    workers: int
    buffer: int
    reasons: tuple[str, ...]


def tune(options: CopyOptions, sources: Sequence[Volume], roots: Sequence[Volume]) -> Tuning:
    """Buffer and number of workers for these volumes; the user's own choice always wins."""
    every = [*sources, *roots]
    network = any(volume.storage is Storage.NETWORK for volume in every)
    spinning = any(volume.rotational for volume in every)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    reasons = []
    if options.workers is not None:
        workers = options.workers
        reasons.append(f"{workers} workers: asked for")
    elif network or spinning:
        workers = SEQUENTIAL_WORKERS
        reasons.append(
            "1 worker: " + ("a network share queues requests anyway" if network else "a spinning disk seeks")
        )
    else:
        workers = min(LOCAL_WORKERS, cores)
        reasons.append(f"{workers} workers: solid-state storage, {cores} cores")
    if options.buffer is not None:
        buffer = options.buffer
        reasons.append(f"buffer {buffer}: asked for")
    else:
        buffer = NETWORK_BUFFER if network else LOCAL_BUFFER
        reasons.append(f"buffer {buffer >> 10} KiB: " + ("fewer round trips" if network else "stays in the cache"))
    return Tuning(workers, buffer, tuple(reasons))


def read_mode(options: CopyOptions, source: Volume, size: int) -> ReadMode:
    """How to read a file: `auto` maps files of 1 MiB and more on stable local block devices, and reads the rest.

    A page of a map that goes away kills the reader, so shares, cards and anything that can be pulled out are
    read; so is tmpfs, where a map is slower (the facts' table: 2.0 against 1.2 times `cp`).
    """
    if options.read_mode is not ReadMode.AUTO:
        return options.read_mode
    stable = source.storage is Storage.LOCAL and not source.memory and source.rotational is not None
    return ReadMode.MMAP if stable and size >= MMAP_MIN else ReadMode.READ
