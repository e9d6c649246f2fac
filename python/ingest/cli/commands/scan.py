"""``ingest scan``: the plan, without writing anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ingest.cli.options import Exclude, Json, Label, Only, Quiet, Sources, raw
from ingest.cli.output import number, path_fields, say, size, to_json
from ingest.cli.spool import spooled
from ingest.errors import shown
from ingest.model.options import CopyOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest.pipeline.preview import PlanLine, Totals


def run(
    sources: Sources,
    to: Annotated[
        list[str] | None, typer.Option("--to", metavar="DEST", help="Plan for this archive. Repeatable.")
    ] = None,
    label: Label = None,
    exclude: Exclude = None,
    only: Only = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Show what a copy would do: what is new, what is there already, what would be left out, what room it needs.

    Nothing is written, neither to the archives nor to the journal.

    Examples:
    ingest scan /media/me/EOS_DIGITAL

    ingest scan /media/me/EOS_DIGITAL --to /mnt/archive --json
    """
    options = CopyOptions(label=label, exclude=tuple(exclude or ()), only=tuple(only or ()))
    return print_plan([raw(s) for s in sources], [raw(d) for d in to or ()], options, as_json=as_json, quiet=quiet)


def print_plan(
    sources: Sequence[bytes], destinations: Sequence[bytes], options: CopyOptions, *, as_json: bool, quiet: bool
) -> int:
    """Print the plan, item by item as it is made; the counts come last."""
    from ingest import api, config

    rules = config.storage_rules(config.home())
    plan = api.plan(sources, destinations, options, config.home(), rules=rules)
    if as_json:
        with spooled() as out:
            out.write('{"items": [')
            for number_, line in enumerate(plan):
                out.write((",\n" if number_ else "") + to_json(_line_document(line)))
            out.write("], " + to_json(_totals_document(plan.totals))[1:] + "\n")
        return 0
    for line in () if quiet else plan:
        reason = f" ({line.reason})" if line.reason else ""
        place = f" -> {shown(line.path)}" if line.path is not None and line.decision != "duplicate" else ""
        say(f"{line.decision:<10} {shown(line.source_path)}{place}{reason}")
    if not quiet:
        told = plan.totals
        counts = ", ".join(f"{count:,} {decision}" for decision, count in told.counts.items() if count)
        say(
            "",
            counts or "Nothing there.",
            f"{size(told.bytes)} in {number(sum(told.counts.values()), 'entry', 'entries')}.",
        )
        for need in told.destinations:
            room = "" if need.enough else ": NOT ENOUGH"
            say(f"{shown(need.path)}: needs {size(need.needed)}, {size(need.free)} free{room}")
        if told.how:
            say("", "How:", *(f"  {sentence}" for sentence in told.how))
    return 0


def _line_document(line: PlanLine) -> dict[str, object]:
    return {
        **path_fields(line.source_path, "source_path"), "decision": line.decision,
        **(path_fields(line.path) if line.path is not None else {"path": None}), "reason": line.reason, "size": line.size,
    }  # fmt: skip


def _totals_document(told: Totals) -> dict[str, object]:
    return {
        "counts": told.counts, "bytes": told.bytes,
        "destinations": [{**path_fields(d.path, "root"), "files": d.files, "bytes_needed": d.needed, "bytes_free": d.free,
                          "enough": d.enough} for d in told.destinations],
        "how": list(told.how),
        "exit_code": 0,
    }  # fmt: skip
