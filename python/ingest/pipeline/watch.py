"""The watch: which sources and roots of a session are still there. Judged by looks from another process, not by errnos alone.

A dying card and a cut cable can give the same EIO, and a frozen server gives none. So every place is looked at every
few seconds, and at once when an item has failed there; only when the place itself does not answer, or answers as
another one, is it taken out of the session. No input or output here, and no clock of its own.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Final

from ingest.storage.identity import replaced

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest.storage.identity import Footing
    from ingest.storage.looking import Look
    from ingest.workers.prober import Finding

# A look at every place so often, and each may take so long; two in a row that come to nothing trip it (the
# specification's section 5). A look that fails by an errno which may pass is no better than a late one: sshfs that tries
# to reconnect says EIO after 1 to 25 s, and after 4 s on a link that was cut for a moment.
EVERY: Final = 5.0
DEADLINE: Final = 10.0
MISSED: Final = 2
# So many failures of items in a row, each confirmed by a look that failed too (the specification's section 5).
FAILURES: Final = 5
# What only a place says that is not there any more: waiting a moment does not help.
GONE: Final = frozenset({errno.ENOTCONN, errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.ENODEV, errno.ENXIO})


@dataclass(frozen=True, slots=True)
class Down:
    """A place that has to be waited for. On the caller's clock, `since`: when it last answered, `told`: now."""

    place: int
    why: str
    since: float
    told: float


@dataclass(slots=True)
class _State:
    """`confirmed`: when the last look that went well was asked for; `failed`: when one last came to nothing."""

    answered: float
    due: float
    asked: dict[int, float] = field(default_factory=dict)
    late: set[int] = field(default_factory=set)
    confirmed: float = -inf
    failed: float = -inf
    blamed_at: float = -inf
    missed: int = 0
    blamed: int = 0
    failures: int = 0
    down: Down | None = None


class Watch:
    """The health of each place, from what was asked and heard. Times are seconds on any clock that only rises."""

    def __init__(self, places: Sequence[Footing | None], now: float) -> None:
        """Over these places; None stands for one that takes no part."""
        self._places = tuple(places)
        self._states = [_State(now, now + EVERY) for _ in places]
        self._looks = 0
        self._fresh: list[Down] = []

    def due(self, now: float) -> list[tuple[int, int]]:
        """The looks to be asked for now: place, and the number that the answer has to carry."""
        asking = []
        for place, state in enumerate(self._states):
            if self._places[place] is not None and state.down is None and now >= state.due:
                self._looks += 1
                state.asked[self._looks] = now
                state.due = now + EVERY
                asking.append((place, self._looks))
        return asking

    def withdraw(self, place: int, look: int) -> None:
        """A look that was due could not be asked for: it is no answer that is missing, and the next one comes in its turn."""
        self._states[place].asked.pop(look, None)

    def blame(self, place: int, now: float) -> None:
        """An item failed there, in a way that may be the place's fault: have a look."""
        state = self._states[place]
        state.blamed += 1
        state.blamed_at = now
        if state.asked.keys() <= state.late:
            state.due = now

    def certain(self, place: int, since: float) -> bool:
        """Whether it answered a look that was asked for since: then what failed at that moment is no fault of its."""
        state = self._states[place]
        return state.down is None and state.confirmed >= since

    def doubted(self, place: int, since: float) -> bool:
        """Whether a look has come to nothing since, if only for a moment: then what failed proves nothing."""
        return self._states[place].failed >= since

    def hear(self, finding: Finding, now: float) -> None:
        """Take an answer in, however late it is."""
        place, state = self._places[finding.spot], self._states[finding.spot]
        if place is None:
            return
        seen = finding.seen
        asked, late = state.asked.pop(finding.number, None), finding.number in state.late
        if seen.errno == 0 and (why := _another(place, seen)) is None:
            state.answered, state.missed, state.failures = now, 0, 0
            state.confirmed = max(state.confirmed, -inf if asked is None else asked)
            if state.confirmed >= state.blamed_at:
                state.blamed = 0
            else:
                state.due = now  # something failed while it was asked
            # What was asked before and hangs in the kernel yet says nothing more.
            state.asked = {look: when for look, when in state.asked.items() if look > finding.number}
            state.late &= state.asked.keys()
            return
        if seen.errno == 0:
            self._trip(finding.spot, why or "", now)
            return
        if asked is None or late:
            return  # that it came to nothing is known
        state.failed = now
        state.missed += 1
        state.failures += state.blamed
        state.blamed = 0
        if seen.errno in GONE or state.missed >= MISSED or state.failures >= FAILURES:
            self._trip(finding.spot, seen.said, now)

    def look(self, now: float, moved: Sequence[float]) -> list[Down]:
        """The places that have gone down since the last call.

        Args:
            moved: per place, when the last byte moved there, or any time before the session if none did.
        """
        for place, state in enumerate(self._states):
            for look, when in list(state.asked.items()):
                if now - when < DEADLINE:
                    continue
                if look not in state.late:
                    state.late.add(look)
                    state.failed = now
                    state.missed += 1
                # While bytes move there, looks are queued behind them: a slow line is no dead one.
                if state.missed >= MISSED and now - moved[place] >= DEADLINE:
                    self._trip(place, f"no answer for {now - state.answered:.0f} s", now)
        fresh, self._fresh = self._fresh, []
        return fresh

    def _trip(self, place: int, why: str, now: float) -> None:
        state = self._states[place]
        if state.down is None:
            state.down = Down(place, why, state.answered, now)
            self._fresh.append(state.down)


def _another(place: Footing, found: Look) -> str | None:
    """Why what answers is not the place; None if it is."""
    why = replaced(place, found.footing)
    return f"{why}{found.said}" if why else None
