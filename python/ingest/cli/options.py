"""Options that several commands share, and how sizes are read."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from ingest.errors import UsageError
from ingest.model import options
from ingest.model.digests import HASHES

if TYPE_CHECKING:
    from collections.abc import Sequence

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no summary: errors only.")]
Events = Annotated[
    str | None,
    typer.Option(
        "--events", metavar="FILE|-", help="Write one JSON object per line to FILE (or stdout) while work goes on."
    ),
]
LogFile = Annotated[
    str | None,
    typer.Option(
        "--log-file", metavar="FILE", help="Append a log to FILE, one JSON object per line. Best on a local disk."
    ),
]
Label = Annotated[
    str | None,
    typer.Option(
        "--label", help="Name of the card's folder in the archive. [default: the source's name]", show_default=False
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option("--exclude", metavar="GLOB", help="Leave out names or paths that match. Repeatable."),
]
Only = Annotated[
    list[str] | None,
    typer.Option("--only", metavar="GLOB", help="Take only names or paths that match. Repeatable."),
]
Wait = Annotated[
    bool,
    typer.Option("--wait", help="Where a disk is away or full: stay, and go on as soon as it is back."),
]
Sources = Annotated[
    list[str], typer.Argument(metavar="SRC...", help="Card, folder or file to bring home.", show_default=False)
]


def byte_size(text: str) -> int:
    """``64KiB``, ``1MiB``, ``1m`` or plain bytes.

    Raises:
        UsageError: it is no size.
    """
    try:
        return options.byte_size(text)
    except ValueError as error:
        raise UsageError(str(error), operation="--buffer", advice="Write it like 64KiB or 1MiB") from error


def digest_names(names: Sequence[str]) -> tuple[str, ...]:
    """Further digests by name, each once.

    Raises:
        UsageError: one is not known.
    """
    chosen = {name.lower().replace("-", "") for name in names} - {"blake3"}
    if unknown := sorted(chosen.difference(HASHES)):
        raise UsageError(
            f"{unknown[0]!r} is no digest that can be computed", operation="--hash",
            advice=f"Choose from {', '.join(HASHES)}; BLAKE3 is always computed",
        )  # fmt: skip
    return tuple(name for name in HASHES if name in chosen)


def raw(path: str) -> bytes:
    """A path from the command line, as the bytes it came as; a share's URL as the folder where it is mounted.

    Raises:
        UsageError: it is empty. UsageError, MissingError: it is the URL of no share, or of one that is not mounted.
    """
    from ingest.storage.urls import located

    if not path:
        # It would stand for the folder that the program was started in, of which nobody spoke.
        raise UsageError("a path is empty", operation="usage",
                         advice="Name it; a variable of a script that is not set comes as an empty word")  # fmt: skip
    return located(os.fsencode(path))
