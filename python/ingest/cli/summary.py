"""The summary of a session, for a person who is tired and has to decide.

What arrived, where, how it was proven, what did not and why, and whether the source is now fully archived.

"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest.cli.output import duration, listed, number, size
from ingest.errors import shown
from ingest.model.states import SessionState

if TYPE_CHECKING:
    from ingest.model.session import SessionReport

_PROVEN = {
    "direct": "read back from the device, past the cache",
    "evicted": "read back from the device, cache emptied and checked",
    "reread": "read back, but perhaps from memory: this file system allows no cold read",
}
_LEFT_OUT = {
    "litter": "left out as a system's litter", "--exclude": "left out by --exclude", "--only": "left out by --only",
    "symlink": "skipped: symbolic links are not followed", "special": "skipped: sockets, pipes and devices hold no footage",
}  # fmt: skip
_LISTED = 20


def summary(report: SessionReport) -> list[str]:
    """The lines."""
    lines = [f"{listed(report.sources)} -> {listed(report.destinations)}", ""]
    lines += _arrived(report)
    lines += _left_out(report)
    lines += _lost(report)
    lines += ["", *_verdict(report)]
    speed = report.bytes["read"] / report.seconds["total"] if report.seconds["total"] else 0
    lines.append(f"Session {report.id[:8]}, {duration(report.seconds['total'])}, {size(report.bytes['read'])} read"
                 + (f" at {size(speed)}/s, proof included." if report.bytes["copied"] else "."))  # fmt: skip
    return lines


def lost(report: SessionReport) -> list[str]:
    """What did not arrive, and what to do: all that has to be said when nothing else is."""
    return [line.strip() for line in (*_lost(report), *_verdict(report)) if line.strip()]


def _arrived(report: SessionReport) -> list[str]:
    items = report.items
    lines = []
    if items["discovered"] == 0:
        lines.append("  The source is empty.")
    if items["finalized"]:
        lines.append(f"  {number(items['finalized'], 'file')} arrived.")
    elif items["duplicate"]:
        lines.append("  Nothing had to be copied.")
    if items["duplicate"]:
        was = "was" if items["duplicate"] == 1 else "were"
        lines.append(
            f"  {number(items['duplicate'], 'file')} {was} there already: read from the source now, and equal to"
        )
        lines.append("  what the archive holds by its records. To read the archive itself again: ingest verify")
    if report.bytes["resumed"]:
        lines.append(f"  {size(report.bytes['resumed'])} of half-copied files were proven and not copied again.")
    for root in report.roots:
        done = root.copies.get("finalized", 0)
        proofs = [f"{number(n, 'file')} {_PROVEN[method]}" for method, n in root.verify_method.items() if n]
        state = "" if not root.state.paused else f" {_stopped(root.state)}"
        lines.append(
            f"    {shown(root.path)}: {number(done, 'new copy', 'new copies')}{state}"
            + (f"; {'; '.join(proofs)}" if proofs else "")
        )
        if root.publish_method.get("unguarded"):
            lines.append(
                f"      {root.publish_method['unguarded']:,} named without the guard against replacing (this file system has none)"
            )
    return lines


def _stopped(state: SessionState) -> str:
    return {SessionState.PAUSED_SPACE: "(stopped: full)", SessionState.PAUSED_NETWORK: "(stopped: not reachable)"}.get(
        state, "(stopped)"
    )


def _left_out(report: SessionReport) -> list[str]:
    return [
        f"  {number(count, 'entry', 'entries')} {_LEFT_OUT.get(reason, reason)}."
        for reason, count in sorted(report.excluded.items())
    ]


def _lost(report: SessionReport) -> list[str]:
    lines = []
    if report.failures_total:
        lines += ["", f"  {number(report.failures_total, 'file')} did NOT arrive:"]
        for failure in report.failures[:_LISTED]:
            why = failure.reason if failure.reason != str(failure.state) else ""
            lines.append(
                f"    {shown(failure.path)}: {failure.state}"
                + (f" ({why})" if why else "")
                + (f". {failure.advice}" if failure.advice else "")
            )
        if report.failures_total > _LISTED:
            lines.append(
                f"    … and {report.failures_total - _LISTED:,} more: ingest show {report.id[:8]} --items failed"
            )
    if report.problem:
        lines += ["", f"  {report.problem}"]
    return lines


def _verdict(report: SessionReport) -> list[str]:
    items = report.items
    places = f"on {number(len(report.roots), 'destination')}"
    match report.state:
        case SessionState.COMPLETED:
            there = items["finalized"] + items["duplicate"]
            chosen = sum(report.excluded.get(rule, 0) for rule in ("--exclude", "--only"))
            but = " (without what was left out by your own choice)" if chosen else ""
            if there == 0:
                return ["Nothing to archive."]
            reread = any(root.verify_method.get("reread") for root in report.roots)
            proven = "proven" if not items["duplicate"] else "proven when they arrived"
            lines = [f"FULLY ARCHIVED{but}: all {number(there, 'file')} of the source are {places}, {proven}."]
            if reread:
                lines.append(
                    "Some of it could only be read back from memory: for the last certainty, remount and run: ingest verify"
                )
            return lines
        case SessionState.COMPLETED_WITH_ERRORS:
            edited = all(failure.reason.startswith("changed since") for failure in report.failures)
            again = (
                "Bring it home as it is now: ingest copy"
                if edited and report.failures
                else (f"When the cause is gone: ingest resume {report.id[:8]}")
            )
            return ["NOT FULLY ARCHIVED: see above. Keep the source.", again]
        case SessionState.PAUSED_USER:
            return [f"STOPPED by you. {_open(items)} What arrived is safe; nothing half-written has a name.",
                    "To go on: ingest resume"]  # fmt: skip
        case SessionState.PAUSED_SPACE | SessionState.PAUSED_NETWORK:
            return [f"PAUSED, NOT FULLY ARCHIVED. {_open(items)} What arrived is safe.",
                    "When the cause is gone: ingest resume"]  # fmt: skip
        case _:
            return [f"NOT FULLY ARCHIVED ({report.state}). {_open(items)} To go on: ingest resume"]


def _open(items: dict[str, int]) -> str:
    return f"{number(items['waiting'], 'file')} of {items['discovered']:,} wait."
