"""The figures of README.md: every bar that the product is held to, measured and judged, as Markdown.

    python benches/figures.py [--section NAME]... [--workload NAME]... [--size full|small] [--runs N] [--disk FOLDER]

Sections (`disk` is by far the longest; each stands alone, and all are measured if none is named):

    disk          verified copies beside equal work, rsync, rclone and ocopy; CPU seconds
    engine        the engine alone, copy and hash in memory, beside cp
    digests       BLAKE3 + xxh128 + MD5 in one read, in memory, beside MD5 alone and beside BLAKE3 alone
    destinations  two destinations from one read beside one
    records       synthetic items through plan, journal and manifest: rate, linearity, memory (RSS of all processes)
    memory        `ingest copy` of 200,000 files of 1 KiB: RSS of all processes, summed, at the peak
    start         `ingest copy` of one file of 1 KiB beside the imports of a bare Python

The workloads, the peers and the method are those of `ingest bench` (see the package `ingest.bench`). At size `small`
the figures mean nothing and only prove that this runs: it then never fails. Else it ends with 9 if a bar is missed.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from ingest.bench import inprocess, peers, suite, table
from ingest.bench.bay import bay, flush
from ingest.bench.commands import timed
from ingest.bench.contenders import Contender, Course, race
from ingest.bench.memory import peak_of
from ingest.bench.ours import NAME, Choice
from ingest.bench.results import Kind, Race, Step
from ingest.bench.workloads import ITEMS, MIB, TREES, Workload, files_below, plant, touch_memory
from ingest.errors import IngestError
from ingest.storage.tuning import LOCAL_BUFFER

if TYPE_CHECKING:
    from collections.abc import Iterator

LETTERS = {"big": "(a)", "clips": "(b)", "small": "(c)"}
# Against whom, at most how many times their seconds.
DISK = {
    "big": {"equal": 0.9, "rsync": 0.6, "ocopy": 1.0},
    "clips": {"equal": 0.8, "rsync": 0.75, "ocopy": 0.9},
    "small": {"equal": 0.95, "rclone": 0.8, "ocopy": 0.2},
}
# CPU seconds beside those of equal work.
CPU = {"big": 1.0, "clips": 1.0}
# The bar speaks of all cores; one call of the engine takes 32 threads.
CORES = max(2, inprocess.most_threads())
# By workload and threads, beside `cp -r` in memory.
ENGINE = {"big": {1: 1.25, CORES: 0.95}, "clips": {2: 0.75}, "small": {2: 0.75}}
DESTINATIONS = 1.9
# Beside the slower of one of the digests alone and the copy without them.
DIGESTS = 1.1
MORE = ("xxh128", "md5")
HASHED = {"full": Workload("digests", 1, 1024 * MIB), "small": Workload("digests", 1, 32 * MIB)}
ITEMS_PER_SECOND = 20_000
LINEAR = 1.1
RECORDS_BYTES = 500e6
MEMORY_BYTES = 400e6
START = 3.0
SAYS = {"equal": "equal work E", "rsync": "rsync twice", "rclone": "rclone + check", "ocopy": "ocopy + sync"}
PLAIN = "import pyarrow, sqlalchemy"


@dataclass(frozen=True)
class Bar:
    """One line of the table. `least`: the bar is the least that is wanted, not the most."""

    what: str
    measured: float
    bar: float
    shown: str
    unit: str = "x"
    least: bool = False

    @property
    def met(self) -> bool:
        """The bar is reached."""
        return self.measured >= self.bar if self.least else self.measured <= self.bar

    def row(self, *, judged: bool) -> str:
        """In Markdown."""
        verdict = ("met" if self.met else "MISSED") if judged else "too small to judge"
        bar = f"{'>=' if self.least else '<='} {self.bar:,.6g} {self.unit}"
        return f"| {self.what} | {self.shown} | {bar} | {verdict} |"


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def report(chosen, request: suite.Request) -> list[Race]:
    """Measure, print the whole table, and hand on the races."""
    told = suite.measure(suite.check(request), tell)
    print("\n```")
    print("\n".join(table.lines(told, [])))
    print("```\n", flush=True)
    chosen.seen.append(told)
    return list(told.races)


def request(chosen, workload: Workload | None, **options) -> suite.Request:
    asked = {"workloads": (workload,) if workload else (), "items": (), "choices": (), "peers": (), "disk": chosen.disk}
    return suite.Request(size=chosen.size, runs=chosen.runs, warm_up=chosen.size == "full", **{**asked, **options})


def against(race: Race, name: str, other: str) -> str:
    """The ratio, and the medians behind it."""
    ours, theirs = race.result(name), race.result(other)
    return f"{race.ratio(ours, other):.2f} x ({ours.median:.2f} s, {theirs.median:.2f} s)"


def disk(chosen) -> Iterator[Bar]:
    for name in chosen.workloads:
        workload, bars = TREES[chosen.size][name], DISK[name]
        wanted = [peers.PEERS[peer] for peer in bars]
        for peer in wanted:
            if peer.missing is not None:
                tell(f"{peer.name} is left out: {peer.missing} is not installed ({peer.source})")
        there = tuple(peer for peer in wanted if peer.missing is None)
        (race,) = report(chosen, request(chosen, workload, choices=(Choice(),), peers=there))
        ours = race.result(NAME)
        for peer in there:
            what = f"{LETTERS[name]} {workload.shown}, cold verified, beside {SAYS[peer.name]}"
            yield Bar(what, race.ratio(ours, peer.name), bars[peer.name], against(race, NAME, peer.name))
        if name in CPU and "equal" in {peer.name for peer in there}:
            spent = f"{median(ours.cpu):.2f} s, {median(race.result('equal').cpu):.2f} s"
            ratio = race.cpu_ratio(ours, "equal")
            yield Bar(f"CPU seconds of {LETTERS[name]} beside E", ratio, CPU[name], f"{ratio:.2f} x ({spent})")


def engine(chosen) -> Iterator[Bar]:
    for name in chosen.workloads:
        workload, bars = TREES[chosen.size][name], ENGINE[name]
        asked = request(chosen, workload, engine=True, disk=chosen.memory, buffers=(LOCAL_BUFFER,), threads=tuple(bars))
        (race,) = report(chosen, asked)
        for result, (threads, bar) in zip(race.results[1:], bars.items(), strict=True):
            what = f"engine alone in memory, {LETTERS[name]}, {threads} {'thread' if threads == 1 else 'threads'}, beside cp"
            yield Bar(what, race.ratio(result, "cp"), bar, against(race, result.name, "cp"))


def digests(chosen) -> Iterator[Bar]:
    workload, runs = HASHED[chosen.size], chosen.runs
    with bay(chosen.memory.absolute(), 8, 2 * workload.bytes + MIB) as folder:
        plant(folder / "CARD", workload)
        touch_memory(2 * workload.bytes)
        contenders = [Contender("md5 alone", Kind.PEER, md5)]
        contenders += [
            inprocess.hashing(more, LOCAL_BUFFER, threads) for threads in sorted({1, CORES}) for more in ((), MORE)
        ]
        course = Course(folder / "CARD", folder / "run", cold=False)
        results = race(contenders, course, runs, warm_up=True, tell=tell)
    one = Race(workload, engine=True, reference="md5 alone", results=results)
    for plain, summed in zip(results[1::2], results[2::2], strict=True):
        slower = max(results[0], plain, key=lambda result: result.median)
        what = f"{summed.name}: {workload.shown}, copy and hash in memory, beside {slower.name}"
        told = f"{against(one, summed.name, slower.name)}; {plain.name}: {plain.median:.2f} s"
        yield Bar(what, one.ratio(summed, slower.name), DIGESTS, told)


def md5(course: Course):
    began = time.perf_counter()
    for path in files_below(course.card):
        with open(path, "rb", buffering=0) as file:
            hashlib.file_digest(file, partial(hashlib.md5, usedforsecurity=False))
    return (Step("md5", time.perf_counter() - began),)


def destinations(chosen) -> Iterator[Bar]:
    for name in chosen.workloads:
        one, two = Choice(), Choice(destinations=2)
        (race,) = report(chosen, request(chosen, TREES[chosen.size][name], choices=(one, two)))
        what = f"two destinations on one disk from one read, {LETTERS[name]}, beside one"
        yield Bar(what, race.ratio(race.result(two.name), one.name), DESTINATIONS, against(race, two.name, one.name))


def records(chosen) -> Iterator[Bar]:
    report(chosen, request(chosen, None, items=ITEMS[chosen.size]))
    few, many = chosen.seen[-1].records
    what = f"{many.items:,} records"
    yield Bar(f"{what}: items per second", many.rate, ITEMS_PER_SECOND, f"{many.rate:,.0f} /s", "/s", least=True)
    ratio = few.rate / many.rate
    yield Bar(f"{what}: time per item beside {few.items:,}", ratio, LINEAR, f"{ratio:.2f} x")
    told = f"{many.peak / 1e6:.0f} MB ({many.pss / 1e6:.0f} MB PSS)"
    yield Bar(f"{what}: peak RSS of all processes", many.peak / 1e6, RECORDS_BYTES / 1e6, told, "MB")


def memory(chosen) -> Iterator[Bar]:
    workload = Workload("tiny", 200_000 if chosen.size == "full" else 2_000, 1 << 10)
    with bay(chosen.disk.absolute(), 2 * workload.files, 2 * workload.files * (4 << 10)) as folder:
        card, archive = folder / "CARD", folder / "archive"
        plant(card, workload)
        flush(folder)
        archive.mkdir()
        command = [sys.executable, "-m", "ingest", "copy", card, archive, "--quiet", "--new-root"]
        peak = peak_of(command, {"INGEST_HOME": str(folder / "home")})
    told = f"{peak.rss / 1e6:.0f} MB ({peak.pss / 1e6:.0f} MB PSS, {peak.processes} processes, {peak.seconds:.0f} s)"
    what = f"ingest copy of {workload.shown}: peak RSS of all processes"
    yield Bar(what, peak.rss / 1e6, MEMORY_BYTES / 1e6, told, "MB")


def start(chosen) -> Iterator[Bar]:
    workload, runs = Workload("one", 1, 1 << 10), 2 * chosen.runs
    with bay(chosen.disk.absolute(), 64, 64 << 20) as folder:
        plant(folder / "CARD", workload)
        homes = {"first session of a journal": None, "later session": folder / "home"}
        contenders = [Contender("python", Kind.PEER, imports)]
        contenders += [Contender(name, Kind.INGEST, partial(copy, home)) for name, home in homes.items()]
        results = race(contenders, Course(folder / "CARD", folder / "run"), runs, warm_up=True, tell=tell)
    one = Race(workload, engine=False, reference="python", results=results)
    for name in homes:
        ratio, told = one.ratio(one.result(name)), against(one, name, "python")
        yield Bar(f'ingest copy of one 1 KiB file, {name}, beside python -c "{PLAIN}"', ratio, START, told)


def imports(course: Course):
    return (timed("python", [sys.executable, "-c", PLAIN], folder=course.folder),)


def copy(home: Path | None, course: Course):
    command = [sys.executable, "-m", "ingest", "copy", course.card, course.target(), "--quiet", "--new-root"]
    where = {"INGEST_HOME": str(home or course.folder / "home")}
    return (timed("copy", command, folder=course.folder, environment=where),)


SECTIONS = {one.__name__: one for one in (disk, engine, digests, destinations, records, memory, start)}


def main() -> bool:
    """Measure, print, and say whether every bar was met."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--section", action="append", choices=SECTIONS, dest="sections")
    arguments.add_argument("--workload", action="append", choices=LETTERS, dest="workloads")
    arguments.add_argument("--size", choices=TREES, default="full")
    arguments.add_argument("--runs", type=int, help="rounds that count; 5, and 1 at size small")
    arguments.add_argument("--disk", type=Path, default=Path.cwd())
    arguments.add_argument("--memory", type=Path, default=Path("/dev/shm"))
    chosen = arguments.parse_args()
    chosen.workloads = chosen.workloads or list(LETTERS)
    chosen.runs = chosen.runs or (5 if chosen.size == "full" else 1)
    chosen.seen = []
    bars = [bar for name in chosen.sections or SECTIONS for bar in SECTIONS[name](chosen)]
    print("| what | measured | bar | |\n|---|---|---|---|")
    print("\n".join(bar.row(judged=chosen.size == "full") for bar in bars))
    return all(bar.met for bar in bars) or chosen.size != "full"


if __name__ == "__main__":
    try:
        raise SystemExit(0 if main() else 9)
    except IngestError as error:
        tell(f"figures: {error}")
        raise SystemExit(int(error.exit_code)) from error
