"""``ingest query``: ask the manifests in SQL."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Annotated

import typer

from ingest.cli.options import Json, Quiet, raw
from ingest.cli.output import put, say, wants_json
from ingest.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


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
            put(_csv([answer.columns]))
            for batch in answer:
                put(_csv(batch))
        elif wants_json():
            # One document, written as it comes: the rows may be millions.
            separator = "["
            for batch in answer:
                for row in batch:
                    put(separator + json.dumps(dict(zip(answer.columns, row, strict=True)), ensure_ascii=False))
                    separator = ",\n"
            put(("[" if separator == "[" else "") + "]\n")
        else:
            say("\t".join(answer.columns))
            for batch in answer:
                for row in batch:
                    say("\t".join("" if value is None else _cell(value) for value in row))
    return 0


def _csv(rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _cell(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
