"""The figures of README.md: every bar that the product is held to, measured and judged, as Markdown.

    python benches/figures.py [--section NAME]... [--workload NAME]... [--size full|small] [--runs N] [--disk FOLDER]

Sections (each stands alone, and all are measured if none is named; that takes about an hour):

    disk          verified copies beside equal work, rsync, rclone and ocopy; CPU seconds
    engine        the engine alone, copy and hash in memory, beside cp
    digests       BLAKE3 + xxh128 + MD5 in one read, in memory, beside MD5 alone and beside BLAKE3 alone
    destinations  two destinations from one read beside one
    records       synthetic items through plan, journal and manifest: rate, linearity, memory (RSS of all processes)
    memory        `ingest copy` of 200,000 files of 1 KiB: RSS of all processes, summed, at the peak of the worst run
    start         `ingest copy` of one file of 1 KiB beside the imports of a bare Python; twice as many rounds
    progress      CPU seconds of progress beside those of a whole copy (see `progress.py`)
    choices       what the tuning chooses beside what it could have chosen; 3 rounds, no bars (see `choices.py`)

The workloads, the peers and the method are those of `ingest bench` (see the package `ingest.bench`). At size `small`
the figures mean nothing and only prove that this runs: it then never fails. Else it ends with 9 if a bar is missed, and
with 1 if none is, but one could not be measured, because a peer is not installed.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from bars import LETTERS, Bar, Finding, against, outcome, report, request, tell
from choices import choices
from ingest.bench import inprocess, peers
from ingest.bench.bay import bay, flush, remove
from ingest.bench.commands import timed
from ingest.bench.contenders import Contender, Course, race
from ingest.bench.memory import Peak, peak_of
from ingest.bench.ours import NAME, Choice
from ingest.bench.results import Kind, Race, Step
from ingest.bench.workloads import ITEMS, MIB, TREES, Workload, files_below, plant, touch_memory
from ingest.errors import IngestError
from ingest.storage.tuning import LOCAL_BUFFER
from progress import progress

if TYPE_CHECKING:
    from collections.abc import Iterator

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
# At most: each takes half a minute, and the worst counts.
MEMORY_RUNS = 5
START = 3.0
SAYS = {"equal": "equal work E", "rsync": "rsync twice", "rclone": "rclone + check", "ocopy": "ocopy + sync"}
# What the source was, by what was seen.
TEMPERATURES = {True: "cold", False: "NOT cold", None: "perhaps not cold,"}
PLAIN = "import pyarrow, sqlalchemy"


def disk(chosen) -> Iterator[Bar]:
    for name in chosen.workloads:
        workload, bars = TREES[chosen.size][name], DISK[name]
        wanted = [peers.PEERS[peer] for peer in bars]
        there = tuple(peer for peer in wanted if peer.missing is None)
        (race,) = report(request(chosen, workload, choices=(Choice(),), peers=there)).races
        ours, temperature = race.result(NAME), TEMPERATURES[race.seen.cold]
        for peer in wanted:
            what = f"{LETTERS[name]} {workload.shown}, {temperature} verified, beside {SAYS[peer.name]}"
            if peer in there:
                yield Bar(what, race.ratio(ours, peer.name), bars[peer.name], against(race, NAME, peer.name))
            else:
                yield without(peer, what, bars[peer.name])
        if name in CPU and peers.PEERS["equal"] not in there:
            yield without(peers.PEERS["equal"], f"CPU seconds of {LETTERS[name]} beside E", CPU[name])
        elif name in CPU:
            spent = f"{median(ours.cpu):.2f} s, {median(race.result('equal').cpu):.2f} s"
            ratio = race.cpu_ratio(ours, "equal")
            yield Bar(f"CPU seconds of {LETTERS[name]} beside E", ratio, CPU[name], f"{ratio:.2f} x ({spent})")


def without(peer: peers.Peer, what: str, bar: float) -> Bar:
    return Bar(what, None, bar, f"not measured: {peer.missing} is not installed ({peer.source})")


def engine(chosen) -> Iterator[Bar]:
    for name in chosen.workloads:
        workload, bars = TREES[chosen.size][name], ENGINE[name]
        asked = request(chosen, workload, engine=True, disk=chosen.memory, buffers=(LOCAL_BUFFER,), threads=tuple(bars))
        (race,) = report(asked).races
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
        (race,) = report(request(chosen, TREES[chosen.size][name], choices=(one, two))).races
        what = f"two destinations on one disk from one read, {LETTERS[name]}, beside one"
        yield Bar(what, race.ratio(race.result(two.name), one.name), DESTINATIONS, against(race, two.name, one.name))


def records(chosen) -> Iterator[Bar]:
    few, many = report(request(chosen, None, items=ITEMS[chosen.size])).records
    what = f"{many.items:,} records"
    yield Bar(f"{what}: items per second", many.rate, ITEMS_PER_SECOND, f"{many.rate:,.0f} /s", "/s", least=True)
    ratio = few.rate / many.rate
    yield Bar(f"{what}: time per item beside {few.items:,}", ratio, LINEAR, f"{ratio:.2f} x")
    told = f"{many.peak / 1e6:.0f} MB ({many.pss / 1e6:.0f} MB PSS)"
    yield Bar(f"{what}: peak RSS of all processes", many.peak / 1e6, RECORDS_BYTES / 1e6, told, "MB")


def memory(chosen) -> Iterator[Bar]:
    workload = Workload("tiny", 200_000 if chosen.size == "full" else 2_000, 1 << 10)
    runs = min(chosen.runs, MEMORY_RUNS)
    with bay(chosen.disk.absolute(), 2 * workload.files, 2 * workload.files * (4 << 10)) as folder:
        plant(folder / "CARD", workload)
        flush(folder)
        peaks = [peak_of_copy(folder, number, runs) for number in range(1, runs + 1)]
    peak = max(peaks, key=lambda one: one.rss)
    told = f"{peak.rss / 1e6:.0f} MB ({peak.pss / 1e6:.0f} MB PSS, {peak.processes} processes; the worst of {runs})"
    what = f"ingest copy of {workload.shown}: peak RSS of all processes"
    yield Bar(what, peak.rss / 1e6, MEMORY_BYTES / 1e6, told, "MB")


def peak_of_copy(folder: Path, number: int, runs: int) -> Peak:
    run = folder / "run"
    (run / "archive").mkdir(parents=True)
    command = [sys.executable, "-m", "ingest", "copy", folder / "CARD", run / "archive", "--quiet", "--new-root"]
    peak = peak_of(command, {"INGEST_HOME": str(run / "home")})
    tell(f"memory: round {number} of {runs}: {peak.rss / 1e6:.0f} MB, {peak.seconds:.0f} s")
    remove(run)
    flush(folder)
    return peak


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


SECTIONS = {
    one.__name__: one for one in (disk, engine, digests, destinations, records, memory, start, progress, choices)
}


def main() -> int:
    """Measure, print, and say with which code to end."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--section", action="append", choices=SECTIONS, dest="sections")
    arguments.add_argument("--workload", action="append", choices=LETTERS, dest="workloads")
    arguments.add_argument("--size", choices=TREES, default="full")
    arguments.add_argument(
        "--runs", type=int, dest="asked_runs", help="rounds that count; 5 (choices: 3), and 1 at size small"
    )
    arguments.add_argument("--disk", type=Path, default=Path.cwd())
    arguments.add_argument("--memory", type=Path, default=Path("/dev/shm"))
    chosen = arguments.parse_args()
    chosen.workloads = chosen.workloads or list(LETTERS)
    if chosen.size == "small":
        chosen.asked_runs = chosen.asked_runs or 1
    chosen.runs = chosen.asked_runs or 5
    rows: list[Bar | Finding] = [row for name in chosen.sections or SECTIONS for row in SECTIONS[name](chosen)]
    judged = chosen.size != "small"
    print("| what | measured | bar | |\n|---|---|---|---|")
    print("\n".join(row.row(judged=judged) for row in rows))
    return outcome(rows, judged=judged)


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except IngestError as error:
        tell(f"figures: {error}")
        raise SystemExit(int(error.exit_code)) from error
