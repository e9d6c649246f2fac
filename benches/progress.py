"""What progress costs: CPU seconds of (b) with it, beside those without, quiet, with events and on a terminal.

CPU seconds of whole runs differ by more than the 1 % that is asked about, so two of them are not compared. Within each
run the CPU time of telling is taken by itself, with each thread's own clock (`metered.py` says what is counted: the
pulse, the calls of the session, all that writes), and what is shown is all CPU seconds of the run in those that are left
without it. This sees thousandths. It does not see what telling does to others' caches, nor what a worker's counting of
bytes costs: a store to its own memory now and then.

The terminal is a pseudo terminal that somebody reads. What it takes to set the bar up is a row of its own: it is paid
once, however much is copied.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import sys
import termios
import threading
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from bars import LETTERS, Bar, Finding, tell
from ingest.bench.bay import bay, flush
from ingest.bench.commands import timed
from ingest.bench.contenders import Contender, Course, race
from ingest.bench.results import Kind, Step
from ingest.bench.workloads import MIB, TREES, plant, touch_memory
from ingest.errors import IngestError

if TYPE_CHECKING:
    from collections.abc import Iterator

BAR = 1.01
METERED = Path(__file__).with_name("metered.py")
WAYS = ("quiet", "events", "terminal")
LINES, COLUMNS = 40, 140


def progress(chosen) -> Iterator[Bar | Finding]:
    workload = TREES[chosen.size]["clips"]
    set_up: dict[str, list[float]] = {way: [] for way in WAYS}
    with bay(chosen.disk.absolute(), 4 * workload.files, 2 * workload.bytes + 64 * MIB) as folder:
        plant(folder / "CARD", workload)
        flush(folder)
        touch_memory(2 * workload.bytes)
        contenders = [Contender(way, Kind.INGEST, partial(copy, way, set_up[way])) for way in WAYS]
        results = race(
            contenders, Course(folder / "CARD", folder / "run"), chosen.runs, warm_up=chosen.size == "full", tell=tell
        )
    for result in results:
        ratio = median(run.cpu / run.steps[0].cpu for run in result.runs)
        spent = median(run.steps[1].cpu for run in result.runs)
        told = f"{ratio:.4f} x ({median(result.cpu):.2f} s, of them {1000 * spent:.1f} ms to tell)"
        yield Bar(
            f"CPU seconds of {LETTERS['clips']} with progress, {result.name}, beside those without", ratio, BAR, told
        )
    for way in WAYS:
        yield Finding(f"CPU time to set progress up, {way}, once", f"{1000 * median(set_up[way]):.1f} ms", "-")


def copy(way: str, set_up: list[float], course: Course) -> tuple[Step, ...]:
    """`ingest copy`, its CPU seconds in two parts: the second is that of telling, within the seconds of the first."""
    told = course.folder / "told.json"
    command = [sys.executable, METERED, told, "copy", course.card, course.target(), "--new-root"]
    command += {"quiet": ["--quiet"], "events": ["--events", course.folder / "events"], "terminal": []}[way]
    environment = {"INGEST_HOME": str(course.folder / "home"), "TERM": "xterm-256color"}
    if way == "terminal":
        with terminal() as name:
            # A command's errors go to a file; this one's go to the terminal.
            step = timed("copy", ["sh", "-c", f'exec "$@" 2> {name}', "sh", *command], folder=course.folder, environment=environment)  # fmt: skip
    else:
        step = timed("copy", command, folder=course.folder, environment=environment)
    account = json.loads(told.read_bytes())
    if not account["threads"] or not account["calls"]:
        raise IngestError("nothing was told, or it was not seen", operation="progress", advice="See benches/metered.py")
    set_up.append(account["setting_up"])
    return Step("copy", step.seconds, step.cpu - account["going"]), Step("telling", 0.0, account["going"])


@contextmanager
def terminal() -> Iterator[str]:
    """The name of a terminal that is read by somebody.

    Raises:
        IngestError: nothing was written to it.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    read = bytearray()

    def drain() -> None:
        try:
            while block := os.read(ours, 1 << 16):
                read.extend(block)
        except OSError:
            return  # it was closed on the other side

    reader = threading.Thread(target=drain, daemon=True)
    reader.start()
    try:
        yield os.ttyname(theirs)
    finally:
        os.close(theirs)
        reader.join()
        os.close(ours)
    if b"\x1b[" not in read:
        raise IngestError("no bar was drawn on the terminal", operation="progress")
