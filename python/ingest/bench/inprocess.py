"""The engine alone, in this process and in memory, beside `cp`: copy and hash, without flush and read-back.

The engine always reads back; its answers say how long the copying took, and that alone counts here. Several threads
share one big file within a call; a tree of many files is given to as many workers (threads of this process, which
the engine lets run side by side), batch by batch, as the pipeline would. A worker's time is that of its batches; the
slowest worker's counts.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import count
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final

from ingest import engine
from ingest.bench.commands import timed
from ingest.bench.contenders import Contender
from ingest.bench.machine import cores
from ingest.bench.ours import shown_size
from ingest.bench.results import Kind, Step
from ingest.bench.workloads import KIB, MIB, files_below
from ingest.errors import IngestError
from ingest.storage.tuning import SHARD_BYTES, SHARD_FILES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ingest.bench.contenders import Course
    from ingest.bench.workloads import Workload

# The buffers that the specification's bench compares.
BUFFERS: Final = (64 * KIB, 256 * KIB, MIB, 4 * MIB)
NAME: Final = "engine"
NS: Final = 1e9
DIGEST_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Batch:
    """Columns of one call."""

    paths: list[bytes]
    sizes: list[int]
    mtimes: list[int]


def peer() -> Contender:
    """`cp -r`, which flushes nothing and hashes nothing."""

    def measure(course: Course) -> tuple[Step, ...]:
        return (timed("cp", ["cp", "-r", course.card, course.target()], folder=course.folder),)

    return Contender("cp", Kind.PEER, measure)


def contenders(
    workload: Workload, modes: Sequence[str], buffers: Sequence[int], threads: Sequence[int]
) -> Iterator[Contender]:
    """The engine in every combination; by default with one thread and with as many as it can use here."""
    for many in threads or sorted({1, most_threads()}):
        for mode in modes:
            for buffer in buffers:
                name = f"{NAME} {mode} {shown_size(buffer)} {many} {'thread' if many == 1 else 'threads'}"
                # One file is shared within a call; many files are shared out.
                workers, inside = (1, many) if workload.files == 1 else (many, 1)
                yield Contender(name, Kind.ENGINE, partial(_stage, mode, buffer, workers, inside))


def most_threads() -> int:
    """One on every core, as far as one call of the engine takes them."""
    return min(cores(), engine.THREADS_MAX)


def hashing(hashes: Sequence[str], buffer: int, threads: int) -> Contender:
    """The engine with one worker and these digests beside BLAKE3."""
    name = f"{' + '.join(['blake3', *hashes])}, {threads} {'thread' if threads == 1 else 'threads'}"
    return Contender(name, Kind.ENGINE, partial(_stage, "read", buffer, 1, threads, hashes=hashes))


def _stage(
    mode: str, buffer: int, workers: int, threads: int, course: Course, hashes: Sequence[str] = ()
) -> tuple[Step, ...]:
    source, target = engine.Root(os.fsencode(course.card)), engine.Root(os.fsencode(course.target()))
    waiting: SimpleQueue[Batch] = SimpleQueue()
    for batch in batches(course.card):
        waiting.put(batch)
    names = count()

    def work() -> int:
        """Nanoseconds spent copying."""
        copying = 0
        while True:
            try:
                batch = waiting.get_nowait()
            except Empty:
                return copying
            staging = [b"%d" % next(names) for _ in batch.paths]
            items = list(range(len(staging)))
            digests, _, _, _, faults, ((*_, troubles),), spent, *_ = engine.stage(
                source, [target], items, batch.paths, batch.sizes, batch.mtimes, [staging], mode=mode, buffer=buffer,
                threads=threads, hashes=hashes,
            )  # fmt: skip
            fault = next(iter([*faults.values(), *troubles.values()]), None)
            if fault is not None or len(digests) != DIGEST_BYTES * len(items):
                raise IngestError(f"the engine failed: {fault}", operation="bench")
            copying += spent[0]

    with ThreadPoolExecutor(workers) as pool:
        nanoseconds = [future.result() for future in [pool.submit(work) for _ in range(workers)]]
    return (Step("copy", max(nanoseconds) / NS),)


def batches(card: Path) -> Iterator[Batch]:
    """The card's files in batches of the pipeline's size, in the order of its folders."""
    batch, size, base = Batch([], [], []), 0, os.fsencode(card)
    for path in files_below(card):
        facts = os.stat(path)
        batch.paths.append(os.path.relpath(os.fsencode(path), base))
        batch.sizes.append(facts.st_size)
        batch.mtimes.append(facts.st_mtime_ns)
        size += facts.st_size
        if len(batch.paths) >= SHARD_FILES or size >= SHARD_BYTES:
            yield batch
            batch, size = Batch([], [], []), 0
    if batch.paths:
        yield batch
