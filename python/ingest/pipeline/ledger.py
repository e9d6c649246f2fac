"""The ledger: what changed since the last commit, written in one short transaction.

Only after it is written may names be given (`validated`) or counted (`finalized`), and only then do copies go on
to the manifest.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from sqlalchemy import update

from ingest.catalog.holdings import put_locations
from ingest.db.schema import sessions
from ingest.model.item import CopyRecord
from ingest.model.states import ARRIVED, ItemState, advance, worst

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ingest.model.item import Item
    from ingest.model.session import RootFacts, SourceFacts
    from ingest.pipeline.plan import Transfer
    from ingest.session.journal import Journal
    from ingest.session.rows import Copy


class Ledger:
    """Collects journal rows, locations, ended items and counters; `commit` writes them.

    `feed` gets, after each commit, the records that have become durable, with their root's number and sequence.
    """

    def __init__(
        self,
        journal: Journal,
        sources: Sequence[SourceFacts],
        roots: Sequence[RootFacts],
        feed: Callable[[int, int, CopyRecord], None],
    ) -> None:
        self._journal = journal
        self._sources = sources
        self._roots = roots
        self._feed = feed
        self._sequence = [journal.last_sequence(root.number) for root in roots]
        self._copies: dict[tuple[int, int], Copy] = {}
        self._locations: list[dict[str, object]] = []
        self._ended: list[tuple[int, ItemState, str | None, int]] = []
        self._records: list[tuple[int, int, CopyRecord]] = []
        self._counters: defaultdict[str, float] = defaultdict(float)
        self.items_ended = 0
        self.states: Counter[ItemState] = Counter()

    def count(self, **amounts: float) -> None:
        """Add to the session's counters (columns of its row)."""
        for name, amount in amounts.items():
            self._counters[name] += amount

    def put(self, copy: Copy) -> None:
        """A copy took a durable step."""
        self._copies[copy.item, copy.root] = copy

    def end(self, transfer: Transfer, copy: Copy, state: ItemState, reason: str | None = None) -> None:
        """A copy met its end; with its last copy the item meets its own."""
        copy.state = advance(copy.state, state)
        copy.reason = reason if reason is not None else copy.reason
        self._sequence[copy.root] += 1
        copy.sequence = self._sequence[copy.root]
        self.put(copy)
        item = transfer.item
        self._records.append((copy.root, copy.sequence, self._record(item, copy)))
        if state is ItemState.FINALIZED or (state is ItemState.DUPLICATE and copy.verify_method):
            self._locations.append(self._location(item, copy))
        del transfer.copies[copy.root]
        transfer.ends.append((state, copy.reason, copy.errno))

    def close(self, transfer: Transfer) -> None:
        """All copies of an item have ended: so has it."""
        state = worst([end[0] for end in transfer.ends])
        reason, code = next(((reason, code) for end, reason, code in transfer.ends if end is state), (None, 0))
        if transfer.item.state is ItemState.DISCOVERED:
            self._ended.append((transfer.item.number, state, None if state in ARRIVED else reason, code))
        self.items_ended += 1
        self.states[state] += 1

    def commit(self) -> None:
        """Write everything down.

        Raises:
            JournalError: it could not be written; nothing of it counts, and intake has to stop.
        """
        if not (self._copies or self._ended or self._counters):
            return
        with self._journal.database.write() as connection:
            self._journal.put(connection, self._copies.values())
            put_locations(connection, self._locations)
            self._journal.end_items(connection, self._ended)
            if self._counters:
                columns = {sessions.c[name]: sessions.c[name] + amount for name, amount in self._counters.items()}
                connection.execute(update(sessions).where(sessions.c.key == self._journal.key).values(columns))
        records = self._records
        self._copies, self._locations, self._ended, self._records = {}, [], [], []
        self._counters.clear()
        for root, sequence, record in records:
            self._feed(root, sequence, record)

    def _location(self, item: Item, copy: Copy) -> dict[str, object]:
        return {
            "root": self._roots[copy.root].key, "path": copy.path, "blake3": copy.blake3, "size": item.size,
            "mtime_ns": copy.kept_mtime or item.mtime_ns, "managed": 1, "verify_method": copy.verify_method,
            "verified_at": copy.validated_at or time.time_ns(), "session": self._journal.key, "item": item.number,
        }  # fmt: skip

    def _record(self, item: Item, copy: Copy) -> CopyRecord:
        source = self._sources[item.source].path.rstrip(b"/")
        return CopyRecord(
            item=item.number, source_path=source + b"/" + item.path, path=copy.path, size=item.size,
            mtime_ns=item.mtime_ns, kind=item.kind, state=copy.state, blake3=copy.blake3, reason=copy.reason,
            operation=copy.operation, errno=copy.errno, attempts=copy.attempts, verify_method=copy.verify_method,
            publish_method=copy.publish_method, read_mode=copy.read_mode, worker=copy.worker, started_ns=copy.started_at,
            copied_ns=copy.copied_at, validated_ns=copy.validated_at, finalized_ns=copy.finalized_at,
        )  # fmt: skip
