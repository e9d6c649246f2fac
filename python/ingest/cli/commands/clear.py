"""``ingest clear``: remove what sessions that nobody goes on with left half-made in an archive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ingest.cli.documents import clear_document
from ingest.cli.options import Json, Quiet, raw
from ingest.cli.output import complain, number, print_document, say, size
from ingest.errors import ExitCode, shown

if TYPE_CHECKING:
    from ingest.pipeline.orphans import Left


def run(
    root: Annotated[str, typer.Argument(metavar="ROOT", help="The archive.", show_default=False)],
    days: Annotated[
        float | None,
        typer.Option("--older-than", metavar="DAYS", min=0, help="Nothing was written there for so long. [default: 7]",
                     show_default=False),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:  # fmt: skip
    """Clear away half-made files, and claims on card folders, of sessions whose journal is lost; `ingest doctor` tells of them.

    Files that have their names are never touched. What this journal can still complete is left to `ingest resume`, and so
    is whatever somebody may be at work on: where that is not known at once, it is watched for half a minute first.

    Example: ingest clear /mnt/archive
    """
    from ingest import api, config
    from ingest.cli.stop import stoppable

    with stoppable() as stopped:
        report = api.clear(raw(root), config.home(), days=days, tell=_hush if quiet else _wait, stopped=stopped)
    if as_json:
        print_document(clear_document(report, int(ExitCode.OK)))
    elif not quiet:
        for left in report.cleared:
            say(f"cleared  {_what(left)}")
        for left, why in report.kept:
            say(f"kept     {_what(left)}: {why}")
        if not report.cleared and not report.kept:
            say("Nothing half-made is left there.")
    return int(ExitCode.OK)


def _what(left: Left) -> str:
    files = [f"{number(left.files, 'file')}, {size(left.size)},"] if left.files or not left.claims else []
    claims = [f"the claim on {shown(claim.folder)}" for claim in left.claims]
    return f"{' and '.join(files + claims)} of session {left.session}"


def _hush(_text: str) -> None:
    """Nothing."""


def _wait(text: str) -> None:
    complain(f"ingest: {text}")
