"""The command ``ingest``: its subcommands, and the one place that turns an error into an exit code.

Nothing heavy is imported here or in the command modules: each command imports what it needs when it runs, so
that ``--help`` is quick.
"""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress
from typing import Annotated, Final, NoReturn

import typer
from typer.exceptions import TyperException

from ingest.cli.attendant import attend, say_goodbye
from ingest.cli.commands import (
    bench,
    catalog,
    check,
    clear,
    copy,
    doctor,
    query,
    repair,
    resume,
    scan,
    sessions,
    show,
    storage,
    verify,
)
from ingest.cli.output import prepare_streams, print_error
from ingest.cli.stop import heed, heed_no_more, interrupted, interruption
from ingest.errors import IngestError, UsageError, from_os_error, unforeseen

# What Typer makes of a KeyboardInterrupt.
_INTERRUPTED: Final = 130

app = typer.Typer(
    name="ingest", no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False, rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip


def _version(wanted: bool) -> None:
    if wanted:
        from ingest.engine import __version__

        typer.echo(f"ingest {__version__}")
        raise typer.Exit


@app.callback()
def ingest(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    """Bring irreplaceable footage home: hashed in flight, proven on arrival, recorded, resumable.

    Example: ingest copy /media/me/EOS_DIGITAL /mnt/archive --also /mnt/backup
    """


for command in (copy, resume, sessions, show, verify, check, repair, query, scan, doctor, clear, bench):
    app.command(name=command.__name__.rpartition(".")[2])(command.run)
app.add_typer(storage.commands, name="storage")
app.add_typer(catalog.commands, name="catalog")


def main() -> NoReturn:
    """Run the command line; never returns."""
    # What is imported stays: looking through it for garbage every 700 objects is a tenth of the time that a small
    # copy takes. Cycles are still collected, a few megabytes later.
    gc.set_threshold(50_000, 20, 50)
    prepare_streams()
    if sys.platform == "linux":
        attend(sys.argv[1:])
    heed()
    _leave(answer())


def answer() -> int:
    """Do what this process's command line asks for; the exit code, after whatever went wrong was said."""
    try:
        code = app(standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = _INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last net: a message and an exit code, never a traceback
        heed_no_more()
        code = _INTERRUPTED if interrupted(error) else _explained(error)
    if code == _INTERRUPTED:
        heed_no_more()
        code = _explained(interruption())
    return int(code or 0)


def _explained(error: Exception) -> int:
    """Say what went wrong; the exit code that it stands for."""
    told: IngestError
    if isinstance(error, TyperException):
        told = UsageError(error.format_message().rstrip("."), operation="usage", advice="See: ingest --help")
    elif isinstance(error, IngestError):
        told = error
    elif isinstance(error, OSError):
        # Help is printed by a library: what failed there is standard output. What fails elsewhere is an IngestError.
        told = from_os_error(error, "write")
    else:
        told = unforeseen(error)
    print_error(told)
    return told.exit_code


def _leave(code: int) -> NoReturn:
    """End the process, without taking the interpreter apart piece by piece (0.1 s with Arrow and SQLAlchemy in it).

    Nothing is left for it to do: whatever is worth finishing was finished by name. Python's own way out is kept for
    output that cannot be written, which it reports.
    """
    with suppress(OSError, ValueError, AttributeError):  # the last: a stream that was closed from the start is None
        sys.stdout.flush()
        sys.stderr.flush()
        say_goodbye(code)
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
