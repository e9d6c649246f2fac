"""Intake: a thread that reads the journal's items in order, plans them, and hands them on through a bounded queue.

It looks at destinations (lstat) and reads the database, so that the supervisor's own thread never waits for
either. What it meets is handed on as it is: an exception ends the session where it is taken out.
"""

from __future__ import annotations

import threading
from queue import Empty, Full, Queue
from typing import TYPE_CHECKING

from ingest.model.states import ItemState
from ingest.pipeline.plan import Transfer
from ingest.session.rows import Copy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ingest.model.item import Item
    from ingest.pipeline.plan import Planner
    from ingest.session.journal import Journal

# Pages of items that are planned ahead; with PAGE it bounds what waits in memory.
AHEAD = 2
PAGE = 1000


class Intake:
    """Items, planned, in order, for the `standing` of so many roots; what is for others is left to a later run.

    `renew` brings a page of items up to date with the source before it is planned.
    """

    def __init__(
        self,
        journal: Journal,
        planner: Planner,
        standing: Sequence[int],
        roots: int,
        renew: Callable[[list[Item]], list[Item]] = lambda page: page,
    ) -> None:
        self._journal = journal
        self._planner = planner
        self._standing = frozenset(standing)
        self._renew = renew
        self._roots = range(roots)
        self._queue: Queue[list[Transfer] | BaseException | None] = Queue(AHEAD)
        self._stop = threading.Event()
        self.exhausted = False
        self._thread = threading.Thread(target=self._work, name="intake", daemon=True)
        self._thread.start()

    @property
    def ready(self) -> bool:
        """Planned items wait to be taken."""
        return not self._queue.empty()

    def take(self) -> list[Transfer]:
        """The next planned items; empty if none are ready (see `exhausted`).

        Raises:
            IngestError, OSError: what the thread met.
        """
        if self.exhausted:
            return []
        try:
            taken = self._queue.get_nowait()
        except Empty:
            return []
        if isinstance(taken, BaseException):
            self.exhausted = True
            raise taken
        if taken is None:
            self.exhausted = True
            return []
        return taken

    def stop(self) -> None:
        """Take in nothing more."""
        self.exhausted = True
        self._stop.set()

    def _work(self) -> None:
        try:
            for page in self._journal.items(page=PAGE):
                if self._stop.is_set():
                    return
                planned = self._plan(self._renew(page))
                if planned:
                    self._hand_on(planned)
            self._hand_on(None)
        except BaseException as error:  # noqa: BLE001 - it is raised again in the thread that takes it
            self._hand_on(error)

    def _hand_on(self, what: list[Transfer] | BaseException | None) -> None:
        while not self._stop.is_set():
            try:
                self._queue.put(what, timeout=0.5)
            except Full:
                continue
            return

    def _plan(self, page: list[Item]) -> list[Transfer]:
        earlier = self._journal.copies_of(page[0].number, page[-1].number)
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
