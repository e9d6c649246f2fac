"""One session of synthetic items, in a process of its own: ``python -m ingest.bench.synthetic ITEMS FOLDER``.

The card is not read: its items are made up. No file is copied: a stand-in answers for the workers. All between is
the program itself, called as everybody calls it. What was measured is left in ``FOLDER/told.json``: ``seconds`` of
the session, from its opening to its report, and ``peak_bytes``, the most memory that this process had (VmHWM).
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ingest.bench.crew import Crew
from ingest.errors import IngestError
from ingest.model.item import Folder, Item, Kind
from ingest.model.options import CopyOptions, CopyRequest
from ingest.model.states import ItemState
from ingest.pipeline import scan
from ingest.workers import supervisor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.engine import Root
    from ingest.model.session import SourceFacts
    from ingest.pipeline.scan import Filter, Found

TOLD: Final = "told.json"
CHUNK: Final = 10_000
PER_FOLDER: Final = 1000
# A moment, and one second more for each item.
SHOT_NS: Final = 1_700_000_000_000_000_000
SECOND_NS: Final = 1_000_000_000


def synthetic_card(items: int) -> Iterator[Found]:
    """Items as a scan would find them: folders of a thousand clips each, of a few hundred bytes."""
    for first in range(1, items + 1, CHUNK):
        found, folders = [], []
        for number in range(first, min(first + CHUNK, items + 1)):
            folder = b"DCIM/%05d" % ((number - 1) // PER_FOLDER)
            mtime = SHOT_NS + number * SECOND_NS
            if (number - 1) % PER_FOLDER == 0:
                folders.append(Folder(0, folder, mtime))
            path = folder + b"/C%07d.MP4" % number
            found.append(Item(number, 0, path, number % 1000, mtime, Kind.VIDEO, ItemState.DISCOVERED))
        yield scan.Found(found, folders)


def measure(items: int, folder: Path) -> dict[str, float]:
    """Run the session.

    Raises:
        IngestError: it failed, or the stand-in was not asked for every item: then nothing was measured.
    """

    def scan_source(_root: Root, _facts: SourceFacts, _first: int, _chosen: Filter) -> Iterator[Found]:
        return synthetic_card(items)

    # Before the pipeline is imported: it takes these two by name.
    assert "ingest.pipeline.run" not in sys.modules  # noqa: S101 - else the real workers would be measured
    supervisor.Supervisor = Crew  # type: ignore[misc, assignment]
    scan.scan_source = scan_source  # type: ignore[assignment]
    from ingest import api
    from ingest.pipeline import run  # noqa: F401 - what it imports is not to be timed

    for name in ("card", "archive"):
        (folder / name).mkdir()
    request = CopyRequest(
        (os.fsencode(folder / "card"),), (os.fsencode(folder / "archive"),), CopyOptions(), new_root=True
    )
    began = time.perf_counter()
    report = api.copy(request, folder / "home")
    seconds = time.perf_counter() - began
    if not report.items["finalized"] == Crew.staged == Crew.published == items:
        raise IngestError(
            f"{report.items['finalized']} of {items} items finalized, {Crew.staged} staged", operation="records"
        )
    return {"seconds": seconds, "peak_bytes": peak_bytes()}


def peak_bytes() -> int:
    """The most resident memory this process had.

    VmHWM begins anew with the program; `ru_maxrss` would include the parent's memory at the fork.
    """
    try:
        with open("/proc/self/status", encoding="ascii") as lines:
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    told = measure(int(sys.argv[1]), Path(sys.argv[2]))
    Path(sys.argv[2], TOLD).write_text(json.dumps(told), encoding="utf-8")
