"""``ingest show``: one session, and what became of its items."""

from __future__ import annotations

from typing import Annotated

import typer

from ingest.cli.documents import difference_document, failure_document, session_document
from ingest.cli.options import Json, Quiet
from ingest.cli.output import path_fields, ranges_told, say, to_json
from ingest.cli.spool import spooled
from ingest.errors import UsageError, shown
from ingest.model.states import ItemState


def run(
    session: Annotated[
        str, typer.Argument(metavar="SESSION", help="The beginning of a session's id.", show_default=False)
    ],
    items: Annotated[
        list[str] | None, typer.Option("--items", metavar="STATE", help="List the items in this state. Repeatable.")
    ] = None,
    differing: Annotated[
        bool, typer.Option("--differing", help="List every file that is not what the card's own sum files say of it.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Show a session: what arrived, what did not, why, and what to do about it.

    Examples:
    ingest show 3f2a

    ingest show 3f2a --items failed --items changed

    ingest show 3f2a --differing
    """
    try:
        states = [ItemState(name) for name in items or ()]
    except ValueError as error:
        known = ", ".join(ItemState)
        raise UsageError(str(error), operation="--items", advice=f"The states are: {known}") from error
    from ingest import api, config

    home = config.home()
    report, listing = api.show(home, session, states)
    if as_json:
        document = {**session_document(report), "items_listed": [failure_document(item) for item in listing]}
        with spooled() as out:
            out.write(to_json(document)[:-1])
            if differing:
                # As many as there are: none of them waits in memory for the others.
                out.write(', "differing_listed": [')
                for number, (listed, one) in enumerate(api.differing(home, report.id)):
                    told = {**path_fields(listed, "list"), **difference_document(one)}
                    out.write((",\n" if number else "") + to_json(told))
                out.write("]")
            out.write("}\n")
    elif not quiet:
        from ingest.cli.summary import difference, summary

        say(*summary(report))
        for item in listing:
            why = f" ({item.reason})" if item.reason != str(item.state) else ""
            say(f"  {shown(item.path)}: {item.state}{why}" + (f". {item.advice}" if item.advice else ""),
                *ranges_told(item.ranges))  # fmt: skip
        for listed, one in api.differing(home, report.id) if differing else ():
            say(*difference(listed, one))
    return 0
