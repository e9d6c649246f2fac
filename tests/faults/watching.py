"""What is seen of a process from outside, by /proc, and waiting until it is seen.

What is asked of a process that has ended meanwhile has an answer too: it is no worker, it is not alive, it moves
nothing.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 30.0  # seconds, for anything that is waited for
T = TypeVar("T")


def until(found: Callable[[], T], what: str, seconds: float = PATIENCE, *, most: float = 0.02) -> T:
    """Poll until something is true, and return it; the rarer the longer it takes, `most` seconds apart at most."""
    began = time.monotonic()
    while not (value := found()):
        waited = time.monotonic() - began
        assert waited < seconds, f"waited {seconds} s in vain: {what}"
        time.sleep(min(max(waited / 200, 0.0005), most))
    return value


def is_worker(pid: int) -> bool:
    try:
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


def is_alive(pid: int) -> bool:
    """It runs, or could: not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def is_frozen(pid: int) -> bool:
    """It was stopped, or has ended: it moves nothing."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "TtZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def is_traced(pid: int) -> bool:
    with suppress(FileNotFoundError, ProcessLookupError):
        return "TracerPid:\t0\n" not in Path(f"/proc/{pid}/status").read_text()
    return False


def positions(pid: int, wanted: Callable[[str], bool]) -> list[int]:
    """How far a process is in each open file of these paths."""
    found = []
    try:
        for descriptor in os.listdir(f"/proc/{pid}/fd"):
            if wanted(os.readlink(f"/proc/{pid}/fd/{descriptor}")):
                lines = Path(f"/proc/{pid}/fdinfo/{descriptor}").read_text().splitlines()
                found.append(int(lines[0].split()[1]))
    except (FileNotFoundError, ProcessLookupError):
        pass  # it was closed, or the process ended, while we looked
    return found
