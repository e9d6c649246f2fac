"""The bench's JSON document, which is also what a later bench takes as its baseline."""

from __future__ import annotations

from dataclasses import asdict
from statistics import median
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest.bench.baseline import Comparison, Uncompared
    from ingest.bench.results import Race, Records, Report, Result

KIND: Final = "ingest-bench"
FORMAT: Final = 1


def document(
    report: Report, compared: Sequence[Comparison], left: Sequence[Uncompared], exit_code: int
) -> dict[str, Any]:
    """Everything that was measured; seconds as they were, round by round."""
    return {
        "kind": KIND,
        "format": FORMAT,
        "version": report.version,
        "date": report.date,
        "machine": asdict(report.machine),
        "size": report.size,
        "runs": report.runs,
        "warm_up": report.warm_up,
        "workloads": [_race(race) for race in report.races],
        "records": [_records(records) for records in report.records],
        "baseline": [asdict(one) | {"speed": round(one.speed, 4)} for one in compared],
        "not_compared": [asdict(one) for one in left],
        "exit_code": exit_code,
    }


def _race(race: Race) -> dict[str, Any]:
    workload = race.workload
    return {
        "name": workload.name, "files": workload.files, "file_bytes": workload.file_bytes, "bytes": workload.bytes,
        "sidecars": dict(workload.sidecars),
        "engine": race.engine, "reference": race.reference, "cold": race.seen.cold, "seen": asdict(race.seen),
        "contenders": [_result(race, result) for result in race.results],
    }  # fmt: skip


def _result(race: Race, result: Result) -> dict[str, Any]:
    return {
        "name": result.name, "kind": str(result.kind), "seconds": result.seconds, "median": result.median,
        "min": min(result.seconds), "max": max(result.seconds), "cpu_seconds": result.cpu,
        "cpu_median": median(result.cpu) if result.cpu else None, "ratio": race.ratio(result),
        "mb_per_s": race.rate(result), "steps": result.steps(),
    }  # fmt: skip


def _records(records: Records) -> dict[str, Any]:
    return {
        "items": records.items, "seconds": records.seconds, "median": median(records.seconds),
        "items_per_s": records.rate, "peak_bytes": records.peak, "peak_pss_bytes": records.pss or None,
    }  # fmt: skip
