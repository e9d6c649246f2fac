"""``ingest repair``: make whole what is damaged."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from ingest.cli.documents import repair_document
from ingest.cli.options import Json, LogFile, Quiet, raw
from ingest.cli.output import number, path_fields, print_document, ranges_told, say, size
from ingest.errors import ExitCode, shown

if TYPE_CHECKING:
    from ingest.cli.events import Log
    from ingest.pipeline.mender import Repaired, Unrepaired
    from ingest.pipeline.repair import RepairReport


def run(
    root: Annotated[str, typer.Argument(metavar="ROOT", help="The archive to repair.", show_default=False)],
    other: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="ROOT|SRC",
            help="Where right bytes are taken from: another archive, or the card. Only read.",
            show_default=False,
        ),
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")] = False,
    log_file: LogFile = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Verify an archive, and make what is damaged or missing whole again from another place.

    Only damaged blocks are fetched, and each byte that is used is proven by the archive's own manifests, wherever it
    comes from. The whole new file is read back from the disk before it takes the damaged one's place, which is kept in
    .ingest/quarantine. Needs no journal. Exit 3 if something could not be repaired,
    8 while another process repairs it.

    Examples:
    ingest repair /mnt/archive --from /mnt/backup

    ingest repair /mnt/archive --from /media/me/EOS_DIGITAL --dry-run
    """
    from ingest import api
    from ingest.cli.events import logged
    from ingest.cli.progress import counting

    places = os.fsencode(root), os.fsencode(other)
    with logged(log_file, "repair", places) as log, counting("read", quiet=quiet) as progress:
        report = api.repair(raw(root), raw(other), dry_run=dry_run, progress=progress)
        if log is not None:
            _note(log, report)
    code = ExitCode.OK if report.sound else ExitCode.VERIFICATION
    if as_json:
        print_document(repair_document(report, int(code)))
    elif not quiet:
        say(*_lines(report))
    return int(code)


def _note(log: Log, report: RepairReport) -> None:
    for each in report.repaired:
        where = path_fields(report.root.rstrip(b"/") + b"/" + each.path)
        log.line("warning", "would_repair" if report.dry_run else "repaired", **where, cause=each.reason,
                 ranges=[list(one) for one in each.ranges], bytes_fetched=each.fetched)  # fmt: skip
    for failed in report.failed:
        where = path_fields(report.root.rstrip(b"/") + b"/" + failed.path)
        log.line("error", "not_repaired", **where, cause=failed.reason, advice=failed.advice)
    log.line("info" if report.sound else "error", "finished", checked=report.checked, ok=report.ok,
             repaired=len(report.repaired), failed=len(report.failed), bytes=report.bytes)  # fmt: skip


def _lines(report: RepairReport) -> list[str]:
    lines = []
    for each in report.repaired:
        lines += _repaired(report, each)
    for failed in report.failed:
        lines += _failed(report, failed)
    lines.append(
        f"{number(report.checked, 'file')} checked, {size(report.bytes)} read back: {report.ok:,} as they should be."
    )
    lines.append(_verdict(report))
    return lines


def _repaired(report: RepairReport, each: Repaired) -> list[str]:
    word = "WOULD REPAIR" if report.dry_run else "REPAIRED"
    shared = "; the rest is shared with the damaged file" if each.strategy == "reflink" else ""
    lines = [
        f"{word}  {_where(report, each.path)}: {each.reason}",
        *ranges_told(each.ranges),
        f"         {number(each.fetched, 'byte')} from the other place{shared}",
    ]
    if each.quarantine is not None:
        lines.append(f"         the damaged file is kept: {_where(report, each.quarantine)}")
    return lines


def _failed(report: RepairReport, each: Unrepaired) -> list[str]:
    return [
        f"NOT REPAIRED  {_where(report, each.path)}: {each.reason}",
        *ranges_told(each.ranges),
        f"         {each.advice}.",
    ]


def _where(report: RepairReport, path: bytes) -> str:
    return shown(report.root.rstrip(b"/") + b"/" + path)


def _verdict(report: RepairReport) -> str:
    done = number(len(report.repaired), "file")
    if report.failed:
        would = "could be" if report.dry_run else "repaired"
        return f"STILL DAMAGED: {done} {would}, {len(report.failed):,} not. See above, and keep every other copy."
    if not report.repaired:
        return "SOUND: there was nothing to repair."
    if report.dry_run:
        return f"DAMAGED: {done} would be repaired, with {number(report.fetched, 'byte')} from the other place. Nothing was changed."
    return f"SOUND: {done} repaired, {number(report.fetched, 'byte')} fetched from the other place, proven on the disk."
