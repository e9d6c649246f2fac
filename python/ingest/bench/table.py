"""The bench for people: one table per workload, plain text."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from ingest.bench.peers import PEERS
from ingest.bench.results import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ingest.bench.baseline import Comparison, Uncompared
    from ingest.bench.results import Race, Records, Report

_HEAD = ("", "median s", "min", "max", "CPU s", "MB/s", "ratio")


def lines(report: Report, compared: Sequence[Comparison] = (), left: Sequence[Uncompared] = ()) -> list[str]:
    """All of it."""
    machine = report.machine
    told = [
        f"ingest {report.version}, {machine.processor}, {machine.cores} cores, {machine.memory / 1e9:.0f} GB",
        f"{machine.system}, {machine.filesystem or 'unknown file system'}, {report.date}",
    ]
    for race in report.races:
        told += ["", title(race), *_aligned([_HEAD, *_rows(race)]), f"  the source was {_source(race)}"]
        told += [f"  {name}: {PEERS[name].says}" for name in _peers(race) if not race.engine]
    if report.records:
        rows = [("", "median s", "items/s", "peak MB", "PSS MB"), *(_record(one) for one in report.records)]
        told += ["", "records: synthetic items through plan, journal and manifest", *_aligned(rows)]
    if compared:
        rows = [("", "measure", "now", "then", "speed")]
        rows += [
            (f"{one.workload}: {one.contender}", one.measure, f"{one.now:.3f}", f"{one.then:.3f}", f"{one.speed:.2f}")
            for one in compared
        ]
        told += ["", "against the baseline (speed above 1: faster)", *_aligned(rows)]
    told += [f"  not compared: {one}" for one in left]
    if report.size != "full":
        told += ["", "Sizes like these prove that the bench runs; figures to quote need --size full."]
    return told


def title(race: Race) -> str:
    """What was copied where, and what the ratio is to."""
    runs = len(race.results[0].runs)
    what = "the engine alone, copy and hash" if race.engine else "whole programs"
    source = {True: "cold source", False: "source NOT cold", None: "source perhaps not cold"}[race.seen.cold]
    return ", ".join((
        f"{race.workload.name}: {race.workload.shown}", what, *([] if race.engine else [source]),
        f"{runs} run{'s' * (runs != 1)}", f"ratio to {race.reference}",
    ))  # fmt: skip


def _source(race: Race) -> str:
    seen = race.seen
    if not race.engine:
        return str(seen)
    return f"in memory, as it should be: {seen.warm:,} of {seen.asked:,} looks at a file found it there"


def _rows(race: Race) -> Iterator[tuple[str, ...]]:
    for result in race.results:
        seconds = result.seconds
        cpu = f"{median(result.cpu):.2f}" if result.cpu else "-"
        figures = (f"{each:.3f}" for each in (result.median, min(seconds), max(seconds)))
        yield result.name, *figures, cpu, f"{race.rate(result):.0f}", f"{race.ratio(result):.2f}"


def _record(records: Records) -> tuple[str, ...]:
    return (
        f"{records.items:,} items", f"{median(records.seconds):.2f}", f"{records.rate:,.0f}",
        f"{records.peak / 1e6:.0f}", f"{records.pss / 1e6:.0f}" if records.pss else "-",
    )  # fmt: skip


def _peers(race: Race) -> list[str]:
    return [result.name for result in race.results if result.kind is Kind.PEER]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """The first column to the left, figures to the right."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return [
        "  " + "  ".join([row[0].ljust(widths[0]), *(f.rjust(w) for f, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]
