"""Patience: copies that failed in a way that may pass wait here for a moment, and for the word on where they failed."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from ingest.engine import Failed

# Seconds before each further try (seed 000, and the specification's section 5).
DELAYS: Final = (1.0, 3.0, 5.0)
# Each is longer or shorter by up to this share, so that what failed together does not come back together.
JITTER: Final = 0.2
# A failure that is to be the last one waits only for the word on its place.
LAST: Final = 0.2


@dataclass(frozen=True, slots=True, order=True)
class Waiting:
    """A copy, or several of one item that were made in one read, and what befell them.

    Attributes:
        due, since: when it is to be judged, and when it failed, in seconds on the caller's clock.
        place: where it failed, as the sentry counts places. item: its number. roots: the destinations concerned.
        source: the fault is the source's, not a root's.
    """

    due: float
    order: int
    since: float = field(compare=False)
    place: int = field(compare=False)
    item: int = field(compare=False)
    roots: tuple[int, ...] = field(compare=False)
    fault: Failed = field(compare=False)
    source: bool = field(compare=False)


class Patience:
    """Who waits, in the order in which their time comes."""

    def __init__(self, delays: tuple[float, ...] = DELAYS, random: Random | None = None) -> None:
        self._delays = delays
        self._random = random or Random()  # noqa: S311 - it spreads, it hides nothing
        self._heap: list[Waiting] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def tries(self) -> int:
        """Attempts that a copy has in all."""
        return len(self._delays) + 1

    def put(
        self, now: float, attempts: int, place: int, item: int, roots: tuple[int, ...], fault: Failed, *, source: bool
    ) -> None:
        """Let copies of an item wait that failed for the nth time (`attempts` counts this one)."""
        last = attempts > len(self._delays)
        delay = LAST if last else self._delays[attempts - 1] * (1 + JITTER * self._random.uniform(-1, 1))
        self._count += 1
        heapq.heappush(self._heap, Waiting(now + delay, self._count, now, place, item, roots, fault, source))

    def take(self, now: float, ripe: Callable[[Waiting], bool]) -> list[Waiting]:
        """Those whose time has come and for whom `ripe` says that they can be judged."""
        taken: list[Waiting] = []
        kept: list[Waiting] = []
        while self._heap and self._heap[0].due <= now:
            one = heapq.heappop(self._heap)
            (taken if ripe(one) else kept).append(one)
        for one in kept:
            heapq.heappush(self._heap, one)
        return taken

    def all(self) -> list[Waiting]:
        """Everyone, at once: nobody waits any longer."""
        everyone, self._heap = self._heap, []
        return everyone
