"""What a run of the fault tests says at its end: what each test checked, how long things took, from where bytes were read.

A test that checked nothing shows here. So does a file system whose bytes are said to have come from the device, when the
device gave fewer.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

METHODS = ("direct", "evicted", "reread")


class Told(list[str]):
    """Lines that are shown at the end of the run; INGEST_CAMPAIGN_LOG names a file that gets each as it comes."""

    def append(self, line: str) -> None:
        super().append(line)
        if log := os.environ.get("INGEST_CAMPAIGN_LOG"):
            with Path(log).open("a", encoding="utf-8") as file:
                file.write(line + "\n")


@dataclass(frozen=True)
class ColdRead:
    """Something that was read back: bytes by verify method, and how many bytes the device gave meanwhile."""

    kind: str
    by: dict[str, int]
    given: int

    @property
    def claimed(self) -> int:
        """Bytes that are said to have come from the device."""
        return self.by["direct"] + self.by["evicted"]


@dataclass
class Summary:
    """All that is noted in the course of a run.

    Attributes:
        tally: by test, how many of what it checked. times: seconds, by what took them. reads: what was read back.
        told: what a campaign tells of each of its runs.
    """

    tally: dict[str, Counter[str]] = field(default_factory=dict)
    times: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    reads: list[ColdRead] = field(default_factory=list)
    told: Told = field(default_factory=Told)

    def read_back(self, kind: str, by: dict[str, int], given: int) -> ColdRead:
        """Take note of something that was read back."""
        read = ColdRead(kind, dict.fromkeys(METHODS, 0) | by, given)
        self.reads.append(read)
        return read

    def show(self, terminal: pytest.TerminalReporter) -> None:
        if self.tally:
            terminal.section("fault runs: what was checked")
            for test, counted in sorted(self.tally.items()):
                terminal.line(f"{test}: " + ", ".join(f"{number} {what}" for what, number in counted.items()))
            total = sum(self.tally.values(), Counter())
            terminal.line("total: " + ", ".join(f"{number} {what}" for what, number in total.items()))
        for what, taken in self.times.items():
            figures = f"median {median(taken):.1f} s, longest {max(taken):.1f} s"
            terminal.line(f"{what}: {len(taken)} times, {figures}")
        if self.reads:
            terminal.section("read back: bytes by how they are said to have been read, and what the device gave")
            for line in self._table():
                terminal.line(line)
        for line in self.told:
            terminal.line(line)

    def _table(self) -> Iterator[str]:
        """What was read back, in columns."""
        rows = [
            ("file system", *METHODS, "device gave", "share of direct and evicted that it gave"),
            *self._rows(),
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
            yield "  ".join(cells).rstrip()

    def _rows(self) -> Iterator[tuple[str, ...]]:
        """One row for each file system, in the order that they were read in."""
        for kind in dict.fromkeys(read.kind for read in self.reads):
            these = [read for read in self.reads if read.kind == kind]
            by = {method: sum(read.by[method] for read in these) for method in METHODS}
            claimed = by["direct"] + by["evicted"]
            came = sum(min(read.given, read.claimed) for read in these)
            given = f"{sum(read.given for read in these):,}"
            yield kind, *(f"{by[method]:,}" for method in METHODS), given, f"{came / claimed:.1%}" if claimed else "-"
