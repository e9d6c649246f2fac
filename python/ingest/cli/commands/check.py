"""``ingest check``: may the card be erased?"""

from __future__ import annotations

import json
import os
from itertools import chain, islice
from typing import TYPE_CHECKING, Annotated

import typer

from ingest.cli.options import Exclude, Json, LogFile, Quiet, Sources, raw
from ingest.cli.output import number, path_fields, say, size
from ingest.cli.spool import spooled
from ingest.errors import ExitCode, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ingest.cli.events import Log
    from ingest.pipeline.check import Check
    from ingest.pipeline.proof import Kept

# More files are only counted: the document has them all.
_LISTED = 100


def run(
    sources: Sources,
    copies: Annotated[int, typer.Option("--copies", metavar="N", help="Copies that each file needs.")] = 2,
    roots: Annotated[
        list[str] | None,
        typer.Option(
            "--root",
            metavar="ROOT",
            help="Look for copies in this archive. Repeatable. [default: all that the journal knows]",
            show_default=False,
        ),
    ] = None,
    same_volume: Annotated[
        bool, typer.Option("--same-volume", help="Let copies on one volume count as several, and on the card's own.")
    ] = False,
    accept_reread: Annotated[
        bool,
        typer.Option("--accept-reread", help="Let copies count that could only be read back from memory (reread)."),
    ] = False,
    fast: Annotated[
        bool,
        typer.Option("--fast", help="Do not read the card: believe what was recorded for each path, size and time."),
    ] = False,
    exclude: Exclude = None,
    log_file: LogFile = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """May this card be erased? Exit 0 only if every file that is on it now has enough copies that count, else 1.

    The card is read, and its files are looked for by content in archives that are here now, by the records that these
    carry themselves. A copy counts if it was read back from the device when it was made, and is there now with the
    recorded size and time; two on one volume, anything on the card's own disk, hard links, and whatever lies in what is
    asked about do not. What leaves a doubt is read back from the device now: what a session found there already (a
    duplicate), a time that is not exactly the recorded one, an archive that was copied from another disk. The others are
    not read again: that they still are what they were, `ingest verify` finds out.

    Where something is mounted inside the card, what lies beneath it cannot be seen: that is told, and it is not safe.

    What was left out by rule is counted, and would be lost: litter of systems, what you --exclude, symbolic links.
    With --fast another file of the same path, size and time would pass for the one that was copied. Nothing is written.

    Examples:
    ingest check /media/me/EOS_DIGITAL

    ingest check /media/me/EOS_DIGITAL --copies 1 --root /mnt/archive --json
    """
    from ingest import api, config
    from ingest.cli.events import logged
    from ingest.cli.progress import counting

    with logged(log_file, "check", [os.fsencode(place) for place in (*sources, *(roots or ()))]) as log:
        with counting("read", quiet=quiet) as progress:
            found = api.check(
                [raw(source) for source in sources], config.home(), roots=[raw(root) for root in roots or ()],
                copies=copies, same_volume=same_volume, accept_reread=accept_reread, fast=fast, exclude=exclude or (),
                progress=progress,
            )  # fmt: skip
            verdicts = _noted(found, log)
            # With the first of them the card has been read.
            first = list(islice(verdicts, 1))
        files = chain(first, verdicts)
        return _document(found, files) if as_json else _lines(found, files, quiet=quiet)


def _noted(found: Check, log: Log | None) -> Iterator[Kept]:
    """The files that are not covered, each noted in the log, and what it came to at the end."""
    for kept in found:
        if log is not None:
            where = path_fields(_where(found, kept))
            log.line("error", "not_covered", **where, cause=kept.reason, copies=kept.copies, advice=kept.advice)
        yield kept
    if log is not None:
        totals = found.totals
        log.line("info" if totals.safe else "error", "finished", safe=totals.safe, files=totals.files,
                 covered=totals.covered, unseen=totals.unseen, excluded=totals.excluded, skipped=totals.skipped)  # fmt: skip


def _where(found: Check, kept: Kept) -> bytes:
    origin = found.origin(kept.source)
    return origin.rstrip(b"/") + b"/" + kept.path if kept.path else origin


def _document(found: Check, files: Iterable[Kept]) -> int:
    with spooled() as out:
        out.write('{"not_covered": [')
        for at, kept in enumerate(files):
            told = {
                **path_fields(_where(found, kept)),
                "reason": kept.reason,
                "copies": kept.copies,
                "advice": kept.advice,
            }
            out.write((",\n" if at else "") + json.dumps(told, ensure_ascii=False))
        code = _code(found)
        totals = found.totals
        rest = {
            "safe": totals.safe, "copies_required": found.terms.copies, "files": totals.files, "covered": totals.covered,
            "unseen": totals.unseen, "excluded": totals.excluded, "skipped": totals.skipped, "left_out": dict(totals.left_out),
            "bytes": {"read": totals.bytes, "read_back": totals.read_back[1]},
            "roots": [{**path_fields(one.root.path, "root"), "uuid": one.uuid} for one in found.archives.here],
            "absent": [{**path_fields(one.path, "root"), "reason": one.reason} for one in found.archives.absent],
            "exit_code": code,
        }  # fmt: skip
        out.write("], " + json.dumps(rest, ensure_ascii=False)[1:] + "\n")
    return code


def _code(found: Check) -> int:
    return int(ExitCode.OK if found.totals.safe else ExitCode.ERROR)


def _lines(found: Check, files: Iterable[Kept], *, quiet: bool) -> int:
    for at, kept in enumerate(files):
        if at < _LISTED and not quiet:
            say(f"NOT COVERED  {shown(_where(found, kept))}: {kept.reason}", f"             {kept.advice}.")
    missing = found.totals.files - found.totals.covered + found.totals.unseen
    if missing > _LISTED and not quiet:
        say(f"… and {missing - _LISTED:,} more: --json lists all.")
    if not quiet:
        say(*_totals(found), *_verdict(found))
    return _code(found)


def _totals(found: Check) -> Iterator[str]:
    totals = found.totals
    read = f", {size(totals.bytes)} read" if totals.bytes else ""
    wanted = number(found.terms.copies, "copy", "copies")
    yield f"{number(totals.files, 'file')} on the card{read}: {totals.covered:,} with {wanted} or more that count."
    if totals.read_back[0]:
        files, amount = totals.read_back
        yield f"{number(files, 'copy', 'copies')} read back from the archives now, {size(amount)}."
    if totals.left_out:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(totals.left_out.items()))
        yield f"{number(totals.left_out.total(), 'entry', 'entries')} not asked about: {reasons}."
    yield f"Asked: {_listed([one.root.path for one in found.archives.here])}."
    for one in found.archives.absent:
        yield f"Not counted: {shown(one.path)}: {one.reason}."


def _listed(paths: Sequence[bytes]) -> str:
    return ", ".join(shown(path) for path in paths)


def _verdict(found: Check) -> Iterator[str]:
    totals = found.totals
    if totals.safe:
        places = "in as many archives" if found.terms.same_volume else "on as many volumes"
        yield f"SAFE TO ERASE: every file has {number(found.terms.copies, 'copy', 'copies')} {places}, proven when made, there now."
    elif not totals.files:
        yield "NOT SAFE: there is no file here. Is the card mounted?"
    elif totals.covered < totals.files:
        yield f"NOT SAFE: {number(totals.files - totals.covered, 'file')} would be lost or left with too few copies. Keep the card."
    else:
        yield f"NOT SAFE: {number(totals.unseen, 'place')} may hold more than could be seen. Keep the card."
