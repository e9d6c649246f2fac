"""The prober: a process that looks at places, because looking may hang.

A place whose server is frozen gives no errno: whoever looks at it stands in the kernel, perhaps for ever, where no signal
reaches it, and so does the end of its process. So one process does nothing but look, with a thread for each look. Its pipe
answers as soon as the kernel does; what does not come within its time is for whoever asked to judge. The process may be
left behind, like any other.
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ingest.storage.looking import Look, Spot, looked
from ingest.workers import process

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

# Looks at one place that the kernel has not answered: more of them would learn nothing more.
MOST_HANGING: Final = 3
# A place that says nothing for so long does not answer: the specification's deadline of a probe, in seconds.
SILENCE: Final = 10.0


@dataclass(frozen=True, slots=True)
class Finding:
    """An answer: at which place somebody looked, which of the looks that were asked for it was, and what was seen."""

    spot: int
    number: int
    seen: Look


class Prober:
    """The side of whoever asks. The process starts with the first question."""

    def __init__(self, spots: Sequence[Spot]) -> None:
        """To look at these places, which are named by their position."""
        self._spots = tuple(spots)
        self._process: SpawnProcess | None = None
        self._pipe: Connection | None = None

    def ask(self, spot: int, number: int) -> None:
        """Have a place looked at; the answers carry the number.

        Raises:
            OSError: there is no room for one more process.
        """
        if self._pipe is None:
            self._start()
        assert self._pipe is not None  # noqa: S101 - it was just started
        try:
            self._pipe.send((spot, number))
        except OSError:
            self.stop()  # it died (somebody's kill): the next question starts another one

    def heard(self, patience: float = 0.0) -> list[Finding]:
        """What was answered since, waiting for the first of it at most so long (seconds)."""
        found: list[Finding] = []
        try:
            while self._pipe is not None and self._pipe.poll(0.0 if found else max(0.0, patience)):
                found.append(self._pipe.recv())
        except (EOFError, OSError):
            self.stop()
        return found

    @property
    def alive(self) -> bool:
        """Whether there is somebody to answer what was asked."""
        return self._pipe is not None

    def stop(self) -> None:
        """End the process; one that the kernel keeps is left behind."""
        if self._pipe is not None:
            self._pipe.close()
        if self._process is not None:
            self._process.kill()
            self._process.join(0.2)
            process.abandon(self._process)
        self._process = self._pipe = None

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        prober = context.Process(
            target=_live, args=(theirs, self._spots, os.getpid()), name="ingest-prober", daemon=True
        )
        try:
            with process.quiet_start():
                prober.start()
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._process, self._pipe = prober, ours


def visit(spots: Sequence[Spot], silence: float = SILENCE) -> list[Look]:
    """Look at places once, all at the same time; what was seen, in their order.

    Args:
        silence: seconds without any answer after which the rest is given up (ETIMEDOUT).

    Raises:
        OSError: there is no room for a process more.
    """
    seen: dict[int, Look] = {}
    waited_for = set(range(len(spots)))
    silent = f"it has not answered for {silence:g} seconds"
    prober = Prober(spots)
    try:
        for spot in sorted(waited_for):
            prober.ask(spot, 1)
        limit = time.monotonic() + silence
        while waited_for and (heard := prober.heard(limit - time.monotonic())):
            for found in heard:
                seen[found.spot] = found.seen
                waited_for -= {found.spot} if found.seen.whole else set()
            limit = time.monotonic() + silence
        if not prober.alive:
            silent = "whoever looked there died"
    finally:
        prober.stop()
    return [seen.get(number) or Look(spot.path, silent, errno.ETIMEDOUT) for number, spot in enumerate(spots)]


def _live(pipe: Connection, spots: tuple[Spot, ...], parent: int) -> None:
    """The process: a thread for each look, until nobody listens any more."""
    process.settle_in(parent)
    books = threading.Lock()
    hanging = [0] * len(spots)

    def tell(spot: int, number: int, seen: Look) -> None:
        with books, suppress(OSError):
            hanging[spot] -= seen.whole
            pipe.send(Finding(spot, number, seen))

    def answer(spot: int, number: int) -> None:
        try:
            for seen in looked(spots[spot]):
                tell(spot, number, seen)
        except Exception as error:  # noqa: BLE001 - this process has no other way to tell of a bug
            tell(spot, number, Look(spots[spot].path, f"{type(error).__name__}: {error}", errno.EIO))

    with suppress(EOFError, OSError):
        while True:
            spot, number = pipe.recv()
            with books:
                wanted = hanging[spot] < MOST_HANGING
                hanging[spot] += wanted
            if wanted:
                threading.Thread(target=answer, args=(spot, number), daemon=True).start()
    os._exit(0)
