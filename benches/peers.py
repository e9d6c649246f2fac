"""What is measured against what: the engine and its peers, on files made for it, cold where that is asked for.

Traps that this module steps around: the first touch of guest memory is slow, so every file is written once before
anything is timed; a source counts as cold when its pages were dropped just before; mass deletes slow down the
creates that follow, so targets are removed after the clock has stopped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingest import engine

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MIB = 1 << 20
# Names of size classes: bytes of the one big file.
SIZES = {"full": 2048 * MIB, "small": 32 * MIB}


@dataclass(frozen=True)
class Bench:
    """A folder to work in, with one source file in it."""

    folder: Path
    size: int

    @property
    def source(self) -> Path:
        """The file that is copied."""
        return self.folder / "source.bin"

    def prepare(self) -> None:
        """Write the source, incompressible, and make sure it is on the device."""
        self.folder.mkdir(parents=True, exist_ok=True)
        block = os.urandom(8 * MIB)
        with self.source.open("wb") as file:
            for number in range(self.size // len(block)):
                file.write(number.to_bytes(8, "little") + block[8:])
            file.flush()
            os.fsync(file.fileno())

    def chill(self) -> None:
        """Drop the source's pages."""
        with self.source.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def remove(self, *names: str) -> None:
        """Remove targets, outside of any measurement."""
        for name in names:
            (self.folder / name).unlink(missing_ok=True)


def cp(bench: Bench, *, flush: bool) -> float:
    """Seconds of `cp`, with `sync` of the copy where it counts."""
    target = bench.folder / "cp.bin"
    began = time.perf_counter()
    subprocess.run(["cp", bench.source, target], check=True)
    if flush:
        subprocess.run(["sync", target], check=True)
    seconds = time.perf_counter() - began
    target.unlink()
    return seconds


def b3sum(bench: Bench) -> float | None:
    """Seconds of Debian's `b3sum` on the source, None without it."""
    if shutil.which("b3sum") is None:
        return None
    began = time.perf_counter()
    subprocess.run(["b3sum", bench.source], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def stage(bench: Bench, mode: str, buffer: int, *, flush: bool) -> float:
    """Seconds of the engine for copy and hash, with the flush where it counts, without the read-back.

    The engine always reads back; its own clock says when each step ended.
    """
    root = engine.Root(os.fsencode(bench.folder))
    size, mtime = bench.source.stat().st_size, bench.source.stat().st_mtime_ns
    began = time.time_ns()
    ((digest, _, _, copied, fault, verdicts),) = engine.stage(
        root, [root], [1], [b"source.bin"], [size], [mtime], [[b"staged.bin"]], mode=mode, buffer=buffer
    )
    ((method, flushed, _, _, trouble),) = verdicts
    if fault is not None or trouble is not None or digest is None or method is None:
        raise RuntimeError(f"the engine failed: {fault or trouble}")
    bench.remove("staged.bin")
    return ((flushed if flush else copied) - began) / 1e9


def chilled(bench: Bench, measure: Callable[[], float]) -> Callable[[], float]:
    """The measurement with the source dropped from memory first."""

    def cold() -> float:
        bench.chill()
        return measure()

    return cold
