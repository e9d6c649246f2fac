"""The sentry: a thread that keeps watch over a session's places, while every other thread may hang in one of them."""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Self

from ingest.pipeline.watch import Down, Watch
from ingest.storage.identity import Footing
from ingest.storage.looking import Spot
from ingest.workers.prober import Prober

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ingest.pipeline.context import Work
    from ingest.storage.volumes import Volume

# How often it looks around: a fraction of the seconds that it reckons in.
TICK: Final = 0.1


class Sentry:
    """Asks, listens, and tells whoever wants to know. Use as a context manager: leaving it ends its process."""

    def __init__(self, places: Sequence[tuple[Spot, Footing | None]]) -> None:
        """Over these places, in the order by which they are named from now on; None: it takes no part."""
        self._prober = Prober([spot for spot, _ in places])
        self._watch = Watch([pinned for _, pinned in places], time.monotonic())
        self._lock = threading.Lock()
        self._down: dict[int, Down] = {}
        self._fresh: list[Down] = []
        self._moved: Callable[[], Sequence[float]] = lambda: [0.0] * len(places)
        self._broken: Exception | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="sentry", daemon=True)

    @classmethod
    def over(cls, work: Work) -> Self:
        """Over the sources and then the roots of a session, as `ingest.workers.messages.Setup` counts them."""
        places: list[tuple[Spot, Footing | None]] = [
            (Spot(root.path, archive=False, origin=_disk(volume)), Footing(root.dev, root.ino))
            for root, volume in zip(work.sources, work.volumes, strict=True)
        ]
        for place, one in zip(work.facts.roots, work.destinations, strict=True):
            if one is None:
                places.append((Spot(place.path, archive=True), None))
            else:
                spot = Spot(
                    place.path, archive=True, served=one.volume.served, origin=_disk(one.volume), marker=one.marker.uuid
                )
                places.append((spot, Footing(one.root.dev, one.root.ino, one.marker.uuid, one.volume.fs_uuid)))
        return cls(places)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @contextmanager
    def follow(self, moved: Callable[[], Sequence[float]]) -> Iterator[None]:
        """While inside, ask this for when the last byte moved at each place (`time.monotonic`)."""
        before, self._moved = self._moved, moved
        try:
            yield
        finally:
            self._moved = before

    def blame(self, place: int) -> None:
        """An item failed there, perhaps because of the place: have it looked at now."""
        with self._lock:
            self._watch.blame(place, time.monotonic())

    def certain(self, place: int, since: float) -> bool:
        """Whether it has been looked at and answered since (`time.monotonic`), so that a failure is the item's own."""
        with self._lock:
            return self._watch.certain(place, since)

    def doubted(self, place: int, since: float) -> bool:
        """Whether it did not answer, or not well, at any moment since: then an item's failure proves nothing."""
        with self._lock:
            return self._watch.doubted(place, since)

    def down(self, place: int) -> Down | None:
        """Why a place has to be waited for; None as long as it is there."""
        with self._lock:
            return self._down.get(place)

    def downs(self) -> list[Down]:
        """Every place that has gone down so far."""
        with self._lock:
            return list(self._down.values())

    def fresh(self) -> list[Down]:
        """The places that have gone down since this was last asked.

        Raises:
            Exception: what ended its thread, a bug: with nobody to say that a place is well, whoever failed there would
                wait for ever.
        """
        if self._broken is not None:
            raise self._broken
        with self._lock:
            fresh, self._fresh = self._fresh, []
            return fresh

    def _keep(self) -> None:
        try:
            while not self._over.wait(TICK):
                moved = self._moved()
                with self._lock:
                    self._look_around(moved)
        except Exception as error:  # noqa: BLE001 - it is raised again in the thread that asks
            self._broken = error
        finally:
            self._prober.stop()

    def _look_around(self, moved: Sequence[float]) -> None:
        now = time.monotonic()
        for place, look in self._watch.due(now):
            try:
                self._prober.ask(place, look)
            except OSError:
                # This machine has no room for one more process now; that says nothing of the place.
                self._watch.withdraw(place, look)
        for finding in self._prober.heard():
            self._watch.hear(finding, now)
        for down in self._watch.look(now, moved):
            self._down[down.place] = down
            self._fresh.append(down)


def _disk(volume: Volume) -> bytes | None:
    """The device file of the disk that a place lies on, where it can be seen: in a container it need not be."""
    origin = volume.mount.origin if volume.mount is not None else b""
    return origin if volume.block and origin.startswith(b"/dev/") and os.path.exists(origin) else None
