"""``ingest show``: one session, and what became of its items."""

from __future__ import annotations

from typing import Annotated

import typer

from ingest.cli.documents import failure_document, session_document
from ingest.cli.options import Json, Quiet
from ingest.cli.output import print_document, say
from ingest.errors import UsageError, shown
from ingest.model.states import ItemState


def run(
    session: Annotated[
        str, typer.Argument(metavar="SESSION", help="The beginning of a session's id.", show_default=False)
    ],
    items: Annotated[
        list[str] | None, typer.Option("--items", metavar="STATE", help="List the items in this state. Repeatable.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Show a session: what arrived, what did not, why, and what to do about it.

    Examples:
    ingest show 3f2a

    ingest show 3f2a --items failed --items changed
    """
    try:
        states = [ItemState(name) for name in items or ()]
    except ValueError as error:
        known = ", ".join(ItemState)
        raise UsageError(str(error), operation="--items", advice=f"The states are: {known}") from error
    from ingest import api, config

    report, listing = api.show(config.home(), session, states)
    if as_json:
        print_document({**session_document(report), "items_listed": [failure_document(item) for item in listing]})
    elif not quiet:
        from ingest.cli.summary import summary

        say(*summary(report))
        for item in listing:
            why = f" ({item.reason})" if item.reason != str(item.state) else ""
            say(f"  {shown(item.path)}: {item.state}{why}" + (f". {item.advice}" if item.advice else ""))
    return 0
