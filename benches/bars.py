"""The rows of the tables that `figures.py` prints, what they come to, and how a section measures."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingest.bench import suite, table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ingest.bench.results import Race
    from ingest.bench.workloads import Workload

LETTERS = {"big": "(a)", "clips": "(b)", "small": "(c)"}
# What `figures.py` ends with.
ALL_MET, UNMEASURED, MISSED = 0, 1, 9


@dataclass(frozen=True)
class Bar:
    """One line of the table of bars. `measured`: None if it could not be. `least`: the least that is wanted, not the most."""

    what: str
    measured: float | None
    bar: float
    shown: str
    unit: str = "x"
    least: bool = False

    @property
    def code(self) -> int:
        """What it alone would have the program end with."""
        if self.measured is None:
            return UNMEASURED
        met = self.measured >= self.bar if self.least else self.measured <= self.bar
        return ALL_MET if met else MISSED

    def row(self, *, judged: bool) -> str:
        """In Markdown."""
        told = {ALL_MET: "met", MISSED: "MISSED", UNMEASURED: "NOT MEASURED"}[self.code]
        verdict = told if judged or self.measured is None else "too small to judge"
        bar = f"{'>=' if self.least else '<='} {self.bar:,.6g} {self.unit}"
        return f"| {self.what} | {self.shown} | {bar} | {verdict} |"


@dataclass(frozen=True)
class Finding:
    """One line that has no bar: what was found, for whoever decides."""

    what: str
    shown: str
    verdict: str
    code: int = ALL_MET

    def row(self, *, judged: bool) -> str:
        """In Markdown."""
        return f"| {self.what} | {self.shown} | - | {self.verdict if judged else 'too small to judge'} |"


def outcome(rows: Iterable[Bar | Finding], *, judged: bool) -> int:
    """9 if a bar is missed, else 1 if one could not be measured, else 0; always 0 where nothing is judged."""
    return max((one.code for one in rows), default=UNMEASURED) if judged else ALL_MET


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def request(chosen, workload: Workload | None, **options) -> suite.Request:
    asked = {
        "workloads": (workload,) if workload else (), "items": (), "choices": (), "peers": (), "disk": chosen.disk,
        "runs": chosen.runs, "warm_up": chosen.size == "full",
    }  # fmt: skip
    return suite.Request(size=chosen.size, **{**asked, **options})


def report(asked: suite.Request, *notes: str) -> suite.Report:
    """Measure, print the whole table with these notes under it, and hand on what was measured."""
    told = suite.measure(suite.check(asked), tell)
    print("\n```")
    print("\n".join([*table.lines(told), *notes]))
    print("```\n", flush=True)
    return told


def against(race: Race, name: str, other: str) -> str:
    """The ratio, and the medians behind it."""
    ours, theirs = race.result(name), race.result(other)
    return f"{race.ratio(ours, other):.2f} x ({ours.median:.2f} s, {theirs.median:.2f} s)"
