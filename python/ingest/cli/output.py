"""How things are said: one JSON document for machines, sentences for people, errors for both."""

from __future__ import annotations

import base64
import io
import json
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from ingest.errors import IngestError, plain, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


# The stdout on which something stands already: two halves make no document.
_begun: list[object] = []


class UnheardError(IngestError):
    """Standard output cannot be written: it is full, or nobody listens any more."""


def put(text: str) -> None:
    """Text on stdout.

    Raises:
        UnheardError: it cannot be written.
    """
    _begun[:] = [sys.stdout]
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        # Python would try to flush the rest once more at its end, and fail once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise UnheardError(
            f"standard output cannot be written: {error.strerror}", operation="write", errno=error.errno or 0,
            advice="What was copied is told by: ingest sessions. What only looks can be run again, its output to where there is room",
        ) from error  # fmt: skip


def wants_json() -> bool:
    """Whether the command line asks for JSON; known before it is understood, so that errors obey too."""
    return "--json" in sys.argv[1:]


def prepare_streams() -> None:
    """Documents are UTF-8 whatever the terminal speaks; what it cannot show of the rest is escaped.

    Streams that were closed when the program was started lead nowhere from now on: the next file that is opened would have
    their number otherwise, and be written to.
    """
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115 - until the end
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    machines = wants_json() or "--csv" in sys.argv[1:] or "--events" in sys.argv[1:]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            encoding = "utf-8" if machines and stream is sys.stdout else stream.encoding
            with suppress(OSError):  # it asks where the stream stands; one that cannot be written is found when it is
                stream.reconfigure(encoding=encoding, errors="backslashreplace")


def to_json(document: Any) -> str:
    """As JSON, exact for who reads it, and harmless on a terminal: what that would obey is written as an escape."""
    text = json.dumps(document, ensure_ascii=False, default=str)
    return text if text.isprintable() else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def print_document(document: Any) -> None:
    """One JSON document on stdout."""
    put(to_json(document) + "\n")


def say(*lines: str) -> None:
    """Sentences for people, on stdout, one on each line whatever is in them."""
    put("".join("\t".join(plain(cell) for cell in line.split("\t")) + "\n" for line in lines))


def complain(line: str) -> None:
    """A sentence on stderr; if nobody reads it any more, it and all that follow are lost, and nothing else."""
    try:
        sys.stderr.write(plain(line) + "\n")
        sys.stderr.flush()
    except OSError:
        give_up_stderr()


def give_up_stderr() -> None:
    """Let stderr lead nowhere: a terminal that closed must not end the copy that it was started from."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def print_error(error: IngestError) -> None:
    """An error: one line on stderr, and with --json the document on stdout, unless there is the beginning of another."""
    if os.environ.get("INGEST_DEBUG"):
        import traceback

        traceback.print_exc()
    complain(f"ingest: {error}")
    if wants_json() and sys.stdout not in _begun and not isinstance(error, UnheardError):
        document = {
            "error": {
                **(path_fields(error.path) if error.path is not None else {"path": None}),
                "operation": error.operation, "errno": error.errno, "cause": error.cause, "advice": error.advice,
            },
            "exit_code": int(error.exit_code),
        }  # fmt: skip
        with suppress(UnheardError):  # the line on stderr has said it
            print_document(document)


def path_fields(path: bytes, name: str = "path") -> dict[str, str]:
    """A path for JSON: as text, and where it is not UTF-8 also as base64 of its bytes."""
    text = path.decode("utf-8", "backslashreplace")
    try:
        path.decode("utf-8")
    except UnicodeDecodeError:
        return {name: text, f"{name}_b64": base64.b64encode(path).decode("ascii")}
    return {name: text}


def size(amount: float) -> str:
    """Bytes for people, in decimal units as disks are sold."""
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if amount < 1000 or unit == "TB":
            return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1000
    raise AssertionError


def duration(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def number(amount: int, one: str, many: str | None = None) -> str:
    """`1 file`, `2 files`."""
    return f"{amount:,} {one if amount == 1 else many or one + 's'}"


def listed(paths: Iterable[bytes]) -> str:
    """Paths in a sentence."""
    return ", ".join(shown(path) for path in paths)


# More ranges of one file are only counted: the document has them all.
_RANGES_TOLD: Final = 5


def ranges_told(ranges: Sequence[tuple[int, int]]) -> list[str]:
    """Byte ranges of a file, [start, end), a line each."""
    lines = [f"         bytes {start:,} to {end:,} ({size(end - start)})" for start, end in ranges[:_RANGES_TOLD]]
    if len(ranges) > _RANGES_TOLD:
        lines.append(f"         and {len(ranges) - _RANGES_TOLD:,} more ranges")
    return lines
