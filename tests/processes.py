"""What tests that meddle with processes share: which a process has started, and at which of its calls to meddle."""

from __future__ import annotations

import os
from pathlib import Path


def children(pid: int) -> list[int]:
    """The processes that a process has started, by any of its threads; none if it is gone."""
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
        return [int(c) for task in tasks for c in Path(f"/proc/{pid}/task/{task}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def spread(number: int, most: int | None) -> list[int]:
    """So many of the calls 1 to `number`, from the first to the last, evenly; all without a limit."""
    if most is None or number <= most:
        return list(range(1, number + 1))
    return sorted({1 + round(step * (number - 1) / (most - 1)) for step in range(most)})
