"""The meter: true progress, at least twice a second, never backwards.

Work is counted in bytes written, read back and compared, over all destinations, as the shared pages of those who do it
tell; files as they end, in whichever run they did. A pulse of its own keeps telling while the supervisor's thread waits
for a disk.

What is not promised: that the total is right before the end. A file that fails was counted in and needs no bytes; one
that reads back wrong, or stands there with other bytes, is made, for which the total grows. `end` puts it right.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final, Self

from ingest.model.states import SessionState
from ingest.monitor import BEFORE, Progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from ingest.model.item import Item
    from ingest.monitor import Monitor

# The heartbeat: more than the two a second that are promised, few enough to cost nothing.
EVERY: Final = 0.25
# The rate is that of the last seconds: long enough to be calm, short enough to show that a disk slows down.
WINDOW: Final = 10.0
# Nothing is foretold from less than this.
CALM: Final = 1.0
# What would take longer than a month at this pace stands still.
LONGEST: Final = 30 * 86_400.0
# A terminal that does not take what is written to it holds up the pulse, but not the end of a session.
PATIENCE: Final = 1.0


def _nothing() -> int:
    return 0


class Meter:
    """Tells a monitor how far a session is. Inside its `with` block it has a pulse.

    The monitor is called from the pulse too: give it one that takes turns (`monitor.OneAtATime`).
    """

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._lock = threading.Lock()
        self._telling = threading.Lock()
        self._over = threading.Event()
        self._pulse: threading.Thread | None = None
        self._phase = str(SessionState.PENDING)
        self._files = self._files_done = 0
        # Of what is done, `_before` was so before what is counted now.
        self._work = self._done = self._before = 0
        self._current: tuple[bytes, ...] = ()
        self._counter: Callable[[], int] = _nothing
        self._samples: deque[tuple[float, int]] = deque()
        self._shown = time.monotonic()

    def __enter__(self) -> Self:
        self._pulse = threading.Thread(target=self._beat, name="meter", daemon=True)
        self._pulse.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._pulse is not None:
            self._pulse.join(PATIENCE)

    def _beat(self) -> None:
        while not self._over.wait(EVERY / 2):
            self._tell()

    def enter(self, phase: SessionState) -> None:
        """Another phase begins; numbers stay what they are."""
        with self._lock:
            self._phase = str(phase)

    def found(self, items: list[Item]) -> None:
        """A scan found more."""
        with self._lock:
            self._files += len(items)
            self._work += sum(item.size for item in items)
        self._mention()

    def known(self, files: int, ended: int, size: int) -> None:
        """What an earlier run has found, and how many files have ended since."""
        with self._lock:
            self._files, self._work = files, size
            self._note(ended, ())

    def look(self, counter: Callable[[], int]) -> None:
        """Files are read before it is known what there is to do; `counter` as for `plan`."""
        with self._lock:
            self._count_on(counter)

    def plan(self, files: int, work: int, counter: Callable[[], int]) -> None:
        """So many files there are, so many bytes have to be written, read back and compared from now on.

        Args:
            counter: bytes of that work that are done; asked from any thread.
        """
        with self._lock:
            self._count_on(counter)
            self._files, self._work = files, self._before + work

    def show(self, files: int, current: tuple[bytes, ...]) -> None:
        """Files that have ended, paths being worked on."""
        with self._lock:
            self._note(files, current)
        self._mention()

    def end(self, files: int, *, whole: bool) -> None:
        """Nothing more will move. If all that was to do is done, the total is what was done, and that is told."""
        with self._lock:
            self._note(files, ())
            self._count()
            if whole:
                self._work = self._done
            self._before, self._counter = self._done, _nothing
        self._tell(due=True)

    def _count_on(self, counter: Callable[[], int]) -> None:
        self._count()
        self._before, self._counter = self._done, counter
        self._samples = deque([(time.monotonic(), self._done)])

    def _note(self, files: int, current: tuple[bytes, ...]) -> None:
        self._files_done = max(self._files_done, files)
        self._files = max(self._files, self._files_done)
        self._current = current

    def _count(self) -> None:
        # What a dead worker had under way is made again and counted again: until then what is done stands still.
        self._done = max(self._done, self._before + self._counter())
        self._work = max(self._work, self._done)

    def _mention(self) -> None:
        """Tell now, unless the pulse does: a terminal that takes nothing must not hold up whoever names files."""
        if self._pulse is None:
            self._tell()

    def _tell(self, *, due: bool = False) -> None:
        with self._telling:
            with self._lock:
                told = self._progress(due=due)
            if told is not None:
                self._monitor.progress(told)

    def _progress(self, *, due: bool) -> Progress | None:
        """What there is to tell; None if something was told a moment ago."""
        now = time.monotonic()
        if not due and now - self._shown < EVERY:
            return None
        self._shown = now
        self._count()
        rate, eta = self._pace(now)
        return Progress(self._phase, self._files_done, self._files, self._done, self._work, rate, eta, self._current)

    def _pace(self, now: float) -> tuple[float, float | None]:
        """Bytes a second, lately, and the seconds that are left at this pace; None where that is not known."""
        if not self._samples:
            return 0.0, None
        self._samples.append((now, self._done))
        while len(self._samples) > 2 and now - self._samples[0][0] > WINDOW:
            self._samples.popleft()
        since, before = self._samples[0]
        rate = (self._done - before) / (now - since) if now > since else 0.0
        left = self._work - self._done
        if self._phase in BEFORE:
            return rate, None
        if left <= 0 and self._files_done >= self._files:
            return rate, 0.0
        # With no bytes left and files still open, something is made again: how much is not known here.
        unknown = rate <= 0 or now - since < CALM or left <= 0
        eta = None if unknown else left / rate
        return rate, eta if eta is not None and eta <= LONGEST else None
