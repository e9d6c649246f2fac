"""The JSON documents of the contract (cli.md), rendered from reports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ingest.cli.output import path_fields
from ingest.model.states import ItemState

if TYPE_CHECKING:
    from ingest.model.session import Difference, Failure, ListReport, SessionReport
    from ingest.pipeline.findings import Finding, VerifyReport
    from ingest.pipeline.repair import RepairReport
    from ingest.session.register import Entry

# Every end a copy can meet, always there, as for items.
_COPY_STATES = (
    ItemState.FINALIZED, ItemState.DUPLICATE, ItemState.EXCLUDED, ItemState.SKIPPED, ItemState.FAILED, ItemState.CHANGED,
    ItemState.REMOVED, ItemState.CANCELLED,
)  # fmt: skip
_SUMMED = ("lists", "entries", "matched", "differing", "missing", "unchecked", "problems")


def _text(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")


def session_document(report: SessionReport) -> dict[str, Any]:
    """The document of copy, resume and show."""
    document: dict[str, Any] = {
        "session": report.id,
        "state": str(report.state),
        "exit_code": int(report.exit_code),
        "items": report.items,
        "bytes": report.bytes,
        "seconds": report.seconds,
        "destinations": [
            {
                **path_fields(root.path, "root"), "uuid": root.uuid, "state": str(root.state),
                "copies": {**{str(s): 0 for s in _COPY_STATES}, **root.copies},
                "verify_method": root.verify_method, "publish_method": root.publish_method, "strategy": root.strategy,
            }
            for root in report.roots
        ],
        "manifests": [_text(path) for path in report.manifests],
        "failures": [failure_document(failure) for failure in report.failures],
        "failures_total": report.failures_total,
        "warnings": list(report.warnings),
        "sums": [list_document(one) for one in report.sums.each],
        "sums_total": {name: getattr(report.sums, name) for name in _SUMMED},
    }  # fmt: skip
    if report.problem:
        document["problem"] = report.problem
    return document


def list_document(one: ListReport) -> dict[str, Any]:
    """What one of the card's sum files came to."""
    document: dict[str, Any] = {
        **path_fields(one.path, "list"), "kind": one.kind, "entries": one.entries, "matched": one.matched,
        "differing": [difference_document(each) for each in one.differing],
        "differing_total": one.differing_total, "missing": one.missing, "unchecked": one.unchecked,
        "problems": one.problems,
    }  # fmt: skip
    if one.first_missing is not None:
        document |= path_fields(one.first_missing, "first_missing")
    if one.problem is not None:
        document["problem"] = one.problem
    return document


def difference_document(one: Difference) -> dict[str, Any]:
    """A file that is not what a list says of it; `read` is null where it has another length."""
    return {
        **path_fields(one.path), "algorithm": one.algorithm, "listed": one.listed.hex(),
        "read": None if one.read is None else one.read.hex(),
    }  # fmt: skip


def failure_document(failure: Failure) -> dict[str, Any]:
    """One item that did not arrive."""
    return {
        **path_fields(failure.path), "state": str(failure.state), "reason": failure.reason, "operation": failure.operation,
        "errno": failure.errno, "advice": failure.advice, "ranges": [list(each) for each in failure.ranges],
    }  # fmt: skip


def entry_document(entry: Entry) -> dict[str, Any]:
    """One line of the register."""
    return {
        "session": entry.id, "state": str(entry.state), "exit_code": entry.exit_code, "run": entry.run,
        "created": iso(entry.created_ns), "finished": iso(entry.finished_ns) if entry.finished_ns else None,
        "resumable": entry.resumable, "problem": entry.problem, "sources": [_text(path) for path in entry.sources],
        "destinations": [_text(path) for path in entry.roots],
    }  # fmt: skip


def iso(nanoseconds: int) -> str:
    """A moment, ISO 8601, UTC."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(nanoseconds / 1e9, UTC).isoformat(timespec="seconds")


def verify_document(report: VerifyReport, exit_code: int) -> dict[str, Any]:
    """The document of verify."""
    return {
        "checked": report.checked, "ok": report.ok,
        "missing": [_finding(finding) for finding in report.missing],
        "changed": [
            {**_finding(f), "reason": f.reason, "size": f.size, "expected_size": f.expected_size, "ranges": [list(r) for r in f.ranges]}
            for f in report.changed
        ],
        "extra": [_finding(finding) for finding in report.extra],
        "verify_method": report.verify_method, "bytes": report.bytes, "exit_code": exit_code,
    }  # fmt: skip


def repair_document(report: RepairReport, exit_code: int) -> dict[str, Any]:
    """The document of repair."""

    def where(path: bytes) -> bytes:
        return report.root.rstrip(b"/") + b"/" + path

    return {
        "checked": report.checked, "ok": report.ok,
        "repaired": [
            {
                **path_fields(where(each.path)), "reason": each.reason, "ranges": [list(r) for r in each.ranges],
                "bytes_fetched": each.fetched,
                **(path_fields(where(each.quarantine), "quarantine") if each.quarantine else {"quarantine": None}),
                "exchange": each.exchange, "strategy": each.strategy,
            }
            for each in report.repaired
        ],
        "failed": [
            {**path_fields(where(each.path)), "reason": each.reason, "ranges": [list(r) for r in each.ranges], "advice": each.advice}
            for each in report.failed
        ],
        "bytes": {"checked": report.bytes, "fetched": report.fetched}, "session": report.session,
        "manifests": [_text(path) for path in report.manifests], "dry_run": report.dry_run, "exit_code": exit_code,
    }  # fmt: skip


def _finding(finding: Finding) -> dict[str, Any]:
    return path_fields(finding.root.rstrip(b"/") + b"/" + finding.path)
