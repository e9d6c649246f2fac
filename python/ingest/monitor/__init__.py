"""What a session says while it works. Nothing below the surfaces prints; everything is told to a Monitor."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ingest.model.event import Event
    from ingest.model.item import CopyRecord
    from ingest.model.session import SessionReport


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a session stands.

    Attributes:
        phase: the session's state. files_done, files: items that have ended, of those found so far.
        work_done, work: bytes written and read back, summed over destinations, of what there is to do; neither
            falls while files are copied. Before that, work is what the scan has found.
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
