"""Progress for people: bars on a terminal, plain lines elsewhere, events for machines. All on stderr or a file."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ingest.cli.events import Events, opened
from ingest.cli.output import complain, duration, give_up_stderr, size
from ingest.errors import plain, shown
from ingest.monitor import BEFORE, Monitor, Progress, Silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ingest.cli.events import Log
    from ingest.model.event import Event
    from ingest.model.item import CopyRecord
    from ingest.model.session import SessionReport

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
        if progress.phase in BEFORE:
            found = f"{progress.files:,} files, {size(progress.work)} found" if progress.files else "looking"
            read = f", {size(progress.work_done)} compared, {size(progress.rate)}/s" if progress.work_done else ""
            complain(f"{progress.phase}: {found}{read}")
            return
        rest = f", {duration(progress.eta)} left" if progress.eta is not None else ""
        complain(
            f"{progress.phase}: {progress.files_done:,} of {progress.files:,} files, "
            f"{size(progress.work_done)} of {size(progress.work)} written, read back and compared, {size(progress.rate)}/s{rest}"
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
        before = progress.phase in BEFORE
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


def _waiting(places: tuple[bytes, ...], since: float, why: str) -> str:
    names = ", ".join(shown(path) for path in places) or "everything to be at rest"
    return f"waiting for {names} since {time.strftime('%H:%M:%S', time.localtime(since))} ({why})"


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

    def happened(self, event: Event) -> None:
        """To all."""
        for monitor in self._monitors:
            monitor.happened(event)

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
def watching(
    *, quiet: bool, events: str | None = None, log: Log | None = None, places: Sequence[bytes] = ()
) -> Iterator[Monitor]:
    """The monitor for this command: a bar if somebody looks, lines if not, nothing if asked; events and log beside it.

    Args:
        places: its sources, destinations and archives, where no events are written.

    Raises:
        UsageError: the events' file is none for this. IngestError: it cannot be opened.
    """
    shown_to: Silent = Silent() if quiet else Bars() if sys.stderr.isatty() else Lines()
    with opened(events, "--events", places) as stream:
        others = [*([Events(stream)] if stream is not None else []), *([log] if log is not None else [])]
        try:
            yield Both([shown_to, *others]) if others else shown_to
        finally:
            if isinstance(shown_to, Bars):
                shown_to.close()  # also after an error: it gives the terminal its cursor back
