"""``ingest bench``: how fast is it here, beside the tools that people use today?"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ingest.cli.options import Json, Quiet, byte_size
from ingest.cli.output import complain, print_document, say
from ingest.errors import ExitCode, UsageError, from_os_error
from ingest.model.options import ReadMode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest.bench.baseline import Comparison, Uncompared
    from ingest.bench.results import Report
    from ingest.bench.suite import Request

# Where the engine alone is measured: a file system that costs nothing.
MEMORY = "/dev/shm"  # noqa: S108 - what is made there is made by mkdtemp
# What `--buffer all` stands for.
BUFFERS = ("64KiB", "256KiB", "1MiB", "4MiB")


def run(
    workloads: Annotated[
        list[str] | None,
        typer.Option(
            "--workload",
            metavar="NAME",
            help="big (one file), clips, small (many small files), cards (clips with their sidecars) or records "
            "(synthetic items through plan, journal and manifest, no bytes). Repeatable. [default: big, clips, small]",
            show_default=False,
        ),
    ] = None,
    size: Annotated[
        str,
        typer.Option(
            "--size",
            metavar="full|small",
            help="full: 1 x 4 GiB, 200 x 10 MiB, 20,000 x 16 KiB, 100 x 10 MiB with 4 KiB and 16 KiB beside each, "
            "100,000 and 1,000,000 records. small: proves only that it runs.",
        ),
    ] = "full",
    files: Annotated[
        int | None,
        typer.Option(
            "--files", metavar="N", help="A workload of your own: so many files, of --bytes each.", show_default=False
        ),
    ] = None,
    file_bytes: Annotated[
        str | None,
        typer.Option("--bytes", metavar="SIZE", help="The size of each file of --files.", show_default=False),
    ] = None,
    items: Annotated[
        list[int] | None,
        typer.Option("--items", metavar="N", help="So many records. Repeatable.", show_default=False),
    ] = None,
    peers: Annotated[
        list[str] | None,
        typer.Option(
            "--peer",
            metavar="NAME",
            help="cp, b3sum, equal (the careful way by hand: b3sum, cp -r, sync, b3sum -c of the cold copy), rsync, "
            "rclone, ocopy, or none. Repeatable. [default: all that are installed]",
            show_default=False,
        ),
    ] = None,
    read_modes: Annotated[
        list[ReadMode] | None,
        typer.Option("--read-mode", help="How sources are read. Repeatable.", show_default=False),
    ] = None,
    buffers: Annotated[
        list[str] | None,
        typer.Option(
            "--buffer",
            metavar="SIZE|all",
            help="Buffers to compare; all: 64KiB, 256KiB, 1MiB, 4MiB. Repeatable. [default: from the storage; all with "
            "--engine]",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        list[int] | None,
        typer.Option(
            "--workers",
            metavar="N",
            help="Worker processes (with --engine: threads, 32 at most). Repeatable. [default: from the storage; with "
            "--engine 1 and all cores]",
            show_default=False,
        ),
    ] = None,
    destinations: Annotated[
        list[int] | None,
        typer.Option(
            "--destinations", metavar="N", help="Archives from one read. Repeatable. [default: 1]", show_default=False
        ),
    ] = None,
    engine: Annotated[
        bool,
        typer.Option(
            "--engine",
            help="The engine alone, in this process and in memory: copy and hash without proof, beside cp -r.",
        ),
    ] = False,
    runs: Annotated[int, typer.Option("--runs", metavar="N", help="Rounds that count.")] = 5,
    warm_up: Annotated[bool, typer.Option(help="One more round first, that does not count.")] = True,
    disk: Annotated[
        str | None,
        typer.Option(
            "--disk",
            metavar="FOLDER",
            help="Where to measure; everything made there is removed again. [default: the current folder; /dev/shm with "
            "--engine]",
            show_default=False,
        ),
    ] = None,
    svg: Annotated[
        str | None, typer.Option("--svg", metavar="FILE", help="Write a chart for people.", show_default=False)
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            "--baseline",
            metavar="FILE",
            help="Compare with what an earlier `ingest bench --json` printed. Machines differ: where both measured a "
            "common peer (equal, cp, rsync ...), what is compared is the time in that peer's time, else seconds.",
            show_default=False,
        ),
    ] = None,
    fail_below: Annotated[
        float | None,
        typer.Option(
            "--fail-below",
            metavar="RATIO",
            help="Exit 9 if anything of ours has less than RATIO of the baseline's speed, as in 0.9; exit 1, and measure "
            "nothing, if not all that is to be measured can be compared, or not all that the baseline has.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Measure verified copies on your own disk beside the tools you have: medians, interleaved, cold, flushed.

    The full sizes need some 9 GB of room and take half an hour with all peers. Where there is room for 16 GB, some 12 of
    them are used: the copies of small files then stay until their last run. In the end nothing stays behind.

    Examples:
    ingest bench --workload clips --disk /mnt/archive --svg clips.svg

    ingest bench --json > main.json; ingest bench --baseline main.json --fail-below 0.9
    """
    if fail_below is not None and baseline is None:
        raise UsageError("below what?", operation="--fail-below", advice="Name an earlier document with --baseline")
    if fail_below is not None and not (math.isfinite(fail_below) and fail_below > 0):
        raise UsageError(f"a ratio of {fail_below}", operation="--fail-below", advice="Take one above 0, as in 0.9")
    if engine and (peers or destinations or ReadMode.AUTO in (read_modes or ())):
        raise UsageError(
            "the engine alone has cp for a peer, one destination, and is told how to read", operation="--engine",
            advice="Leave out --peer, --destinations and --read-mode auto",
        )  # fmt: skip
    from ingest.bench import ours, suite
    from ingest.bench import peers as known_peers
    from ingest.bench import workloads as known_workloads

    chosen = known_workloads.choose(
        workloads or (), size, files, _bytes(file_bytes, "--bytes") if file_bytes is not None else None
    )
    sizes = [_bytes(one, "--buffer") for each in buffers or () for one in (BUFFERS if each == "all" else (each,))]
    modes = [str(mode) for mode in read_modes or ()]
    request = suite.check(
        suite.Request(
            known_workloads.CUSTOM if files is not None or items else size,
            chosen if workloads or files is not None or not items else (),
            _items(workloads or (), size, items or ()),
            tuple(ours.choices(modes, sizes, workers or (), destinations or ())),
            known_peers.choose(peers or ()),
            Path(disk or (MEMORY if engine else ".")),
            runs,
            warm_up,
            engine,
            modes=tuple(dict.fromkeys(modes)) or ("read",),
            buffers=tuple(dict.fromkeys(sizes)) or tuple(_bytes(one, "--buffer") for one in BUFFERS),
            threads=tuple(dict.fromkeys(workers or ())),
        )
    )
    return _measured(request, svg, baseline, fail_below, as_json=as_json, quiet=quiet)


