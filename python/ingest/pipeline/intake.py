"""Intake: a thread that reads the journal's items in order, plans them, and hands them on through a bounded queue.

It looks at destinations (lstat) and reads the database, so that the supervisor's own thread never waits for
either. What it meets is handed on as it is: an exception ends the session where it is taken out.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from operator import itemgetter
from queue import Empty, Full, Queue
from typing import TYPE_CHECKING

from ingest.model.states import ItemState
from ingest.pipeline.lot import Lot, cut
from ingest.pipeline.plan import Transfer
from ingest.session.rows import Copy, ItemRow, item_of
from ingest.storage.tuning import SHARD_BYTES, SHARD_FILES

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from ingest.model.item import Item
    from ingest.pipeline.plan import Planner
    from ingest.session.journal import Journal

_FRESH = str(ItemState.DISCOVERED)
# Pages of items that are planned ahead; with PAGE it bounds what waits in memory. A lot is cut from one page.
AHEAD = 2
PAGE = SHARD_FILES


@dataclass(frozen=True, slots=True)
class Planned:
    """A page of items, planned: lots of plain ones, and a transfer for each that needs a closer look.

    `last`: the number of the last item that was planned or needs nothing.
    """

    lots: list[Lot] = field(default_factory=list)
    transfers: list[Transfer] = field(default_factory=list)
    last: int = 0


@dataclass(frozen=True, slots=True)
class Sight:
    """How items are looked at before they are planned.

    Attributes:
        mode: how a file of (source, bytes) is read. limits: files and bytes at which a lot is full.
        renew: brings items up to date with the source. as_seen: whether each row is on the source as the scan saw
            it; None where nobody has to look.
    """

    mode: Callable[[int, int], str]
    limits: tuple[int, int] = (SHARD_FILES, SHARD_BYTES)
    renew: Callable[[list[Item]], list[Item]] = lambda page: page
    as_seen: Callable[[list[ItemRow]], list[bool]] | None = None


class Intake:
    """Items, planned, in order, for the `standing` of so many roots; what is for others is left to a later run."""

    def __init__(
        self, journal: Journal, planner: Planner, standing: Sequence[int], roots: int, sight: Sight, after: int = 0
    ) -> None:
        """All items after the one of this number."""
        self._journal = journal
        self._last = after
        self._planner = planner
        self._standing = frozenset(standing)
        self._sight = sight
        self._roots = range(roots)
        self._queue: Queue[Planned | BaseException | None] = Queue(AHEAD)
        self._stop = threading.Event()
        self.exhausted = False
        self._thread = threading.Thread(target=self._work, name="intake", daemon=True)
        self._thread.start()

    @property
    def ready(self) -> bool:
        """Planned items wait to be taken."""
        return not self._queue.empty()

    def take(self) -> Planned:
        """The next planned items; empty if none are ready (see `exhausted`).

        Raises:
            IngestError, OSError: what the thread met.
        """
        if self.exhausted:
            return Planned()
        try:
            taken = self._queue.get_nowait()
        except Empty:
            return Planned()
        if isinstance(taken, BaseException):
            self.exhausted = True
            raise taken
        if taken is None:
            self.exhausted = True
            return Planned()
        self._last = max(self._last, taken.last)
        return taken

    def without(self, roots: Collection[int]) -> Intake:
        """One that goes on behind what was taken from this, and looks at these roots no more; this one ends.

        Its thread may stand in the kernel, before a root that does not answer: it is left there.
        """
        was_exhausted = self.exhausted
        self.stop()
        standing = sorted(self._standing.difference(roots))
        heir = Intake(self._journal, self._planner, standing, len(self._roots), self._sight, self._last)
        if was_exhausted:
            heir.stop()
        return heir

    def stop(self) -> None:
        """Take in nothing more."""
        self.exhausted = True
        self._stop.set()

    def _work(self) -> None:
        try:
            for page in self._journal.pages(page=PAGE, after=self._last):
                if self._stop.is_set():
                    return
                planned = self._plan(page)
                if planned.lots or planned.transfers:
                    self._hand_on(planned)
            self._hand_on(None)
        except BaseException as error:  # noqa: BLE001 - it is raised again in the thread that takes it
            self._hand_on(error)

    def _hand_on(self, what: Planned | BaseException | None) -> None:
        while not self._stop.is_set():
            try:
                self._queue.put(what, timeout=0.5)
            except Full:
                continue
            return

    def _plan(self, page: list[ItemRow]) -> Planned:
        earlier = self._journal.copies_of(page[0][0], page[-1][0])
        plain: list[ItemRow] = []
        odd: list[ItemRow] = []
        for row in page:
            number, *_, state, _, _, digest = row
            (plain if state == _FRESH and digest is None and number not in earlier else odd).append(row)
        if plain and self._sight.as_seen is not None:
            seen = self._sight.as_seen(plain)
            odd += [row for row, same in zip(plain, seen, strict=True) if not same]
            plain = [row for row, same in zip(plain, seen, strict=True) if same]
        targets = self._planner.targets(plain)
        free = self._planner.free(targets, sorted(self._standing))
        odd += [row for row, empty in zip(plain, free, strict=True) if not empty]
        odd.sort(key=itemgetter(0))
        ready = [both for both, empty in zip(zip(plain, targets, strict=True), free, strict=True) if empty]
        roots, held = tuple(sorted(self._standing)), len(self._standing) < len(self._roots)
        lots = cut(ready, self._sight.mode, roots, self._sight.limits, held=held)
        return Planned(lots, self._look(self._sight.renew([item_of(row) for row in odd]), earlier), page[-1][0])

    def _look(self, page: list[Item], earlier: dict[int, list[Copy]]) -> list[Transfer]:
        """Transfers for items that an earlier run met, or whose name may be taken."""
        transfers = [
            transfer for item in page if (transfer := self._transfer(item, earlier.get(item.number, []))) is not None
        ]
        fresh = [t for t in transfers if any(c.state is ItemState.DISCOVERED for c in t.copies.values())]
        self._planner.place([t for t in fresh if t.item.state is ItemState.DISCOVERED])
        return transfers

    def _transfer(self, item: Item, rows: list[Copy]) -> Transfer | None:
        """What is left to do for an item after earlier runs; None if nothing is."""
        transfer = Transfer(item, {}, digest=item.blake3)
        for row in rows:
            if row.state.arrived or row.state is ItemState.VALIDATED:
                transfer.agreed = row.blake3
            if row.state.ended:
                transfer.ends.append((row.state, row.reason, row.errno))
            elif row.root not in self._standing:
                transfer.held = True
            else:
                transfer.copies[row.root] = row
                # Nothing is known of how far an unproven copy got: it starts over, with a fresh look at its name.
                if row.state is not ItemState.VALIDATED:
                    transfer.copies[row.root] = Copy(item.number, row.root, ItemState.DISCOVERED, attempts=row.attempts)
        known = {row.root for row in rows}
        for root in self._roots:
            if root not in known and root not in self._standing:
                transfer.held = True
            elif root not in known:
                transfer.copies[root] = Copy(item.number, root, ItemState.DISCOVERED)
        return transfer if transfer.copies or item.state is ItemState.DISCOVERED else None
