"""What a session says while it works. Nothing below the surfaces prints; everything is told to a Monitor."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol

from ingest.model.states import SessionState

if TYPE_CHECKING:
    from ingest.model.event import Event
    from ingest.model.item import CopyRecord
    from ingest.model.session import SessionReport


# Phases in which it is not known yet what there is to do.
BEFORE: Final = frozenset({SessionState.PENDING, SessionState.SCANNING, SessionState.PLANNING})


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a session stands.

    Attributes:
        phase: the session's state. files_done, files: items that have ended, in this run or an earlier one, of those found
            so far.
        work_done, work: bytes written, read back and compared with what stands there already, summed over destinations,
            of what this call has to do; neither falls while files are copied. Before that, work is what the scan has found.
        rate: bytes of work per second, lately. eta: seconds, None while unknown.
        current: paths being worked on, one for each thread of a worker that has its own.
    """

    phase: str
    files_done: int
    files: int
    work_done: int
    work: int
    rate: float
    eta: float | None
    current: tuple[bytes, ...] = ()


class Monitor(Protocol):
    """Somebody who watches. Called often, one call at a time; must not block for long and must not raise.

    Calls come from more than one thread: while the session's own waits for a disk, progress is still told.
    """

    @property
    def each(self) -> bool:
        """Whether it wants to be told of every copy (`ended`): where nobody does, that costs nothing."""

    def started(self, session: str, sources: tuple[bytes, ...], destinations: tuple[bytes, ...]) -> None:
        """A session began or was taken up."""

    def progress(self, progress: Progress) -> None:
        """At least twice a second while work goes on."""

    def ended(self, record: CopyRecord, root: bytes) -> None:
        """A copy met its end."""

    def happened(self, event: Event) -> None:
        """Something that the session's trail of events keeps; warnings among it, which are told as such, too."""

    def warning(self, text: str) -> None:
        """Something the user should know, that stops nothing."""

    def waiting(self, places: tuple[bytes, ...], since: float, why: str) -> None:
        """The session waits for these sources and destinations, since this time (seconds since the epoch)."""

    def finished(self, report: SessionReport) -> None:
        """The session is over, for this run."""


class Silent:
    """Watches nothing."""

    @property
    def each(self) -> bool:
        """No."""
        return False

    def started(self, session: str, sources: tuple[bytes, ...], destinations: tuple[bytes, ...]) -> None:
        """Nothing."""

    def progress(self, progress: Progress) -> None:
        """Nothing."""

    def ended(self, record: CopyRecord, root: bytes) -> None:
        """Nothing."""

    def happened(self, event: Event) -> None:
        """Nothing."""

    def warning(self, text: str) -> None:
        """Nothing."""

    def waiting(self, places: tuple[bytes, ...], since: float, why: str) -> None:
        """Nothing."""

    def finished(self, report: SessionReport) -> None:
        """Nothing."""


class OneAtATime:
    """A monitor that several threads may call: their calls take turns."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._turn = threading.Lock()

    def leave_off(self) -> None:
        """Hand nothing on any more; a call that is under way is not waited for."""
        self._monitor = Silent()

    @property
    def each(self) -> bool:
        """As it says."""
        return self._monitor.each

    def started(self, session: str, sources: tuple[bytes, ...], destinations: tuple[bytes, ...]) -> None:
        """Handed on."""
        with self._turn:
            self._monitor.started(session, sources, destinations)

    def progress(self, progress: Progress) -> None:
        """Handed on."""
        with self._turn:
            self._monitor.progress(progress)

    def ended(self, record: CopyRecord, root: bytes) -> None:
        """Handed on."""
        with self._turn:
            self._monitor.ended(record, root)

    def happened(self, event: Event) -> None:
        """Handed on."""
        with self._turn:
            self._monitor.happened(event)

    def warning(self, text: str) -> None:
        """Handed on."""
        with self._turn:
            self._monitor.warning(text)

    def waiting(self, places: tuple[bytes, ...], since: float, why: str) -> None:
        """Handed on."""
        with self._turn:
            self._monitor.waiting(places, since, why)

    def finished(self, report: SessionReport) -> None:
        """Handed on."""
        with self._turn:
            self._monitor.finished(report)


class InOne(OneAtATime):
    """Several runs of one session, told as one: what an earlier run did stays done, whatever the next one starts with."""

    def __init__(self, monitor: Monitor) -> None:
        super().__init__(monitor)
        self._last: Progress | None = None
        self._floor: Progress | None = None

    def started(self, session: str, sources: tuple[bytes, ...], destinations: tuple[bytes, ...]) -> None:
        """Another run begins, on top of what was told last."""
        self._floor = self._last
        super().started(session, sources, destinations)

    def progress(self, progress: Progress) -> None:
        """What this run does is added to what was done before it."""
        floor = self._floor
        if floor is not None:
            done = floor.work_done + progress.work_done
            before = progress.phase in BEFORE
            over = not before and (progress.work_done, progress.files_done) == (progress.work, progress.files)
            # A run may have less to do than was left, where somebody else did it: the end puts that right.
            work = done if over else max(floor.work, done if before else floor.work_done + progress.work)
            files, ended = max(floor.files, progress.files), max(floor.files_done, progress.files_done)
            progress = replace(progress, files=files, files_done=ended, work_done=done, work=work)
        self._last = progress
        super().progress(progress)