def _bytes(text: str, option: str) -> int:
    try:
        return byte_size(text)
    except UsageError as error:
        raise UsageError(error.cause, operation=option, advice=error.advice) from error


def _items(workloads: Sequence[str], size: str, items: Sequence[int]) -> tuple[int, ...]:
    """How many records; none if that workload is not asked for."""
    from ingest.bench.workloads import ITEMS, RECORDS

    if any(number < 1 for number in items):
        raise UsageError("no record", operation="--items", advice="Take 1 or more")
    return tuple(dict.fromkeys(items)) or (ITEMS[size] if RECORDS in workloads else ())


def _measured(
    request: Request, svg: str | None, baseline: str | None, fail_below: float | None, *, as_json: bool, quiet: bool
) -> int:
    from ingest.bench import chart, suite, table
    from ingest.bench.baseline import compare, read_baseline, uncompared
    from ingest.bench.document import document

    earlier = read_baseline(Path(os.fsdecode(baseline))) if baseline is not None else None
    left: list[Uncompared] = uncompared(request, earlier, strict=fail_below is not None) if earlier is not None else []
    if svg is not None and not os.access(os.path.dirname(os.path.abspath(svg)), os.W_OK):
        # Better said now than after half an hour.
        raise UsageError(
            "it cannot be written there",
            path=os.fsencode(svg),
            operation="--svg",
            advice="Name a file in a folder of yours",
        )
    report: Report = suite.measure(request, (lambda _: None) if quiet else complain)
    compared: list[Comparison] = compare(report, earlier) if earlier is not None else []
    slow = [one for one in compared if fail_below is not None and one.speed < fail_below]
    code = ExitCode.REGRESSION if slow else ExitCode.OK
    if svg is not None:
        _write(svg, chart.svg(report))
    if as_json:
        print_document(document(report, compared, left, int(code)))
    elif not quiet:
        say(*table.lines(report, compared, left))
    for one in slow:
        complain(
            f"ingest: bench: {one.workload}, {one.contender}: {one.speed:.2f} of the baseline's speed, below {fail_below}"
        )
    return int(code)


def _write(path: str, text: str) -> None:
    try:
        Path(os.fsdecode(path)).write_text(text, encoding="utf-8")
    except OSError as error:
        raise from_os_error(error, "--svg", os.fsencode(path), "Name a file in a folder of yours") from error
