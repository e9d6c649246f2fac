"""The ledger: what changed since the last commit, written in one short transaction.

Only after it is written may names be given (`validated`) or counted (`finalized`), and only then do copies go on
to the manifest.
"""

from __future__ import annotations

import time
from collections import defaultdict
from itertools import groupby
from typing import TYPE_CHECKING, Final

from sqlalchemy import bindparam, update

from ingest.catalog.holdings import put_locations
from ingest.db.schema import sessions
from ingest.engine import TRAIL_LEAST
from ingest.model.columns import CopyColumns, runs
from ingest.model.event import EventKind
from ingest.model.item import CopyRecord
from ingest.model.session import count_key
from ingest.model.states import ARRIVED, ItemState, advance, worst
from ingest.session.chronicle import Chronicle
from ingest.session.columns import end_run, finalize_run, put_validated
from ingest.session.digests import put_digests
from ingest.session.report import counts
from ingest.session.rows import operation_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sqlalchemy import Connection

    from ingest.model.item import Item
    from ingest.model.session import RootFacts, SourceFacts
    from ingest.pipeline.lot import Lot
    from ingest.pipeline.plan import Transfer
    from ingest.session.digests import DigestRow
    from ingest.session.journal import Journal
    from ingest.session.rows import Copy

_LOST: Final = frozenset({ItemState.FAILED, ItemState.CHANGED, ItemState.REMOVED})
_NOTHING: Final = dict.fromkeys(
    (
        "bytes_read",
        "bytes_copied",
        "bytes_verified",
        "bytes_resumed",
        "seconds_copy",
        "seconds_validate",
        "seconds_finalize",
    ),
    0,
)
# One statement for whatever was counted: it is compiled once, not at every commit.
_COUNT = (
    update(sessions)
    .where(sessions.c.key == bindparam("session"))
    .values({sessions.c[name]: sessions.c[name] + bindparam(name) for name in _NOTHING})
)


