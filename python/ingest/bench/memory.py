"""The memory of a command and all its processes, at its peak, sampled several times a second.

What counts is the sum of resident sizes (RSS), in which a page that several processes share counts in each of them.
The proportional set size (PSS, of ``smaps_rollup``), in which it counts once, is told too where the kernel tells it.
"""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ingest.bench.commands import kill
from ingest.errors import IngestError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ingest.bench.commands import Command

INTERVAL_SECONDS: Final = 0.2
# Of /proc/<pid>/stat behind the name in brackets: state, ppid, pgrp, session.
_SESSION: Final = 3


@dataclass(frozen=True, slots=True)
class Peak:
    """Of all processes together, each figure at its own worst moment: bytes, and how many processes there were."""

    rss: int
    pss: int
    processes: int
    seconds: float


def peak_of(command: Command, environment: Mapping[str, str]) -> Peak:
    """Run a command to its end and watch the memory of it and its descendants.

    Raises:
        IngestError: it failed.
    """
    began = time.perf_counter()
    process = subprocess.Popen(
        [os.fspath(part) for part in command], env={**os.environ, **environment}, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    rss, pss, many = 0, 0, 0
    try:
        while process.poll() is None:
            sizes = [_sizes(pid) for pid in _members(process.pid)]
            rss, pss = max(rss, sum(size for size, _ in sizes)), max(pss, sum(size for _, size in sizes))
            many = max(many, len(sizes))
            time.sleep(INTERVAL_SECONDS)
    finally:
        kill(process)
    if process.returncode:
        raise IngestError(f"it ended with {process.returncode}", operation=" ".join(str(part) for part in command[:4]))
    return Peak(rss, pss, many, time.perf_counter() - began)


def _members(session: int) -> list[int]:
    """The processes of a session (the kernel's kind), which the command leads."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as stat:
                fields = stat.read().rpartition(b")")[2].split()
        except OSError:
            continue  # it has just ended
        if int(fields[_SESSION]) == session:
            found.append(int(name))
    return found


def _sizes(pid: int) -> tuple[int, int]:
    """RSS and PSS of a process; RSS twice where PSS is not told, nothing of one that has just ended."""
    rss = _field(f"/proc/{pid}/status", b"VmRSS:")
    return rss, _field(f"/proc/{pid}/smaps_rollup", b"Pss:") or rss


def _field(path: str, name: bytes) -> int:
    try:
        with open(path, "rb") as lines:
            return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), 0)
    except OSError:
        return 0
