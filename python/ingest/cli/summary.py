"""The summary of a session, for a person who is tired and has to decide.

What arrived, where, how it was proven, what did not and why, and whether the source is now fully archived.

"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ingest.cli.output import duration, listed, number, ranges_told, size
from ingest.errors import shown
from ingest.model.states import SessionState

if TYPE_CHECKING:
    from ingest.model.event import Event
    from ingest.model.session import Difference, SessionReport

_PROVEN = {
    "direct": "read back from the device, past the cache",
    "evicted": "read back from the device, cache emptied and checked",
    "reread": "read back, but perhaps from memory: this file system allows no cold read",
}
_LEFT_OUT = {
    "litter": "left out as a system's litter", "--exclude": "left out by --exclude", "--only": "left out by --only",
    "symlink": "skipped: symbolic links are not followed", "special": "skipped: sockets, pipes and devices hold no footage",
}  # fmt: skip
_SHARED = {
    "reflink": "share their blocks with the source: no room was taken, and a block that goes bad is bad in both",
    "hardlink": "are the source's own files under a second name: who changes or damages the one does it to the other",
}
_LISTED = 20


def summary(report: SessionReport) -> list[str]:
    """The lines."""
    lines = [f"{listed(report.sources)} -> {listed(report.destinations)}", ""]
    lines += _arrived(report)
    lines += _left_out(report)
    lines += _sums(report)
    lines += _lost(report)
    lines += ["", *_verdict(report)]
    speed = report.bytes["read"] / report.seconds["total"] if report.seconds["total"] else 0
    lines.append(f"Session {report.id[:8]}, {duration(report.seconds['total'])}, {size(report.bytes['read'])} read"
                 + (f" at {size(speed)}/s, proof included." if report.bytes["copied"] else "."))  # fmt: skip
    return lines


def happened(event: Event) -> str:
    """One event of a session's trail."""
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event.at_ns / 1e9))
    where = f"{shown(event.path)}: " if event.path is not None and shown(event.path) not in event.told else ""
    doing = f" ({event.operation})" if event.operation else ""
    return f"  {moment}  {event.kind.replace('_', ' ')}: {where}{event.told}{doing}"


def lost(report: SessionReport) -> list[str]:
    """What did not arrive, and what to do: all that has to be said when nothing else is."""
    return [line.strip() for line in (*_suspect(report), *_lost(report), *_verdict(report)) if line.strip()]


def _arrived(report: SessionReport) -> list[str]:
    items = report.items
    lines = []
    if items["discovered"] == 0 and not report.state.resumable:
        lines.append("  The source is empty.")
    if items["finalized"]:
        lines.append(f"  {number(items['finalized'], 'file')} arrived.")
        if report.verify_source:
            lines.append("  Each was read twice from its source, and gave the same bytes.")
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
        shared = [
            f"{number(n, 'copy', 'copies')} {_SHARED[way]}" for way, n in root.strategy.items() if n and way in _SHARED
        ]
        if shared and root.strategy.get("copy"):
            shared.append(f"{number(root.strategy['copy'], 'copy', 'copies')} had to be written")
        lines += [f"      {told}" for told in shared]
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


def _sums(report: SessionReport) -> list[str]:
    """What the card's own sum files say."""
    sums = report.sums
    if not sums.lists:
        return []
    entries = number(sums.entries, "entry", "entries")
    lines = [f"  {number(sums.lists, 'sum file')} on the card: {sums.matched:,} of {entries} equal what was read."]
    if sums.unchecked:
        lines.append(
            f"    {sums.unchecked:,} could not be checked: the file did not arrive, or was read for its BLAKE3 alone."
        )
    for one in [each for each in sums.each if each.missing][:_LISTED]:
        assert one.first_missing is not None  # noqa: S101 - it comes with the count
        lines.append(f"    {shown(one.path)}: {number(one.missing, 'entry', 'entries')} of files that are not on the card: "
                     + shown(one.first_missing) + (" …" if one.missing > 1 else ""))  # fmt: skip
    lines += [
        f"    {shown(one.path)}: {number(one.problems, 'line')} left aside: {one.problem}"
        for one in [each for each in sums.each if each.problem][:_LISTED]
    ]
    return lines + _suspect(report)


def _suspect(report: SessionReport) -> list[str]:
    """Files that are not what their own card says of them."""
    total = report.sums.differing
    if not total:
        return []
    lines = [
        "",
        f"  {number(total, 'entry of a sum file is', 'entries of sum files are')} NOT what was read from the card:",
    ]
    named = [(one, each) for one in report.sums.each for each in one.differing][:_LISTED]
    lines += [line for one, each in named for line in difference(one.path, each)]
    if total > len(named):
        lines.append(f"    … and {total - len(named):,} more: ingest show {report.id[:8]} --differing")
    return [*lines, "  The copies are what the card holds now. Keep the card; read it again with another reader."]


def difference(listed: bytes, one: Difference) -> list[str]:
    """A file that is not what this list says of it."""
    read = "another length" if one.read is None else one.read.hex()
    return [
        f"    {shown(one.path)}, its {one.algorithm} in {shown(listed)}:",
        f"      listed {one.listed.hex()}",
        f"      read   {read}",
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
            lines += ranges_told(failure.ranges)
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
            if report.sums.differing:
                lines.append("BUT the card's own sum files do not agree with it: see above. Keep the source.")
            if any(root.strategy.get("hardlink") for root in report.roots):
                lines.append("Hard links are no second copy: what happens to the source's files happens to them.")
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
