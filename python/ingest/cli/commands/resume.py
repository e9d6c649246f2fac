"""``ingest resume``: complete what was interrupted or paused."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from ingest.cli.commands.copy import print_report
from ingest.cli.documents import session_document
from ingest.cli.options import Events, Json, LogFile, Quiet, Wait
from ingest.cli.output import print_document, say
from ingest.errors import IngestError, UsageError, worst_exit

if TYPE_CHECKING:
    from pathlib import Path

    from ingest.session.register import Entry


def run(
    session: Annotated[
        str | None,
        typer.Argument(
            metavar="[SESSION]",
            help="The beginning of a session's id. [default: all that can be resumed]",
            show_default=False,
        ),
    ] = None,
    wait: Wait = False,
    events: Events = None,
    log_file: LogFile = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Complete interrupted and paused sessions, oldest first; what is proven is not copied again, of a big file neither.

    A session that completed with errors is taken up when it is named: its failed files are tried again.

    Examples:
    ingest resume

    ingest resume 3f2a

    ingest resume --wait
    """
    if events == "-" and as_json:
        raise UsageError("both want stdout", operation="--events - --json", advice="Give the events a file")
    from ingest import api, config
    from ingest.cli.events import logged
    from ingest.cli.progress import watching
    from ingest.cli.stop import stoppable

    rules = config.storage_rules(config.home())
    places = _places(config.home(), session) if log_file is not None or events is not None else ()
    with (
        logged(log_file, "resume", places) as log,
        watching(quiet=quiet, events=events, log=log, places=places) as monitor,
        stoppable() as stopped,
    ):
        reports = api.resume(config.home(), session, monitor, stopped, wait=wait, rules=rules)
    silent = quiet or events == "-"
    if len(reports) == 1:
        print_report(reports[0], as_json=as_json, quiet=silent)
    elif as_json:
        print_document([session_document(report) for report in reports])
    elif not reports and not silent:
        say("Nothing to resume.")
    for report in reports if len(reports) > 1 and not as_json else []:
        print_report(report, as_json=False, quiet=silent)
    return int(worst_exit([report.exit_code for report in reports]))


def _places(home: Path, session: str | None) -> tuple[bytes, ...]:
    """The sources and destinations of what is taken up; none where the journal cannot tell: the command says so itself."""
    from ingest import api

    def meant(entry: Entry) -> bool:
        return (
            entry.resumable
            if session is None
            else entry.id.replace("-", "").startswith(session.replace("-", "").lower())
        )

    with suppress(IngestError):
        taken = [entry for entry in api.sessions(home) if meant(entry)]
        return tuple(path for entry in taken for path in (*entry.sources, *entry.roots))
    return ()
