"""The baseline: an earlier document, and whether this bench is slower than it.

Machines differ, and so do days: where both benches measured a common peer, what is compared is how many times the
peer's time we took, then and now. Only where there is none are seconds compared.

What only one of the two has measured is named, before anything is measured: a gate that something went around of is
none, so where a ratio has to be met (`strict`) that is an error.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ingest.bench.document import FORMAT, KIND
from ingest.bench.results import Kind, ratio
from ingest.bench.workloads import RECORDS, Workload
from ingest.errors import IngestError, UsageError, from_os_error

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from ingest.bench.results import Race, Records, Report
    from ingest.bench.suite import Request

# A workload: its name, how many files, of how many bytes, and whether the engine alone copied it.
Key: TypeAlias = tuple[str, int, int, bool]

# Whose time is taken as the measure, the first that both have: first those that do the same work.
MEASURES: Final = ("equal", "cp", "rsync", "rclone", "ocopy", "b3sum")
SECONDS: Final = "seconds"
_ADVICE: Final = "Measure the same workloads, sizes and contenders as in the baseline"
# Why something is not compared.
NEW: Final = "not in the baseline"
GONE: Final = "in the baseline only"
# So many are named in an error.
NAMED: Final = 5


@dataclass(frozen=True, slots=True)
class Comparison:
    """One contender, now and then.

    Attributes:
        measure: the common peer whose times the figures are, or `seconds`.
        now, then: time, in that measure. speed: then / now, above 1 is faster than the baseline.
    """

    workload: str
    contender: str
    measure: str
    now: float
    then: float

    @property
    def speed(self) -> float:
        """How fast we are, in the baseline's speed."""
        return self.then / self.now


@dataclass(frozen=True, slots=True)
class Uncompared:
    """A contender of ours that only one of the two benches has: `why` says which."""

    workload: str
    contender: str
    why: str

    def __str__(self) -> str:
        """For people."""
        return f"{self.workload}: {self.contender} ({self.why})"


@dataclass(frozen=True, slots=True)
class Baseline:
    """An earlier bench: seconds by workload and contender, and seconds of records by number of items.

    Attributes:
        ours: the contenders that are no peers, by workload.
    """

    races: Mapping[Key, Mapping[str, Sequence[float]]]
    ours: Mapping[Key, Sequence[str]]
    records: Mapping[int, Sequence[float]]


def read_baseline(path: Path) -> Baseline:
    """What an earlier `ingest bench --json` printed.

    Raises:
        MissingError, DeniedError, IngestError: it cannot be read. UsageError: it is something else.
    """
    name = os.fsencode(path)
    try:
        text = path.read_bytes()
    except OSError as error:
        raise from_os_error(error, "--baseline", name, "Name a file that ingest bench --json has written") from error
    try:
        told = json.loads(text)
        if (told["kind"], told["format"]) != (KIND, FORMAT):
            raise ValueError("another kind of document")  # noqa: TRY301 - it is the same trouble as any other shape
        races = {_key(race): {one["name"]: _seconds(one) for one in race["contenders"]} for race in told["workloads"]}
        ours = {
            _key(race): [str(one["name"]) for one in race["contenders"] if Kind(one["kind"]) is not Kind.PEER]
            for race in told["workloads"]
        }
        return Baseline(races, ours, {int(one["items"]): _seconds(one) for one in told["records"]})
    except (ValueError, TypeError, LookupError) as error:
        raise UsageError(
            "it is no document of ingest bench", path=name, operation="--baseline",
            advice="Make one: ingest bench --json > FILE",
        ) from error  # fmt: skip


def _key(race: Mapping[str, Any]) -> Key:
    return str(race["name"]), int(race["files"]), int(race["file_bytes"]), bool(race["engine"])


def _seconds(one: Mapping[str, Any]) -> list[float]:
    seconds = [float(each) for each in one["seconds"]]
    if not seconds or not all(0 < each < math.inf for each in seconds):
        raise ValueError("seconds that are none")
    return seconds


def uncompared(request: Request, baseline: Baseline, *, strict: bool) -> list[Uncompared]:
    """What will not be compared, known from what is about to be measured.

    Args:
        strict: everything has to be.

    Raises:
        IngestError: nothing would be compared, or not everything where it has to be: that must not pass for a good
            result.
    """
    now = {
        (workload.name, workload.files, workload.file_bytes, request.engine): [
            one.name for one in request.contenders(workload) if one.kind is not Kind.PEER
        ]
        for workload in request.workloads
    }
    every = [(key, name) for key, names in now.items() for name in names]
    before = [(key, name) for key, names in baseline.ours.items() for name in names]
    new, gone = [one for one in every if one not in before], [one for one in before if one not in every]
    fresh = [many for many in request.items if many not in baseline.records]
    lost = [many for many in baseline.records if many not in request.items]
    left = [Uncompared(_shown(key), name, NEW) for key, name in new]
    left += [Uncompared(RECORDS, _many(many), NEW) for many in fresh]
    if len(left) == len(every) + len(request.items):
        raise IngestError("the baseline has none of what is to be measured", operation="--baseline", advice=_ADVICE)
    left += [Uncompared(_shown(key), name, GONE) for key, name in gone]
    left += [Uncompared(RECORDS, _many(many), GONE) for many in lost]
    if strict and left:
        more = f" and {len(left) - NAMED} more" if len(left) > NAMED else ""
        raise IngestError(
            f"not compared: {', '.join(str(one) for one in left[:NAMED])}{more}", operation="--fail-below",
            advice=f"{_ADVICE}, or make a new one",
        )  # fmt: skip
    return left


def _shown(key: Key) -> str:
    name, files, file_bytes, _ = key
    return f"{name}, {Workload(name, files, file_bytes).shown}"


def _many(items: int) -> str:
    return f"{items:,} items"


def compare(report: Report, baseline: Baseline) -> list[Comparison]:
    """Every contender of ours that both have measured at the same workload."""
    compared = [one for race in report.races for one in _race(race, baseline)]
    compared += [one for records in report.records if (one := _records(records, baseline)) is not None]
    return compared


def _race(race: Race, baseline: Baseline) -> Iterator[Comparison]:
    workload = race.workload
    then = baseline.races.get((workload.name, workload.files, workload.file_bytes, race.engine), {})
    now = {result.name: result for result in race.results}
    peer = next((name for name in MEASURES if name in then and name in now), None)
    for name, result in now.items():
        if result.kind is Kind.PEER or name not in then:
            continue
        if peer is None:
            yield Comparison(workload.name, name, SECONDS, result.median, median(then[name]))
        else:
            before = ratio(list(then[name]), list(then[peer]))
            yield Comparison(workload.name, name, peer, race.ratio(result, peer), before)


def _records(records: Records, baseline: Baseline) -> Comparison | None:
    then = baseline.records.get(records.items)
    if then is None:
        return None
    return Comparison(RECORDS, _many(records.items), SECONDS, median(records.seconds), median(then))
