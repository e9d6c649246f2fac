"""``ingest query``: ask the manifests in SQL."""

from __future__ import annotations

import csv
from typing import Annotated

import typer

from ingest.cli.options import Json, Quiet, raw
from ingest.cli.output import say, to_json, wants_json
from ingest.cli.spool import spooled
from ingest.errors import UsageError, plain


def run(
    sql: Annotated[str, typer.Argument(metavar="SQL", help="One SELECT, or EXPLAIN of one.", show_default=False)],
    root: Annotated[
        list[str] | None,
        typer.Option(
            "--root",
            metavar="ROOT",
            help="Ask this archive. Repeatable. [default: every archive of the journal that can be reached]",
            show_default=False,
        ),
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Ask the manifests of archives in SQL; nothing can be changed by it.

    Views: copies (all rows), latest, items, assets, sessions, failures, duplicates, throughput.

    Examples:
    ingest query "SELECT path, size, blake3_hex FROM copies WHERE size > 1e9" --root /mnt/archive

    ingest query "SELECT destination, mb_per_s FROM throughput" --csv
    """
    del quiet
    if as_csv and as_json:
        raise UsageError("choose one of them", operation="--csv --json", advice="Leave one of them out")
    from ingest import api, config

    with api.query([raw(each) for each in root or ()], sql, config.home()) as answer:
        if as_csv:
            with spooled() as out:
                table = csv.writer(out, lineterminator="\n")
                table.writerow(answer.columns)
                for batch in answer:
                    table.writerows(batch)
        elif wants_json():
            with spooled() as out:
                separator = "["
                for batch in answer:
                    for row in batch:
                        document = dict(zip(answer.columns, row, strict=True))
                        out.write(separator + to_json(document))
                        separator = ",\n"
                out.write(("[" if separator == "[" else "") + "]\n")
        else:
            say("\t".join(answer.columns))
            for batch in answer:
                say(*("\t".join("" if value is None else _cell(value) for value in row) for row in batch))
    return 0


def _cell(value: object) -> str:
    return plain(value) if isinstance(value, str) else to_json(value)
