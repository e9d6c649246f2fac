"""``ingest show``: one session, and what became of its items."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Annotated

import typer

from ingest.cli.documents import difference_document, event_document, failure_document, session_document
from ingest.cli.options import Json, Quiet
from ingest.cli.output import path_fields, ranges_told, say, to_json
from ingest.cli.spool import spooled
from ingest.errors import UsageError, shown
from ingest.model.states import ItemState

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ingest.model.event import Event
    from ingest.model.session import Failure, SessionReport

# What has not ended is counted under this word.
WAITING = "waiting"


def run(
    session: Annotated[
        str, typer.Argument(metavar="SESSION", help="The beginning of a session's id.", show_default=False)
    ],
    items: Annotated[
        list[str] | None,
        typer.Option(
            "--items",
            metavar="STATE",
            help="List all items in this state, or all that wait (waiting), with what to do. Repeatable.",
        ),
    ] = None,
    differing: Annotated[
        bool, typer.Option("--differing", help="List every file that is not what the card's own sum files say of it.")
    ] = False,
    events: Annotated[
        bool, typer.Option("--events", help="Tell what happened, in order: runs, pauses, setbacks, warnings.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Show a session: what arrived, what did not, why, and what to do about it.

    Examples:
    ingest show 3f2a

    ingest show 3f2a --items failed --items changed

    ingest show 3f2a --events

    ingest show 3f2a --differing
    """
    states = _states(items or ())
    from ingest import api, config

    home = config.home()
    report = api.show(home, session)
    listing = api.items(home, report.id, states) if states else iter(())
    trail, facts = api.events(home, report.id) if events else ([], None)
    roots = [place.path for place in facts.roots] if facts is not None else []
    if as_json:
        with spooled() as out:
            out.write(to_json(session_document(report))[:-1])
            _write(out, "items_listed", (failure_document(item) for item in listing))
            if events:
                _write(out, "events", (event_document(event, roots) for event in trail))
            if differing:
                # As many as there are: none of them waits in memory for the others.
                told = api.differing(home, report.id)
                _write(out, "differing_listed", ({**path_fields(listed, "list"), **difference_document(one)}
                                                 for listed, one in told))  # fmt: skip
            out.write("}\n")
    elif not quiet:
        _say(report, listing, trail)
        if differing:
            from ingest.cli.summary import difference

            for listed, one in api.differing(home, report.id):
                say(*difference(listed, one))
    return 0


def _states(names: Sequence[str]) -> list[ItemState]:
    """The states that are meant.

    Raises:
        UsageError: there is none of this name.
    """
    try:
        wanted = {state for name in names for state in (_OPEN if name == WAITING else [ItemState(name)])}
    except ValueError as error:
        known = ", ".join([*ItemState, WAITING])
        raise UsageError(str(error), operation="--items", advice=f"The states are: {known}") from error
    return [state for state in ItemState if state in wanted]


_OPEN = [state for state in ItemState if not state.ended]


def _write(out: IO[str], name: str, rows: Iterable[object]) -> None:
    out.write(f', "{name}": [')
    for number, row in enumerate(rows):
        out.write((",\n" if number else "") + to_json(row))
    out.write("]")


def _say(report: SessionReport, listing: Iterable[Failure], trail: Sequence[Event]) -> None:
    from ingest.cli.summary import happened, summary

    say(*summary(report))
    for item in listing:
        why = f" ({item.reason})" if item.reason != str(item.state) else ""
        say(f"  {shown(item.path)}: {item.state}{why}" + (f". {item.advice}" if item.advice else ""),
            *ranges_told(item.ranges))  # fmt: skip
    if trail:
        say("", "What happened:", *(happened(event) for event in trail))