class Ledger:
    """Collects journal rows, locations, ended items and counters; `commit` writes them.

    `feed` gets, after each commit, the records that have become durable, one or many, with their root's number and
    the sequence of the (first) one.

    Attributes:
        counts: the session's items by the keys of every report, as they are with what was collected so far.
        chronicle: what happened, to be written with the rest.
    """

    def __init__(
        self,
        journal: Journal,
        sources: Sequence[SourceFacts],
        roots: Sequence[RootFacts],
        feed: Callable[[int, int, CopyRecord | CopyColumns], None],
        chronicle: Chronicle | None = None,
    ) -> None:
        self._journal = journal
        self.chronicle = chronicle or Chronicle(journal.key)
        self._sources = sources
        self._roots = roots
        self._feed = feed
        self._sequence = [journal.last_sequence(root.number) for root in roots]
        self._copies: dict[tuple[int, int], Copy] = {}
        self._locations: list[dict[str, object]] = []
        self._ended: list[tuple[int, ItemState, str | None, int]] = []
        self._records: list[tuple[int, int, CopyRecord | CopyColumns]] = []
        self._proven: list[tuple[Lot, int]] = []
        self._named: list[tuple[int, int, int, int, str, int]] = []
        self._runs: list[tuple[int, int]] = []
        self._digests: list[DigestRow] = []
        self._counters: defaultdict[str, float] = defaultdict(float)
        self._over: list[int] = []
        self.counts = counts(journal)

    @property
    def items_ended(self) -> int:
        """How many of the session's items have ended, those of earlier runs and of the scan included."""
        return self.counts["discovered"] - self.counts["waiting"]

    def count(self, **amounts: float) -> None:
        """Add to the session's counters (columns of its row)."""
        for name, amount in amounts.items():
            self._counters[name] += amount

    def put(self, copy: Copy) -> None:
        """A copy took a durable step."""
        self._copies[copy.item, copy.root] = copy

    def put_digests(self, rows: Iterable[DigestRow]) -> None:
        """What items were read as besides their BLAKE3."""
        self._digests.extend(rows)

    def end(self, transfer: Transfer, copy: Copy, state: ItemState, reason: str | None = None) -> None:
        """A copy met its end; with its last copy the item meets its own."""
        copy.state = advance(copy.state, state)
        copy.reason = reason if reason is not None else copy.reason
        if state in _LOST:
            self.mishap(EventKind.FAILURE, transfer, copy, f"{state}" + (f" ({copy.reason})" if copy.reason else ""))
        self._sequence[copy.root] += 1
        copy.sequence = self._sequence[copy.root]
        self.put(copy)
        item = transfer.item
        self._records.append((copy.root, copy.sequence, self._record(item, copy)))
        if state is ItemState.FINALIZED or (state is ItemState.DUPLICATE and copy.verify_method):
            self._locations.append(self._location(item, copy))
        del transfer.copies[copy.root]
        transfer.ends.append((state, copy.reason, copy.errno))

    def mishap(self, kind: EventKind, transfer: Transfer, copy: Copy, told: str) -> None:
        """Note that something happened to a copy, with the operation and errno that it has."""
        item = transfer.item
        self.chronicle.note(
            kind, told, root=copy.root, item=item.number, path=self._source_path(item), operation=operation_of(copy.operation)[0],
            errno=copy.errno,
        )  # fmt: skip

    def close(self, transfer: Transfer) -> None:
        """All copies of an item have ended: so has it."""
        state = worst([end[0] for end in transfer.ends])
        reason, code = next(((reason, code) for end, reason, code in transfer.ends if end is state), (None, 0))
        if transfer.item.state is ItemState.DISCOVERED:
            self._ended.append((transfer.item.number, state, None if state in ARRIVED else reason, code))
            self.counts["waiting"] -= 1
            self.counts[count_key(state)] += 1
        if transfer.item.size >= TRAIL_LEAST:
            self._over.append(transfer.item.number)

    def put_lot(self, lot: Lot, root: int) -> None:
        """A lot is proven at a root."""
        self._proven.append((lot, root))

    def name_lot(self, lot: Lot, root: int, at: Sequence[int], methods: Sequence[str], now: int) -> None:
        """The items at these positions of a lot got their names at a root, at this moment (ns), by these methods."""
        source = self._sources[lot.key.source].path.rstrip(b"/")
        columns = lot.columns(root, at, source, methods, now)
        first = self._sequence[root] + 1
        self._sequence[root] += len(columns)
        self._records.append((root, first, columns))
        for start, item, last in runs(columns.items):
            self._name_run(root, first + start, item, methods[start : start + last - item + 1], now)

    def _name_run(self, root: int, sequence: int, item: int, methods: Sequence[str], now: int) -> None:
        """Consecutive items, named by whatever methods: each stretch of one method is a statement."""
        for method, stretch in groupby(methods):
            number = sum(1 for _ in stretch)
            self._named.append((root, sequence, item, item + number - 1, method, now))
            sequence, item = sequence + number, item + number

    def close_lot(self, lot: Lot, at: Sequence[int]) -> None:
        """All copies of the items at these positions have ended: so have they."""
        numbers = lot.items if len(at) == len(lot) else [lot.items[each] for each in at]
        self._runs += [(first, last) for _, first, last in runs(numbers)]
        self.counts["waiting"] -= len(numbers)
        self.counts["finalized"] += len(numbers)
        self._over += [lot.items[each] for each in at if lot.sizes[each] >= TRAIL_LEAST]

    def take_over(self) -> list[int]:
        """Items that left a trail and have ended since this was asked last; to be asked after a commit."""
        over, self._over = self._over, []
        return over

    def commit(self) -> None:
        """Write everything down.

        Raises:
            JournalError: it could not be written; nothing of it counts, and intake has to stop.
        """
        collected = self._copies or self._ended or self._counters or self._proven or self._named or self._digests
        if not (collected or self.chronicle.pending):
            return
        with self._journal.database.write() as connection:
            self._commit_lots(connection)
            put_digests(connection, self._journal.key, self._digests)
            self._journal.put(connection, self._copies.values())
            put_locations(connection, self._locations)
            self._journal.end_items(connection, self._ended)
            if self._counters:
                connection.execute(_COUNT, {**_NOTHING, **self._counters, "session": self._journal.key})
            written = self.chronicle.write(connection)
        self.chronicle.settle(written)
        records = self._records
        self._copies, self._locations, self._ended, self._records = {}, [], [], []
        self._proven, self._named, self._runs, self._digests = [], [], [], []
        self._counters.clear()
        for root, sequence, told in records:
            self._feed(root, sequence, told)

    def _commit_lots(self, connection: Connection) -> None:
        key = self._journal.key
        for lot, root in self._proven:
            put_validated(
                connection, key, root, numbers=lot.items, paths=lot.targets, staging=lot.staging, digests=lot.digests,
                proofs=lot.proofs[root], started=lot.started, copied=lot.copied, read_mode=lot.key.mode, worker=lot.worker,
            )  # fmt: skip
        for root, sequence, first, last, method, now in self._named:
            place = (root, self._roots[root].key)
            finalize_run(connection, key, place, (first, last), sequence=sequence, method=method, now=now)
        for first, last in self._runs:
            end_run(connection, key, first, last)

    def _location(self, item: Item, copy: Copy) -> dict[str, object]:
        return {
            "root": self._roots[copy.root].key, "path": copy.path, "blake3": copy.blake3, "size": item.size,
            "mtime_ns": copy.kept_mtime or item.mtime_ns, "managed": 1, "verify_method": copy.verify_method,
            "verified_at": copy.validated_at or time.time_ns(), "session": self._journal.key, "item": item.number,
        }  # fmt: skip

    def _source_path(self, item: Item) -> bytes:
        return self._sources[item.source].path.rstrip(b"/") + b"/" + item.path

    def _record(self, item: Item, copy: Copy) -> CopyRecord:
        return CopyRecord(
            item=item.number, source_path=self._source_path(item), path=copy.path, size=item.size,
            mtime_ns=item.mtime_ns, kind=item.kind, state=copy.state, blake3=copy.blake3, reason=copy.reason,
            operation=operation_of(copy.operation)[0], errno=copy.errno, attempts=copy.attempts, verify_method=copy.verify_method,
            publish_method=copy.publish_method, read_mode=copy.read_mode, worker=copy.worker, started_ns=copy.started_at,
            copied_ns=copy.copied_at, validated_ns=copy.validated_at, finalized_ns=copy.finalized_at,
            strategy=copy.strategy,
        )  # fmt: skip
