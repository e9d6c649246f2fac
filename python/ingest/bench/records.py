"""The records workload: how many items a second the bookkeeping bears, with all bytes taken out of it.

Plan, journal and manifest of a session of synthetic items; see `synthetic` for what is real and what is not. Each run
is a process of its own; its memory is that of all processes it has (with the stand-in there are no workers).
"""

from __future__ import annotations

import json
import random
import sys
from typing import TYPE_CHECKING, Final

from ingest.bench.bay import bay, flush, remove
from ingest.bench.memory import peak_of
from ingest.bench.results import Records
from ingest.bench.synthetic import TOLD

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

# What an item takes on the disk, at most, in journal and manifest; the session itself asks for room for the files.
BYTES_PER_ITEM: Final = 2048


def measure_records(
    items: Sequence[int], disk: Path, runs: int, *, warm_up: bool, tell: Callable[[str], None]
) -> tuple[Records, ...]:
    """So many rounds of each number of items, in an order drawn anew for each.

    Args:
        warm_up: one round more, before the others, that does not count. tell: told of each run.

    Raises:
        IngestError: a session failed, or there is no room.
    """
    seconds: dict[int, list[float]] = {many: [] for many in items}
    peaks: dict[int, list[int]] = {many: [] for many in items}
    shares: dict[int, list[int]] = {many: [] for many in items}
    with bay(disk.absolute(), max(items), max(items) * BYTES_PER_ITEM) as folder:
        for number in range(0 if warm_up else 1, runs + 1):
            order = list(seconds)
            random.shuffle(order)
            for many in order:
                run = folder / "run"
                run.mkdir()
                peak = peak_of([sys.executable, "-m", "ingest.bench.synthetic", str(many), run], {})
                told = json.loads((run / TOLD).read_bytes())
                if number:
                    seconds[many].append(told["seconds"])
                    # What the process says of itself misses no moment; what was watched misses no process.
                    peaks[many].append(max(peak.rss, told["peak_bytes"]))
                    shares[many].append(peak.pss)
                place = f"round {number} of {runs}" if number else "warm-up"
                tell(f"records: {place}: {many:,} items {told['seconds']:.2f} s")
                remove(run)
                flush(folder)
    return tuple(Records(many, seconds[many], peaks[many], shares[many]) for many in seconds)
