"""The baseline: an earlier document, and whether this bench is slower than it.

Machines differ, and so do days: where both benches measured a common peer, what is compared is how many times the
peer's time we took, then and now. Only where there is none are seconds compared.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from ingest.bench.document import FORMAT, KIND
from ingest.bench.results import Kind, ratio
from ingest.errors import IngestError, UsageError, from_os_error

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from ingest.bench.results import Race, Records, Report

# Whose time is taken as the measure, the first that both have: first those that do the same work.
MEASURES: Final = ("equal", "cp", "rsync", "rclone", "ocopy", "b3sum")
SECONDS: Final = "seconds"


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
class Baseline:
    """An earlier bench: seconds by workload and contender, and seconds of records by number of items."""

    races: Mapping[tuple[str, int, int, bool], Mapping[str, Sequence[float]]]
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
        return Baseline(races, {int(one["items"]): _seconds(one) for one in told["records"]})
    except (ValueError, TypeError, LookupError) as error:
        raise UsageError(
            "it is no document of ingest bench", path=name, operation="--baseline",
            advice="Make one: ingest bench --json > FILE",
        ) from error  # fmt: skip


def _key(race: Mapping[str, Any]) -> tuple[str, int, int, bool]:
    return str(race["name"]), int(race["files"]), int(race["file_bytes"]), bool(race["engine"])


def _seconds(one: Mapping[str, Any]) -> list[float]:
    seconds = [float(each) for each in one["seconds"]]
    if not seconds or min(seconds) <= 0:
        raise ValueError("seconds that are none")
    return seconds


def compare(report: Report, baseline: Baseline) -> list[Comparison]:
    """Every contender of ours that both have measured at the same workload.

    Raises:
        IngestError: there is none: nothing was compared, and that must not pass for a good result.
    """
    compared = [one for race in report.races for one in _race(race, baseline)]
    compared += [one for records in report.records if (one := _records(records, baseline)) is not None]
    if not compared:
        raise IngestError(
            "the baseline has none of what was measured now", operation="--baseline",
            advice="Measure the same workloads, sizes and contenders as in the baseline",
        )  # fmt: skip
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
    return Comparison("records", f"{records.items:,} items", SECONDS, median(records.seconds), median(then))
