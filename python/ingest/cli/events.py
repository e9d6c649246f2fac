"""What a session says, as lines of JSON: events for programs that follow it, and a log for those who ask later.

One place for both: how a path is told (backslash-escaped, with `…_b64` where it is not UTF-8), how a line is written, and
what happens if it cannot be. A stream whose reader has gone, or whose disk is full, is given up with one warning: it
never stops what it tells of.
"""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any, Final

from ingest.cli.documents import moment, session_document
from ingest.cli.output import complain, path_fields, to_json
from ingest.cli.stop import interrupted, interruption
from ingest.cli.targets import open_target
from ingest.errors import ExitCode, IngestError, shown
from ingest.model.event import EventKind
from ingest.monitor import Progress, Silent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ingest.model.event import Event
    from ingest.model.item import CopyRecord
    from ingest.model.session import SessionReport

# A log tells so often how far it is (seconds).
_MINUTE: Final = 60.0
_LEVELS: Final = {
    EventKind.ROOT_PAUSED: "warning", EventKind.SOURCE_LOST: "warning", EventKind.SETBACK: "warning",
    EventKind.WORKER: "warning", EventKind.FAILURE: "error",
}  # fmt: skip


class _Stream:
    """Lines of JSON to a file or stdout, each whole and at once."""

    def __init__(self, stream: IO[str], what: str) -> None:
        self._stream = stream
        self._what = what
        self._deaf = False

    def write(self, line: dict[str, Any]) -> None:
        if self._deaf:
            return
        try:
            self._stream.write(to_json(line) + "\n")
            self._stream.flush()
        except OSError as error:
            # Whoever listened has gone, or its disk is full: that must not stop the copy.
            self._deaf = True
            complain(f"ingest: warning: {self._what} no longer written: {error.strerror}")


class Events(Silent):
    """One JSON object per line, while it happens."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = _Stream(stream, "events are")

    def _write(self, event: str, **fields: Any) -> None:
        self._stream.write({"event": event, "time": time.time(), **fields})

    def started(self, session: str, sources: tuple[bytes, ...], destinations: tuple[bytes, ...]) -> None:
        """`started`."""
        self._write("started", session=session, sources=_texts(sources), destinations=_texts(destinations))

    def progress(self, progress: Progress) -> None:
        """`progress`."""
        self._write("progress", **_progress(progress), current=_texts(progress.current))

    @property
    def each(self) -> bool:
        """Yes: each is a line."""
        return True

    def ended(self, record: CopyRecord, root: bytes) -> None:
        """`copy`: one copy met its end."""
        self._write("copy", **_copy(record, root))

    def warning(self, text: str) -> None:
        """`warning`."""
        self._write("warning", text=text)

    def waiting(self, places: tuple[bytes, ...], since: float, why: str) -> None:
        """`waiting`."""
        self._write("waiting", places=_texts(places), since=since, why=why)

    def finished(self, report: SessionReport) -> None:
        """`finished`, with the session's document."""
        self._write("finished", **session_document(report))


