"""``ingest copy``: bring sources home."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ingest.cli.commands.scan import print_plan
from ingest.cli.documents import session_document
from ingest.cli.options import (
    Events,
    Exclude,
    Json,
    Label,
    LogFile,
    Only,
    Quiet,
    Sources,
    Wait,
    byte_size,
    digest_names,
    raw,
)
from ingest.cli.output import UnheardError, complain, print_document, say
from ingest.errors import UsageError
from ingest.model.digests import HASHES
from ingest.model.options import (
    STALL_COPY,
    STALL_VALIDATE,
    Cache,
    CopyOptions,
    CopyRequest,
    Duplicates,
    Flush,
    Lists,
    Partial,
    ReadMode,
    Strategy,
)

if TYPE_CHECKING:
    from ingest.model.session import SessionReport


def run(
    sources: Sources,
    destination: Annotated[
        str, typer.Argument(metavar="DEST", help="The archive: an existing folder.", show_default=False)
    ],
    also: Annotated[
        list[str] | None,
        typer.Option("--also", metavar="DEST", help="A further archive, from the same read. Repeatable."),
    ] = None,
    label: Label = None,
    profile: Annotated[str, typer.Option("--profile", help="Layout and policies.")] = "mirror",
    duplicates: Annotated[
        Duplicates, typer.Option("--duplicates", help="What becomes of files that are there already.")
    ] = Duplicates.SKIP,
    exclude: Exclude = None,
    only: Only = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", metavar="N", help="Worker processes. [default: from the storage]", show_default=False
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads",
            metavar="N",
            help="Threads of a worker on one big file. [default: from the storage]",
            show_default=False,
        ),
    ] = None,
    buffer: Annotated[
        str | None,
        typer.Option(
            "--buffer",
            metavar="SIZE",
            help="A power of two, 4KiB to 64MiB. [default: from the storage]",
            show_default=False,
        ),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(
            "--batch",
            metavar="FILES",
            help="Files copied, flushed and proven together: at most so many (1 to 1,000); fewer when 64 MiB are full."
            " [default: from the storage]",
            show_default=False,
        ),
    ] = None,
    read_mode: Annotated[ReadMode, typer.Option("--read-mode", help="How sources are read.")] = ReadMode.AUTO,
    flush: Annotated[
        Flush,
        typer.Option(
            "--flush",
            help="How small files reach the device: auto flushes a batch at once where the file system answers for all of"
            " it, else each by itself.",
        ),
    ] = Flush.AUTO,
    cache: Annotated[
        Cache | None,
        typer.Option(
            "--cache",
            help="What was read of a source leaves memory, or stays. [default: from the storage]",
            show_default=False,
        ),
    ] = None,
    hashes: Annotated[
        list[str] | None,
        typer.Option(
            "--hash",
            metavar="NAME",
            help=f"A further digest from the same read, for the manifest: {', '.join(HASHES)}. Repeatable.",
        ),
    ] = None,
    sums: Annotated[
        Lists, typer.Option("--sums", help="The card's own sum files (md5, sha, b3, xxh, MHL, ASC MHL).")
    ] = Lists.CHECK,
    strategy: Annotated[
        Strategy,
        typer.Option(
            "--strategy",
            help="How copies come to be on the source's own file system: written (auto, copy), as clones that share its "
            "blocks until one of the two is changed (reflink), or as further names of the very same files (hardlink: "
            "who changes the one changes the other). Other destinations get copies.",
        ),
    ] = Strategy.AUTO,
    partial: Annotated[
        Partial,
        typer.Option(
            "--partial",
            help="A big file that was copied half: what is there is proven and gone on with, or copied again.",
        ),
    ] = Partial.VERIFIED,
    verify_source: Annotated[
        bool,
        typer.Option(
            "--verify-source",
            help="Read every file a second time from its source, past memory, before its copies count: for readers, cables "
            "and ports that flip a bit now and then.",
        ),
    ] = False,
    stall_copy: Annotated[
        float,
        typer.Option(
            "--stall-copy", metavar="SECONDS", min=1, help="No byte copied for so long: its worker is given up."
        ),
    ] = STALL_COPY,
    stall_validate: Annotated[
        float,
        typer.Option("--stall-validate", metavar="SECONDS", min=1, help="The same while copies are read back."),
    ] = STALL_VALIDATE,
    wait: Wait = False,
    create: Annotated[bool, typer.Option("--create", help="Make destination folders that are missing.")] = False,
    new_root: Annotated[
        bool,
        typer.Option("--new-root", help="Begin an archive below a mount folder, or where another one was mounted."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and write nothing.")] = False,
    events: Events = None,
    log_file: LogFile = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Copy sources to one or more archives, each file read once, every copy read back from the disk.

    Nothing is ever replaced. What arrived before is compared and not copied again. Stop it, kill it, pull the
    cable: `ingest resume` completes it. A share that stops answering pauses the session within half a minute (exit 8);
    with --wait it goes on by itself when the share is back.

    On one file system a copy need not take room: with --strategy reflink (xfs, btrfs) it shares the source's blocks, with
    --strategy hardlink (ext4 and most others) it is the source's own file under a second name, and no second copy of it.
    Both are read back and recorded like any copy. If no destination can do it, nothing is begun (exit 2).

    What is proven is that each copy is what was read. Whether the card was read right a second read can tell
    (--verify-source): a file that gives other bytes then is named (`changed`, exit 7), and no copy of it kept. Of a file
    that is there already no second read is made: it equals what was read of it when it came.

    Examples:
    ingest copy /media/me/EOS_DIGITAL /mnt/archive --also /mnt/backup

    ingest copy A001 A002 /mnt/shoot --json --events log.jsonl

    ingest copy A001 /mnt/shoot --hash md5 --hash xxh64

    ingest copy /media/me/OLD_CARD /mnt/archive --verify-source

    ingest copy /data/incoming /data/archive --strategy reflink --also /mnt/backup
    """
    options = CopyOptions(
        label=label, profile=profile, duplicates=duplicates, exclude=tuple(exclude or ()), only=tuple(only or ()),
        workers=workers, threads=threads, buffer=byte_size(buffer) if buffer is not None else None, read_mode=read_mode,
        flush=flush, cache=cache, batch=batch, hashes=digest_names(hashes or ()), sums=sums, strategy=strategy,
        partial=partial, stall_copy=stall_copy, stall_validate=stall_validate, verify_source=verify_source,
    )  # fmt: skip
    request = CopyRequest(
        tuple(raw(s) for s in sources), tuple(raw(d) for d in (destination, *(also or ()))), options, create, new_root
    )
    if dry_run:
        return print_plan(request.sources, request.destinations, options, as_json=as_json, quiet=quiet)
    if events == "-" and as_json:
        raise UsageError("both want stdout", operation="--events - --json", advice="Give the events a file")
    from ingest.workers.process import ahead

    with ahead():
        # A worker starts while this process still reads what it needs.
        from ingest import api, config
        from ingest.cli.events import logged
        from ingest.cli.progress import watching
        from ingest.cli.stop import stoppable

        rules = config.storage_rules(config.home())
        places = (*request.sources, *request.destinations)
        with (
            logged(log_file, "copy", places) as log,
            watching(quiet=quiet, events=events, log=log, places=places) as monitor,
            stoppable() as stopped,
        ):
            report = api.copy(request, config.home(), monitor, stopped, wait=wait, rules=rules)
    try:
        print_report(report, as_json=as_json, quiet=quiet or events == "-")
    except UnheardError:
        if not report.exit_code:
            raise
        # The terminal has gone; what the session came to is the better word.
    return int(report.exit_code)


def print_report(report: SessionReport, *, as_json: bool, quiet: bool) -> None:
    """The document, or the summary; when quiet only what is wrong, on stderr."""
    if as_json:
        print_document(session_document(report))
        return
    from ingest.cli.summary import lost, summary

    if not quiet:
        say(*summary(report))
    elif report.exit_code:
        for line in lost(report):
            complain(line)
