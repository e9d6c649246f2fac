"""The meter: true progress, at most so often, never backwards.

Work is counted in bytes written and bytes read back, over all destinations, as the workers' shared pages tell
it; files as they end.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Final

from ingest.monitor import Progress

if TYPE_CHECKING:
    from ingest.model.item import Item
    from ingest.model.states import SessionState
    from ingest.monitor import Monitor

# The heartbeat: more than the two a second that are promised, few enough to cost nothing.
EVERY: Final = 0.25
# The rate is that of the last seconds: long enough to be calm, short enough to show that a disk slows down.
WINDOW: Final = 10.0


class Meter:
    """Tells a monitor how far a phase is."""

    def __init__(self, monitor: Monitor, phase: SessionState, files: int = 0, work: int = 0) -> None:
        self._monitor = monitor
        self._phase = phase
        self._files = files
        self._work = work
        self._done = 0
        self._shown = 0.0
        self._samples: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])

    def found(self, items: list[Item]) -> None:
        """A scan found more."""
        self._files += len(items)
        self._work += sum(item.size for item in items)
        if self._due():
            self._monitor.progress(Progress(str(self._phase), 0, self._files, 0, self._work, 0.0, None))

    def show(self, written: int, proven: int, files: int, current: tuple[bytes, ...]) -> None:
        """Bytes written and read back so far, files that have ended, paths being worked on."""
        if not self._due():
            return
        now = time.monotonic()
        # A part that is copied again was counted before: the total grows, what is done never shrinks.
        self._done = max(self._done, written + proven)
        self._work = max(self._work, self._done)
        self._samples.append((now, self._done))
        while len(self._samples) > 2 and now - self._samples[0][0] > WINDOW:
            self._samples.popleft()
        since, before = self._samples[0]
        rate = (self._done - before) / (now - since) if now > since else 0.0
        eta = (self._work - self._done) / rate if rate > 0 else None
        self._monitor.progress(
            Progress(str(self._phase), files, max(self._files, files), self._done, self._work, rate, eta, current)
        )

    def _due(self) -> bool:
        now = time.monotonic()
        if now - self._shown < EVERY:
            return False
        self._shown = now
        return True
