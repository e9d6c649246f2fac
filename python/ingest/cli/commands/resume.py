"""``ingest resume``: complete what was interrupted or paused."""

from __future__ import annotations

from typing import Annotated

import typer

from ingest.cli.commands.copy import print_report
from ingest.cli.documents import session_document
from ingest.cli.options import Events, Json, LogFile, Quiet, Wait
from ingest.cli.output import print_document, say
from ingest.errors import UsageError, worst_exit


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
    with (
        logged(log_file, "resume") as log,
        watching(quiet=quiet, events=events, log=log) as monitor,
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
