"""What was measured: runs, results of contenders, races of one workload, and what can be said of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from statistics import median
from typing import TYPE_CHECKING

from ingest.bench.coldness import Seen

if TYPE_CHECKING:
    from ingest.bench.machine import Machine
    from ingest.bench.workloads import Workload


class Kind(StrEnum):
    """Who is measured."""

    INGEST = "ingest"
    ENGINE = "engine"
    PEER = "peer"


@dataclass(frozen=True, slots=True)
class Step:
    """One command, or one part of a run: seconds by the clock, and of CPU where that is known."""

    name: str
    seconds: float
    cpu: float | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """One contender, once. `seen`: what was seen of its source right before the clock."""

    steps: tuple[Step, ...]
    seen: Seen = field(default_factory=Seen)

    @property
    def seconds(self) -> float:
        """By the clock, summed over the steps."""
        return sum(step.seconds for step in self.steps)

    @property
    def cpu(self) -> float | None:
        """User and system time of all processes; None where it cannot be told apart from the bench's own."""
        known = [step.cpu for step in self.steps if step.cpu is not None]
        return sum(known) if known else None


@dataclass(frozen=True, slots=True)
class Result:
    """One contender, round by round."""

    name: str
    kind: Kind
    runs: tuple[Run, ...]

    @property
    def seconds(self) -> list[float]:
        """Of each round."""
        return [run.seconds for run in self.runs]

    @property
    def median(self) -> float:
        """Seconds."""
        return median(self.seconds)

    @property
    def cpu(self) -> list[float]:
        """CPU seconds of each round; empty where they are not known."""
        return [run.cpu for run in self.runs if run.cpu is not None]

    def steps(self) -> dict[str, float]:
        """Median seconds of each step, in their order."""
        names = [step.name for step in self.runs[0].steps]
        return {name: median(run.steps[place].seconds for run in self.runs) for place, name in enumerate(names)}


def ratio(seconds: list[float], reference: list[float]) -> float:
    """The median of the ratios round by round."""
    return median(one / other for one, other in zip(seconds, reference, strict=True))


@dataclass(frozen=True, slots=True)
class Race:
    """One workload with all its contenders.

    Attributes:
        engine: the engine alone, its copying and hashing; else whole programs, with flush and proof.
        reference: the contender that the others are compared with.
    """

    workload: Workload
    engine: bool
    reference: str
    results: tuple[Result, ...]

    def result(self, name: str) -> Result:
        """The result of the contender of this name."""
        return next(result for result in self.results if result.name == name)

    def ratio(self, result: Result, reference: str | None = None) -> float:
        """A contender's seconds in those of the reference."""
        return ratio(result.seconds, self.result(reference or self.reference).seconds)

    def cpu_ratio(self, result: Result, reference: str) -> float:
        """A contender's CPU seconds in those of another one."""
        return ratio(result.cpu, self.result(reference).cpu)

    @property
    def seen(self) -> Seen:
        """What was seen of the source, over all runs that count."""
        return Seen.all_of(run.seen for result in self.results for run in result.runs)

    def rate(self, result: Result) -> float:
        """MB/s (10^6 bytes), by the median."""
        return self.workload.bytes / result.median / 1e6


@dataclass(frozen=True, slots=True)
class Records:
    """So many synthetic items through plan, journal and manifest: seconds and peak memory (bytes) of each run.

    Attributes:
        peak_bytes: RSS, summed over all processes. pss_bytes: where a page that several share counts once.
    """

    items: int
    seconds: list[float]
    peak_bytes: list[int]
    pss_bytes: list[int] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Items per second, by the median."""
        return self.items / median(self.seconds)

    @property
    def peak(self) -> int:
        """Bytes, of the worst run."""
        return max(self.peak_bytes)

    @property
    def pss(self) -> int:
        """Bytes, of the worst run; 0 where nobody looked."""
        return max(self.pss_bytes, default=0)


@dataclass(frozen=True, slots=True)
class Report:
    """A whole bench.

    Attributes:
        date: UTC, ISO 8601. size: `full`, `small` or `custom`. runs: that count. warm_up: one more came first.
    """

    version: str
    date: str
    machine: Machine
    size: str
    runs: int
    warm_up: bool
    races: tuple[Race, ...]
    records: tuple[Records, ...]
