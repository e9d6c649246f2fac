"""The JSON documents of the contract (cli.md), rendered from reports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ingest.cli.output import path_fields
from ingest.model.states import ItemState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest.model.event import Event
    from ingest.model.session import Difference, Failure, ListReport, SessionReport
    from ingest.pipeline.findings import Finding, VerifyReport
    from ingest.pipeline.orphans import Cleared, Left
    from ingest.pipeline.rebuild import Rebuilt
    from ingest.pipeline.repair import RepairReport
    from ingest.pipeline.storages import StoredRoot
    from ingest.session.register import Entry
    from ingest.storage.features import Features

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
        "verify_source": report.verify_source,
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


def event_document(event: Event, roots: Sequence[bytes]) -> dict[str, Any]:
    """One event of a session's trail. `roots` are its destinations' paths."""
    return {
        "time": moment(event.at_ns), "run": event.run, "event": str(event.kind), "text": event.told,
        **(path_fields(roots[event.root], "root") if event.root is not None else {"root": None}), "item": event.item,
        **(path_fields(event.path) if event.path is not None else {"path": None}), "operation": event.operation,
        "errno": event.errno,
    }  # fmt: skip


def entry_document(entry: Entry) -> dict[str, Any]:
    """One line of the register."""
    return {
        "session": entry.id, "state": str(entry.state), "exit_code": entry.exit_code, "run": entry.run,
        "created": iso(entry.created_ns), "finished": iso(entry.finished_ns) if entry.finished_ns else None,
        "resumable": entry.resumable, "problem": entry.problem, "sources": [_text(path) for path in entry.sources],
        "destinations": [_text(path) for path in entry.roots],
    }  # fmt: skip


def moment(nanoseconds: int) -> str:
    """A moment to the millisecond, ISO 8601, UTC."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(nanoseconds / 1e9, UTC).isoformat(timespec="milliseconds")


def iso(nanoseconds: int) -> str:
    """A moment, ISO 8601, UTC."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(nanoseconds / 1e9, UTC).isoformat(timespec="seconds")


def storage_document(stored: StoredRoot, *, whole: bool) -> dict[str, Any]:
    """One archive or folder, of `storage list`, and with `whole` of `storage status`."""
    look, known, volume = stored.look, stored.known, stored.look.volume
    document: dict[str, Any] = {
        **path_fields(look.path), "uuid": known.uuid if known else look.uuid, "known": known is not None,
        "accessible": stored.problem is None, "problem": stored.problem,
        "kind": str(volume.storage) if volume else None, "file_system": volume.type if volume else None,
        "read_only": volume.read_only if volume else None,
        "bytes": {"total": look.total, "free": look.free, "internal": look.internal},
        "sessions": stored.sessions, "resumable": list(stored.resumable),
        "last_verified": iso(known.last_verified) if known and known.last_verified is not None else None,
    }  # fmt: skip
    if known is not None and known.path != look.path:
        document |= path_fields(known.path, "known_at")
    if not whole:
        return document
    document |= {
        "files": stored.files, "last_copied": iso(stored.last_copied) if stored.last_copied is not None else None,
        "first_seen": iso(known.first_seen) if known else None, "last_seen": iso(known.last_seen) if known else None,
        "origin": _text(volume.mount.origin) if volume and volume.mount else None,
        "mount_point": _text(volume.mount.point) if volume and volume.mount else None,
        "fs_uuid": volume.fs_uuid if volume else None, "rotational": volume.rotational if volume else None,
        "inodes_free": look.files_free, "read_back": look.cold,
        "features": features_document(look.features) if look.features else None, "how": list(stored.how),
    }  # fmt: skip
    return document


def features_document(features: Features) -> dict[str, Any]:
    """What was tried on a root: true, false, or null where it could not be found out; `why` has what was answered."""
    named = {
        "reflink": features.reflink, "hard_links": features.hard_links, "xattr": features.xattr,
        "no_replace": features.no_replace, "direct": features.direct, "case_insensitive": features.ignores_case,
    }  # fmt: skip
    return {
        **{name: feature.there for name, feature in named.items()},
        "publish_method": features.publish, "longest_name": features.longest_name,
        "name_unit": {True: "characters", False: "bytes", None: None}[features.by_characters],
        "why": {name: feature.why for name, feature in named.items() if feature.why},
    }  # fmt: skip


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


def clear_document(report: Cleared, exit_code: int) -> dict[str, Any]:
    """The document of clear."""

    def told(left: Left) -> dict[str, Any]:
        lease = left.lease.lease if left.lease is not None else None
        return {
            "session": left.session, "files": left.files, "bytes": left.size, "host": lease.host if lease else None,
            "claims": [_text(claim.folder) for claim in left.claims],
        }  # fmt: skip

    return {
        **path_fields(report.root, "root"), "cleared": [told(left) for left in report.cleared],
        "kept": [{**told(left), "reason": why} for left, why in report.kept], "exit_code": exit_code,
    }  # fmt: skip


def rebuild_document(report: Rebuilt, exit_code: int) -> dict[str, Any]:
    """The document of catalog rebuild."""
    return {
        **path_fields(report.journal, "journal"), "damage": report.damage,
        **(path_fields(report.aside, "set_aside") if report.aside is not None else {"set_aside": None}),
        "roots": [
            {
                **path_fields(root.path), "uuid": root.uuid, "files": root.files, "added": root.added, "parts": root.parts,
                "damaged": [{**path_fields(root.path.rstrip(b"/") + b"/" + each.path), "reason": each.reason} for each in root.damage],
            }
            for root in report.roots
        ],
        "not_read": [
            {**path_fields(each.path), "uuid": each.uuid, "problem": each.problem, "advice": each.advice} for each in report.unread
        ],
        "given_up": [
            {"session": each.session, "sources": [_text(path) for path in each.sources]} for each in report.abandoned
        ],
        "doubtful": report.doubtful, "exit_code": exit_code,
    }  # fmt: skip


def _finding(finding: Finding) -> dict[str, Any]:
    return path_fields(finding.root.rstrip(b"/") + b"/" + finding.path)
