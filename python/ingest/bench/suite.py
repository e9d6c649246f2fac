"""The suite: everything one call of `ingest bench` measures, from what was asked for to the report."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ingest import engine
from ingest.bench import inprocess, ours
from ingest.bench.bay import bay, flush, has_room
from ingest.bench.contenders import Contender, Course, race
from ingest.bench.machine import machine
from ingest.bench.records import measure_records
from ingest.bench.results import Kind, Race, Report
from ingest.bench.workloads import Workload, plant, touch_memory
from ingest.errors import UsageError
from ingest.model.options import CopyOptions, ReadMode
from ingest.pipeline.opening import check_options

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ingest.bench.peers import Peer
    from ingest.bench.results import Records

# Who the others are compared with, if it is there.
REFERENCES = ("equal", "cp", "rsync", "rclone", "ocopy", "b3sum")
# The manifests, the journal, the list of sums: beside the copies of the card.
EXTRA_FILES = 64
EXTRA_BYTES_PER_FILE = 2048
# Removing so many files slows down the runs that follow.
MANY = 1000


@dataclass(frozen=True, slots=True)
class Request:
    """What to measure.

    Attributes:
        size: what the sizes are called. workloads: trees. items: numbers of synthetic records, none for no such race.
        choices: of `ingest copy`. disk: where.
        engine: the engine alone, instead of the whole program; modes, buffers, threads: how.
    """

    size: str
    workloads: tuple[Workload, ...]
    items: tuple[int, ...]
    choices: tuple[ours.Choice, ...]
    peers: tuple[Peer, ...]
    disk: Path
    runs: int = 5
    warm_up: bool = True
    engine: bool = False
    modes: tuple[str, ...] = ("read",)
    buffers: tuple[int, ...] = inprocess.BUFFERS
    threads: tuple[int, ...] = ()

    def contenders(self, workload: Workload) -> list[Contender]:
        """Who takes part in the race of a workload."""
        if self.engine:
            return [inprocess.peer(), *inprocess.contenders(workload, self.modes, self.buffers, self.threads)]
        return [*(ours.contender(choice) for choice in self.choices), *(peer.contender() for peer in self.peers)]


def check(request: Request) -> Request:
    """The request, if it makes sense.

    Raises:
        UsageError: it does not.
    """
    if request.runs < 1:
        raise UsageError(f"{request.runs} runs", operation="--runs", advice="Take 1 at least, better 5")
    wrong = [many for many in request.threads if not 1 <= many <= engine.THREADS_MAX]
    if request.engine and wrong:
        raise UsageError(f"{wrong[0]} threads", operation="--workers", advice=f"Take 1 to {engine.THREADS_MAX}")
    for choice in request.choices:
        mode = ReadMode(choice.read_mode) if choice.read_mode is not None else ReadMode.AUTO
        check_options(CopyOptions(workers=choice.workers, buffer=choice.buffer, read_mode=mode))
    if any(choice.destinations < 1 for choice in request.choices):
        raise UsageError("no destination", operation="--destinations", advice="Take 1 or more")
    return request


def measure(request: Request, tell: Callable[[str], None]) -> Report:
    """Measure all of it; `tell` gets a line per step.

    Raises:
        IngestError: a contender failed, or there is no room. Nothing is left behind.
    """
    races = tuple(_race(request, workload, tell) for workload in request.workloads)
    records: tuple[Records, ...] = ()
    if request.items:
        records = measure_records(request.items, request.disk, request.runs, warm_up=request.warm_up, tell=tell)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Report(
        engine.__version__, now, machine(request.disk), request.size, request.runs, request.warm_up, races, records
    )


def _race(request: Request, workload: Workload, tell: Callable[[str], None]) -> Race:
    contenders = request.contenders(workload)
    most, each = copies(request), tree_bytes(workload)
    size = (1 + most) * each
    with bay(request.disk.absolute(), (1 + most) * workload.entries + EXTRA_FILES, size) as folder:
        tell(f"{workload.name}: making {workload.shown}")
        card = folder / "CARD"
        plant(card, workload)
        flush(folder)
        touch_memory(size)
        course = Course(card, folder / "run", not request.engine, keeps(request, workload))
        results = race(
            contenders,
            course,
            request.runs,
            warm_up=request.warm_up,
            tell=lambda line: tell(f"{workload.name}: {line}"),
        )
    return Race(workload, request.engine, reference([(one.name, one.kind) for one in contenders]), results)


def copies(request: Request) -> int:
    """How many copies of a card are made in one run, at most."""
    return max([choice.destinations for choice in request.choices], default=1)


def tree_bytes(workload: Workload) -> int:
    """What one copy may take on the disk."""
    return workload.bytes + EXTRA_BYTES_PER_FILE * workload.entries


def keeps(request: Request, workload: Workload) -> bool:
    """Whether the trees of all runs stay until the race is over: there are many files in each, and room for them."""
    if request.engine or workload.entries < MANY:
        return False
    trees = (request.runs + request.warm_up) * len(request.contenders(workload)) * copies(request)
    return has_room(request.disk, trees * workload.entries, trees * tree_bytes(workload))


def reference(contenders: Sequence[tuple[str, Kind]]) -> str:
    """Who the others are compared with: the peer of equal work, else another peer, else the first contender."""
    there = {name for name, kind in contenders if kind is Kind.PEER}
    return next((name for name in REFERENCES if name in there), contenders[0][0])