class Log(Silent):
    """A log: lines with `time` (UTC, ISO 8601), `level`, `event` and `session`, and what else there is to say."""

    def __init__(self, stream: IO[str], command: str) -> None:
        self._stream = _Stream(stream, "the log is")
        self._command = command
        self._session: str | None = None
        self._roots: tuple[bytes, ...] = ()
        self._told = ""
        self._last = time.monotonic()

    def line(self, level: str, event: str, **fields: Any) -> None:
        """Write a line; fields that are None are left out."""
        said = {name: value for name, value in fields.items() if value is not None}
        head = {"time": moment(time.time_ns()), "level": level, "event": event, "command": self._command}
        self._stream.write({**head, "session": self._session, **said})

    def failed(self, error: IngestError) -> None:
        """`error`: the command came to nothing, or not to its end."""
        path = path_fields(error.path) if error.path is not None else {}
        self.line("error", "error", **path, operation=error.operation or None, errno=error.errno or None, cause=error.cause,
                  advice=error.advice or None, exit_code=int(error.exit_code))  # fmt: skip

    def started(self, session: str, sources: tuple[bytes, ...], destinations: tuple[bytes, ...]) -> None:
        """`started`."""
        self._session, self._roots = session, destinations
        self.line("info", "started", sources=_texts(sources), destinations=_texts(destinations))

    def progress(self, progress: Progress) -> None:
        """`progress`, once a minute."""
        if time.monotonic() - self._last >= _MINUTE:
            self._last = time.monotonic()
            self.line("info", "progress", **_progress(progress))

    @property
    def each(self) -> bool:
        """Yes: each is a line."""
        return True

    def ended(self, record: CopyRecord, root: bytes) -> None:
        """`copy`: one copy arrived. Of those that did not, `failure` tells."""
        if record.state.arrived:
            self.line("info", "copy", **_copy(record, root), verify_method=record.verify_method)

    def happened(self, event: Event) -> None:
        """The event by its own name; warnings come as such."""
        if event.kind is EventKind.WARNING:
            return
        self._told = event.told
        self.line(
            _LEVELS.get(event.kind, "info"), str(event.kind), run=event.run,
            **(path_fields(event.path) if event.path is not None else {}),
            **(path_fields(self._roots[event.root], "root") if event.root is not None else {}), item=event.item,
            operation=event.operation, errno=event.errno or None, cause=event.told,
        )  # fmt: skip

    def warning(self, text: str) -> None:
        """`warning`, unless it says again what was said just now."""
        if text != self._told:
            self.line("warning", "warning", cause=text)

    def waiting(self, places: tuple[bytes, ...], since: float, why: str) -> None:
        """`waiting`."""
        self.line("warning", "waiting", places=_texts(places), since=moment(int(since * 1e9)), cause=why)

    def finished(self, report: SessionReport) -> None:
        """`finished`: the counts; all else is in the session's document."""
        level = "info" if report.exit_code is ExitCode.OK else "warning" if report.state.paused else "error"
        self.line(level, "finished", state=str(report.state), exit_code=int(report.exit_code), items=report.items,
                  bytes=report.bytes, seconds=report.seconds, cause=report.problem)  # fmt: skip


@contextmanager
def opened(target: str | None, option: str, places: Sequence[bytes] = ()) -> Iterator[IO[str] | None]:
    """The stream of ``--events`` or ``--log-file``: a file (appended to), ``-`` for stdout, None for none.

    Args:
        places: what the command reads and writes; no such file may lie in any of them.

    Raises:
        UsageError: it is no file for this. IngestError: it cannot be opened.
    """
    if target is None:
        yield None
    elif target == "-" and option == "--events":
        yield sys.stdout
    else:
        stream = open_target(target, option, places)
        try:
            yield stream
        finally:
            with suppress(OSError):  # it was said when it happened; what could not be written then cannot be now
                stream.close()


@contextmanager
def logged(target: str | None, command: str, places: Sequence[bytes]) -> Iterator[Log | None]:
    """The log of a command, None without ``--log-file``; an error that ends the command is its last line.

    Args:
        places: its sources, destinations and archives.

    Raises:
        UsageError: it is no file for this. IngestError: it cannot be opened.
    """
    with opened(target, "--log-file", places) as stream:
        log = Log(stream, command) if stream is not None else None
        try:
            yield log
        except BaseException as error:
            if log is not None and (interrupted(error) or isinstance(error, IngestError)):
                log.failed(error if isinstance(error, IngestError) and not interrupted(error) else interruption())
            raise


def _progress(progress: Progress) -> dict[str, Any]:
    return {
        "phase": progress.phase, "files_done": progress.files_done, "files": progress.files,
        "work_done": progress.work_done, "work": progress.work, "rate": round(progress.rate), "eta": progress.eta,
    }  # fmt: skip


def _copy(record: CopyRecord, root: bytes) -> dict[str, Any]:
    return {
        **path_fields(record.source_path, "source_path"), **path_fields(record.path or b""), "root": shown(root),
        "state": str(record.state), "reason": record.reason, "size": record.size,
        "blake3": record.blake3.hex() if record.blake3 else None,
    }  # fmt: skip


def _texts(paths: Sequence[bytes]) -> list[str]:
    return [path.decode("utf-8", "backslashreplace") for path in paths]
