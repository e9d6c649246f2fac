"""``ingest verify``: is every byte still there?"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Annotated

import typer

from ingest.cli.documents import verify_document
from ingest.cli.options import Json, LogFile, Quiet, raw
from ingest.cli.output import complain, number, path_fields, print_document, ranges_told, say, size
from ingest.errors import ExitCode, IngestError, shown

if TYPE_CHECKING:
    from ingest.cli.events import Log
    from ingest.pipeline.findings import VerifyReport


def run(
    roots: Annotated[list[str], typer.Argument(metavar="ROOT...", help="Archives to check.", show_default=False)],
    session: Annotated[
        str | None, typer.Option("--session", metavar="ID", help="Only the files of one session.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Also list files that no manifest names.")] = False,
    log_file: LogFile = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Read every file of an archive back from the disk and compare it with the manifests.

    Needs nothing but the archive itself: no journal, no other machine. Exit 3 if anything is missing or changed.
    Where there is a journal that knows the archive, it is told when all of it was found whole, and what was not: such files
    are read again before a copy or a check relies on them.

    Examples:
    ingest verify /mnt/archive

    ingest verify /mnt/archive /mnt/backup --strict --json
    """
    from ingest import api, config
    from ingest.cli.events import logged
    from ingest.cli.progress import counting

    began = time.time_ns()
    with logged(log_file, "verify", [os.fsencode(root) for root in roots]) as log:
        paths = [raw(root) for root in roots]
        with counting("verified", quiet=quiet) as progress:
            report = api.verify(paths, session=session, strict=strict, progress=progress)
        if log is not None:
            _note(log, report)
    try:
        api.note_verified(config.home(), paths, report, began, whole=session is None)
    except IngestError as error:
        complain(f"ingest: the journal could not be told of it: {error}")  # what was found is no less true
    code = ExitCode.OK if report.sound else ExitCode.VERIFICATION
    if as_json:
        print_document(verify_document(report, int(code)))
    elif not quiet:
        say(*_lines(report))
    return int(code)


def _note(log: Log, report: VerifyReport) -> None:
    for event, findings in (("missing", report.missing), ("changed", report.changed)):
        for finding in findings:
            where = path_fields(finding.root.rstrip(b"/") + b"/" + finding.path)
            log.line(
                "error", event, **where, cause=finding.reason, ranges=[list(each) for each in finding.ranges] or None
            )
    level = "info" if report.sound else "error"
    log.line(level, "finished", checked=report.checked, ok=report.ok, missing=len(report.missing),
             changed=len(report.changed), verify_method=report.verify_method, bytes=report.bytes)  # fmt: skip


def _lines(report: VerifyReport) -> list[str]:
    lines = []
    for name, findings in (("MISSING", report.missing), ("CHANGED", report.changed), ("extra", report.extra)):
        for finding in findings:
            where = shown(finding.root.rstrip(b"/") + b"/" + finding.path)
            lines.append(f"{name}  {where}" + (f": {finding.reason}" if finding.reason else ""))
            lines += ranges_told(finding.ranges)
    methods = ", ".join(f"{n:,} {method}" for method, n in report.verify_method.items() if n)
    lines.append(
        f"{number(report.checked, 'file')} checked, {size(report.bytes)} read back ({methods or 'nothing to read'}): {report.ok:,} as they should be."
    )
    if report.sound:
        lines.append("SOUND: every file is there, with the bytes that were recorded.")
    else:
        lines.append(
            f"DAMAGED: {len(report.missing):,} missing, {len(report.changed):,} changed. To make it whole: ingest repair ARCHIVE --from ANOTHER"
        )
    return lines
