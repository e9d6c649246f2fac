"""What tests that meddle with processes share: which a process has started, whether one still runs, and at
which of its calls to meddle.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path


def children(pid: int) -> list[int]:
    """The processes that a process has started, by any of its threads; none if it is gone."""
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
        return [int(c) for task in tasks for c in Path(f"/proc/{pid}/task/{task}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as line:
            return line.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except FileNotFoundError:
        return False


def gone(pid: int, seconds: float = 10.0) -> bool:
    """Whether a process ends in time."""
    limit = time.monotonic() + seconds
    while running(pid):
        if time.monotonic() > limit:
            return False
        threading.Event().wait(0.01)
    return True


def spread(number: int, most: int | None) -> list[int]:
    """So many of the calls 1 to `number`, from the first to the last, evenly; all without a limit."""
    if most is None or number <= most:
        return list(range(1, number + 1))
    return sorted({1 + round(step * (number - 1) / (most - 1)) for step in range(most)})
