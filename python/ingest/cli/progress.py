"""Progress for people: bars on a terminal, plain lines elsewhere, events for machines. All on stderr or a file."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any

from ingest.cli.documents import session_document
from ingest.cli.output import complain, duration, give_up_stderr, path_fields, size, to_json
from ingest.errors import from_os_error, plain, shown
from ingest.model.states import SessionState
from ingest.monitor import Monitor, Progress, Silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ingest.model.item import CopyRecord
    from ingest.model.session import SessionReport

# Phases in which nothing is copied yet: there is no share of the work to show.
_BEFORE = frozenset({SessionState.PENDING, SessionState.SCANNING, SessionState.PLANNING})
# Lines in a log want to be few.
_LINE_SECONDS = 10.0


@contextmanager
def _unheard() -> Iterator[None]:
    try:
        yield
    except OSError:
        give_up_stderr()


class Lines(Silent):
    """A line now and then, for logs."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def progress(self, progress: Progress) -> None:
        """Where it stands, every ten seconds."""
        if time.monotonic() - self._last < _LINE_SECONDS:
            return
        self._last = time.monotonic()
        if progress.phase in _BEFORE:
            found = f"{progress.files:,} files, {size(progress.work)} found" if progress.files else "looking"
            complain(f"{progress.phase}: {found}")
            return
        rest = f", {duration(progress.eta)} left" if progress.eta is not None else ""
        complain(
            f"{progress.phase}: {progress.files_done:,} of {progress.files:,} files, "
            f"{size(progress.work_done)} of {size(progress.work)} written and read back, {size(progress.rate)}/s{rest}"
        )

    def waiting(self, places: tuple[bytes, ...], since: float, why: str) -> None:
        """At once."""
        complain(_waiting(places, since, why))

    def warning(self, text: str) -> None:
        """At once."""
        complain(f"ingest: warning: {text}")


class Bars(Silent):
    """A bar that moves."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as RichProgress

        self._bar = RichProgress(
            TextColumn("{task.description:<10}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[files]}"), TextColumn("{task.fields[rate]}"), TextColumn("{task.fields[eta]}"),
            TextColumn("{task.fields[current]}", markup=False), console=Console(stderr=True), transient=True, auto_refresh=False,
        )  # fmt: skip
        self._task = self._bar.add_task("starting", total=None, files="", rate="", eta="", current="")

    def started(self, session: str, sources: tuple[bytes, ...], destinations: tuple[bytes, ...]) -> None:
        """The bar appears."""
        del session, sources, destinations
        with _unheard():
            self._bar.start()

    def progress(self, progress: Progress) -> None:
        """The bar moves."""
        with _unheard():
            self._show(progress)

    def _show(self, progress: Progress) -> None:
        before = progress.phase in _BEFORE
        current = shown(progress.current[0].rpartition(b"/")[2])[:40] if progress.current else ""
        if len(progress.current) > 1:
            current += f" and {len(progress.current) - 1} more"
        self._bar.update(
            self._task, description=progress.phase, total=None if before else progress.work or None,
            completed=progress.work_done,
            files=f"{progress.files:,} files" if before else f"{progress.files_done:,}/{progress.files:,} files",
            rate=f"{size(progress.rate)}/s" if progress.rate else "",
            eta=f"{duration(progress.eta)} left" if progress.eta is not None else "", current=current, refresh=True,
        )  # fmt: skip

    def waiting(self, places: tuple[bytes, ...], since: float, why: str) -> None:
        """A line of its own: the bar has gone."""
        complain(_waiting(places, since, why))

    def warning(self, text: str) -> None:
        """Above the bar."""
        with _unheard():
            self._bar.console.print(f"warning: {plain(text)}", style="yellow", markup=False, highlight=False)

    def finished(self, report: SessionReport) -> None:
        """The bar goes."""
        del report
        self.close()

    def close(self) -> None:
        """Leave the terminal as it was."""
        with _unheard():
            self._bar.stop()


class Events(Silent):
    """One JSON object per line, while it happens."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._deaf = False

    def _write(self, event: str, **fields: Any) -> None:
        if self._deaf:
            return
        try:
            self._stream.write(to_json({"event": event, "time": time.time(), **fields}) + "\n")
            self._stream.flush()
        except OSError as error:
            # Whoever listened has gone, or its disk is full: that must not stop the copy.
            self._deaf = True
            complain(f"ingest: warning: events are no longer written: {error.strerror}")

    def started(self, session: str, sources: tuple[bytes, ...], destinations: tuple[bytes, ...]) -> None:
        """`started`."""
        self._write("started", session=session, sources=_texts(sources), destinations=_texts(destinations))

    def progress(self, progress: Progress) -> None:
        """`progress`."""
        self._write(
            "progress", phase=progress.phase, files_done=progress.files_done, files=progress.files, work_done=progress.work_done,
            work=progress.work, rate=round(progress.rate), eta=progress.eta,
            current=_texts(progress.current),
        )  # fmt: skip

    @property
    def each(self) -> bool:
        """Yes: each is a line."""
        return True

    def ended(self, record: CopyRecord, root: bytes) -> None:
        """`copy`: one copy met its end."""
        self._write(
            "copy", **path_fields(record.source_path, "source_path"), **path_fields(record.path or b""), root=shown(root),
            state=str(record.state), reason=record.reason, size=record.size, blake3=record.blake3.hex() if record.blake3 else None,
        )  # fmt: skip

    def warning(self, text: str) -> None:
        """`warning`."""
        self._write("warning", text=text)

    def waiting(self, places: tuple[bytes, ...], since: float, why: str) -> None:
        """`waiting`."""
        self._write("waiting", places=_texts(places), since=since, why=why)

    def finished(self, report: SessionReport) -> None:
        """`finished`, with the session's document."""
        self._write("finished", **session_document(report))


