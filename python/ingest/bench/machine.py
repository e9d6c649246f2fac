"""Which machine it was: a figure without it says nothing."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ingest.storage.volumes import volume_of

if TYPE_CHECKING:
    from pathlib import Path

_CPUINFO: Final = "/proc/cpuinfo"


@dataclass(frozen=True, slots=True)
class Machine:
    """What a reader has to know.

    Attributes:
        cores: that this process may use. memory: bytes. filesystem: of the disk that was measured on, empty if unknown.
        rotational: whether that disk spins, None if unknown.
    """

    processor: str
    cores: int
    memory: int
    system: str
    python: str
    filesystem: str
    rotational: bool | None


def machine(disk: Path) -> Machine:
    """This machine, with the disk that a folder is on."""
    volume = volume_of(os.fsencode(disk.absolute()))
    return Machine(
        _processor(), cores(), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        f"{platform.system()} {platform.release()}", platform.python_version(), volume.type, volume.rotational,
    )  # fmt: skip


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    try:
        with open(_CPUINFO, encoding="utf-8", errors="replace") as lines:
            named = next((line for line in lines if line.startswith("model name")), "")
    except OSError:
        named = ""
    return named.partition(":")[2].strip() or platform.processor() or platform.machine()
