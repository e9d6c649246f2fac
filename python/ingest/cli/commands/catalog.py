"""``ingest catalog``: what the journal knows of archives, as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ingest.cli.documents import rebuild_document
from ingest.cli.options import Json, Quiet, raw
from ingest.cli.output import complain, listed, number, print_document, say
from ingest.errors import ExitCode, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.pipeline.rebuild import Rebuilt, RebuiltRoot

commands = typer.Typer(
    no_args_is_help=True, rich_markup_mode="markdown",
    help="Keep what the journal knows of archives.\n\nExample: ingest catalog rebuild /mnt/archive",
)  # fmt: skip


@commands.callback()
def catalog() -> None:
    """Keep what the journal knows of archives."""


@commands.command()
def rebuild(
    roots: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ROOT...]", help="Archives. [default: all that the journal knows, or can still tell, and "
                       "that are mounted]", show_default=False),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:  # fmt: skip
    """Build what the journal knows of archives anew, from their manifests: after it was damaged or lost, or elsewhere.

    A journal that is damaged is set aside first: renamed, with its log, never deleted. It must not be in use (exit 8).
    One that is sound keeps what it knows, and learns what it does not. No footage is read, and nothing is written to
    the archives.

    What manifests do not tell does not come back: sessions that waited to be resumed, and the list of those that are
    over (ask the archives: `ingest query "SELECT * FROM sessions"`). When an archive was last verified, and what was found
    damaged there, is known again if the damaged journal can still tell; else `ingest check` reads every copy back until
    `ingest verify` has found all of its archive sound.

    Exit 7 if an archive cannot be reached, or a part of its manifests not be read.

    Examples:
    ingest catalog rebuild

    ingest catalog rebuild /mnt/archive /mnt/backup
    """
    from ingest import api, config
    from ingest.cli.progress import counting

    with counting("known", quiet=quiet) as progress:
        report = api.rebuild(config.home(), [raw(root) for root in roots or ()], progress=progress)
    code = ExitCode.OK if report.whole else ExitCode.WITH_ERRORS
    if report.damage is not None:
        kept = "" if report.aside is None else f" and is kept as {shown(report.aside)}"
        complain(f"ingest: {shown(report.journal)}: it was damaged ({report.damage}){kept}")
    if as_json:
        print_document(rebuild_document(report, int(code)))
    elif not quiet:
        say(*_lines(report))
    return int(code)


def _lines(report: Rebuilt) -> Iterator[str]:
    for root in report.roots:
        yield from _root(root)
    for unread in report.unread:
        yield f"NOT READ  {shown(unread.path)} ({unread.uuid}): {unread.problem}" + (
            f". {unread.advice}" if unread.advice else ""
        )
    for session in report.abandoned:
        yield f"GIVEN UP  session {session.session[:8]} of {listed(session.sources) or 'an unknown source'}"
    if report.abandoned:
        yield "          Copy these sources again: what arrived is known. What was left half-made: ingest clear ARCHIVE"
    if report.doubtful:
        yield "LOST      What ingest verify had found damaged cannot all be read from it any more. ingest check reads every copy"
        yield "          on an archive back, until all of it was found sound: ingest verify ARCHIVE"
    if report.damage is not None:
        yield "Not in manifests, so not restored: sessions to be resumed, and the list of old ones."


def _root(root: RebuiltRoot) -> Iterator[str]:
    yield (
        f"{shown(root.path)}: {number(root.files, 'file')} told by {number(root.parts, 'part')} of its manifests, "
        f"{root.added:,} of them new to the journal."
    )
    for damage in root.damage:
        yield f"DAMAGED   {shown(root.path.rstrip(b'/') + b'/' + damage.path)}: {damage.reason}"
    if root.damage:
        yield "          Files that only these tell of are compared byte by byte when they are copied again."