def _waiting(places: tuple[bytes, ...], since: float, why: str) -> str:
    names = ", ".join(shown(path) for path in places) or "everything to be at rest"
    return f"waiting for {names} since {time.strftime('%H:%M:%S', time.localtime(since))} ({why})"


def _texts(paths: Sequence[bytes]) -> list[str]:
    return [path.decode("utf-8", "backslashreplace") for path in paths]


class Both:
    """Several monitors as one."""

    def __init__(self, monitors: Sequence[Monitor]) -> None:
        self._monitors = monitors

    def started(self, session: str, sources: tuple[bytes, ...], destinations: tuple[bytes, ...]) -> None:
        """To all."""
        for monitor in self._monitors:
            monitor.started(session, sources, destinations)

    def progress(self, progress: Progress) -> None:
        """To all."""
        for monitor in self._monitors:
            monitor.progress(progress)

    @property
    def each(self) -> bool:
        """If one of them does."""
        return any(monitor.each for monitor in self._monitors)

    def ended(self, record: CopyRecord, root: bytes) -> None:
        """To all."""
        for monitor in self._monitors:
            monitor.ended(record, root)

    def warning(self, text: str) -> None:
        """To all."""
        for monitor in self._monitors:
            monitor.warning(text)

    def waiting(self, places: tuple[bytes, ...], since: float, why: str) -> None:
        """To all."""
        for monitor in self._monitors:
            monitor.waiting(places, since, why)

    def finished(self, report: SessionReport) -> None:
        """To all."""
        for monitor in self._monitors:
            monitor.finished(report)


@contextmanager
def _opened(target: str | None) -> Iterator[IO[str] | None]:
    """The stream of ``--events``: a file (appended to), ``-`` for stdout, None for none.

    Raises:
        IngestError: the file cannot be opened.
    """
    if target is None:
        yield None
    elif target == "-":
        yield sys.stdout
    else:
        try:
            stream = open(target, "a", encoding="utf-8")  # noqa: SIM115 - closed below; only opening is translated
        except OSError as error:
            raise from_os_error(error, "--events") from error
        try:
            yield stream
        finally:
            with suppress(OSError):  # it was said when it happened; what could not be written then cannot be now
                stream.close()


@contextmanager
def counting(verb: str, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A line that counts files and bytes: rewritten on a terminal, now and then elsewhere."""
    terminal = sys.stderr.isatty()
    last = time.monotonic()

    def show(files: int, amount: int) -> None:
        nonlocal last
        if quiet or time.monotonic() - last < (0.25 if terminal else _LINE_SECONDS):
            return
        last = time.monotonic()
        line = f"{files:,} files, {size(amount)} {verb}"
        sys.stderr.write(f"\r{line}\x1b[K" if terminal else line + "\n")
        sys.stderr.flush()

    try:
        yield show
    finally:
        if terminal and not quiet:
            sys.stderr.write("\r\x1b[K")


@contextmanager
def watching(*, quiet: bool, events: str | None = None) -> Iterator[Monitor]:
    """The monitor for this command: a bar if somebody looks, lines if not, nothing if asked; events beside it.

    Raises:
        IngestError: the events file cannot be opened.
    """
    shown_to: Silent = Silent() if quiet else Bars() if sys.stderr.isatty() else Lines()
    with _opened(events) as stream:
        try:
            yield shown_to if stream is None else Both([shown_to, Events(stream)])
        finally:
            if isinstance(shown_to, Bars):
                shown_to.close()  # also after an error: it gives the terminal its cursor back
