"""What is copied: trees of incompressible files, made for the bench and cold when it matters."""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ingest.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

KIB: Final = 1 << 10
MIB: Final = 1 << 20
BLOCK: Final = 8 * MIB
# Cameras begin a new folder before the thousandth file.
PER_FOLDER: Final = 500
# The workload that moves no bytes (see `records`), and the one that is given by --files and --bytes.
RECORDS: Final = "records"
CUSTOM: Final = "custom"
# What is measured if nothing is named.
USUAL: Final = ("big", "clips", "small")
NAMES: Final = (*USUAL, "cards", RECORDS)


@dataclass(frozen=True, slots=True)
class Workload:
    """So many files of so many bytes each, and beside each its sidecars: their suffix and bytes."""

    name: str
    files: int
    file_bytes: int
    sidecars: tuple[tuple[str, int], ...] = ()

    @property
    def bytes(self) -> int:
        """All of it."""
        return self.files * (self.file_bytes + sum(size for _, size in self.sidecars))

    @property
    def entries(self) -> int:
        """Files, sidecars among them."""
        return self.files * (1 + len(self.sidecars))

    @property
    def shown(self) -> str:
        """For people, as in `200 x 10 MiB` or `100 x 10 MiB, each with 4 KiB and 16 KiB`."""
        beside = " and ".join(_shown(size) for _, size in self.sidecars)
        return f"{self.files:,} x {_shown(self.file_bytes)}" + (f", each with {beside}" if beside else "")


def _shown(size: int) -> str:
    unit = "bytes"
    for larger in ("KiB", "MiB"):
        if size and size % KIB == 0:
            size, unit = size // KIB, larger
    return f"{size:,} {unit}"


# What a camera writes beside a clip: what it knows of it, and a small picture.
SIDECARS: Final = (("XML", 4 * KIB), ("THM", 16 * KIB))
# The three that the bars are for: one huge file, many clips, tens of thousands of small files. And cards as they are:
# batches of clips with their sidecars among them. `small` proves that it runs.
TREES: Final = {
    "full": {
        "big": Workload("big", 1, 4096 * MIB),
        "clips": Workload("clips", 200, 10 * MIB),
        "small": Workload("small", 20_000, 16 * KIB),
        "cards": Workload("cards", 100, 10 * MIB, SIDECARS),
    },
    "small": {
        "big": Workload("big", 1, 32 * MIB),
        "clips": Workload("clips", 8, 2 * MIB),
        "small": Workload("small", 400, 16 * KIB),
        "cards": Workload("cards", 8, 2 * MIB, SIDECARS),
    },
}
# Two numbers of items each, so that one sees whether time grows with them.
ITEMS: Final = {"full": (100_000, 1_000_000), "small": (1_000, 10_000)}


def choose(names: Sequence[str], size: str, files: int | None, file_bytes: int | None) -> tuple[Workload, ...]:
    """The trees that were asked for; none named means the usual three, or the one that is described in numbers.

    Raises:
        UsageError: no such workload or size, or numbers that make none.
    """
    if size not in TREES:
        raise UsageError(f"no size {size!r}", operation="--size", advice=f"There are: {', '.join(TREES)}")
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise UsageError(f"no workload {unknown[0]!r}", operation="--workload", advice=f"There are: {', '.join(NAMES)}")
    if files is None and file_bytes is None:
        wanted = dict.fromkeys(names or USUAL)
        return tuple(TREES[size][name] for name in wanted if name != RECORDS)
    if names:
        raise UsageError(
            "--files and --bytes describe a workload of their own",
            operation="--workload",
            advice="Leave --workload out",
        )
    if files is None or file_bytes is None or files < 1 or file_bytes < 0:
        raise UsageError(
            "one file at least, and the size of each", operation="--files", advice="As in: --files 1000 --bytes 1MiB"
        )
    return (Workload(CUSTOM, files, file_bytes),)


def plant(card: Path, workload: Workload) -> None:
    """Make the tree, and see to it that it is on the device."""
    folder = card
    for number in range(workload.files):
        if number % PER_FOLDER == 0:
            folder = card / "DCIM" / f"{100 + number // PER_FOLDER}CLIPS"
            folder.mkdir(parents=True)
        for suffix, size in (("MP4", workload.file_bytes), *workload.sidecars):
            _fill(folder / f"C{number:06d}.{suffix}", size)


def _fill(path: Path, size: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        for start in range(0, size, BLOCK):
            left = memoryview(os.urandom(min(BLOCK, size - start)))
            while left:
                left = left[os.write(descriptor, left) :]
    finally:
        os.close(descriptor)


def files_below(folder: Path) -> list[Path]:
    """The files of a tree, in the order of its folders."""
    found = []
    for where, folders, names in os.walk(folder):
        folders.sort()
        found += [Path(where, name) for name in sorted(names)]
    return found


def touch_memory(size: int) -> None:
    """Have this machine be given the memory that is about to be used: at most half of what is free.

    The first touch of a virtual machine's memory can be slower than a disk.
    """
    size = min(size, free_memory() // 2)
    block = bytes(BLOCK)
    if size < BLOCK:
        return
    with mmap.mmap(-1, size) as memory:
        for _ in range(size // BLOCK):
            memory.write(block)


def free_memory() -> int:
    """Bytes that can be had without swapping; 0 where the system does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            return next(int(line.split()[1]) * KIB for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return 0
