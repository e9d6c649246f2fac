"""The flow of a session: transfers go out to workers in batches, answers come back, each copy takes its next step.

Everything here runs in the supervisor's one thread and waits for nothing. The order that makes a crash safe:
a batch is staged and proven -> `validated` is committed -> the names are given (:mod:`ingest.pipeline.naming`) ->
`finalized` is committed.
"""

from __future__ import annotations

import errno
from secrets import token_hex
from typing import TYPE_CHECKING, Final

from ingest.engine import Failed, failed
from ingest.model.digests import DIGEST
from ingest.model.states import ItemState, advance
from ingest.pipeline.comparison import Comparison
from ingest.pipeline.lane import Lane
from ingest.pipeline.naming import Naming
from ingest.pipeline.plan import same_mtime
from ingest.pipeline.setbacks import Setbacks
from ingest.pipeline.watch import GONE
from ingest.session.digests import digest_row
from ingest.storage.marker import staging_folder
from ingest.workers.messages import Stage
from ingest.workers.supervisor import Answer, Died

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest.engine import Staged
    from ingest.model.item import Item
    from ingest.pipeline.board import Board
    from ingest.pipeline.intake import Planned
    from ingest.pipeline.outbox import Handler
    from ingest.pipeline.plan import Planner, Transfer
    from ingest.workers.messages import Gone, Prove
    from ingest.workers.sharding import Key

# Transfers on their way at once; with what the intake holds it bounds memory.
MOST_ALIVE: Final = 8000
# What stands where the engine has no digest: the source was not read to its end.
UNREAD: Final = bytes(DIGEST)


class Flow:
    """Takes transfers in, and answers."""

    def __init__(self, board: Board, planner: Planner) -> None:
        self._board = board
        self._ledger = board.ledger
        self._outbox = board.outbox
        self._setbacks = Setbacks(board)
        self.naming = Naming(board, planner, self._setbacks)
        self._staging = staging_folder(board.facts.short)
        self._names = 0
        # Not even another process that has the same journal (a copy of it) gives the same names.
        self._word = token_hex(4).encode("ascii")
        self.lane = Lane(board, self)
        self.comparison = Comparison(board, self, planner, self._setbacks)

    @property
    def room(self) -> bool:
        """More transfers may be admitted."""
        return self._board.load < MOST_ALIVE and not self._board.stopping and not self._board.halted

    def handle(self, event: Answer | Died) -> None:
        """Take in what a worker said, or that it died."""
        if isinstance(event, Died):
            for request in event.requests:
                self.lane.dissolve(request)
            self._setbacks.bury(event)
            return
        handler = self._outbox.handler(event.request)
        for gone in event.reply.gone:
            self.lose(gone)
        if event.reply.error is not None:
            self.lane.dissolve(event.request)
            self._setbacks.refused(event, handler)
        else:
            handler(event)

    def lose(self, gone: Gone) -> None:
        """A place was found not to be there; where that may pass in a moment, it is only looked at more closely."""
        board = self._board
        if gone.errno not in GONE:
            board.guard.blame(board.place_of(gone.source, gone.root))
        elif gone.root is not None:
            board.lose_root(gone.root, gone.detail)
        elif gone.source is not None:
            board.lose_source(gone.source, gone.detail)

    def tend(self, now: float) -> None:
        """Take up the copies that failed a moment ago; `now` is `time.monotonic`."""
        self._setbacks.tend(now)

    def away(self, source: int | None, root: int | None) -> bool:
        """Whether a source or root is no longer there."""
        return self._board.away(source, root)

    def unasked(self, request: Prove, handler: Handler) -> None:
        """A Prove that would have asked a place which is not there."""
        self._setbacks.unasked(request, handler)

    # Admission: to be compared, copied, adopted, or only written down.

    def take_in(self, planned: Planned) -> None:
        """Take a planned page in."""
        self.lane.admit(planned.lots)
        self.admit(planned.transfers)

    def admit(self, transfers: list[Transfer]) -> None:
        """Take planned transfers in and send each copy on its way."""
        for transfer in transfers:
            self._board.alive[transfer.item.number] = transfer
            for copy in list(transfer.copies.values()):
                if transfer.item.state is not ItemState.DISCOVERED:
                    copy.errno = transfer.item.errno
                    self._ledger.end(transfer, copy, transfer.item.state, transfer.item.reason)
                elif self._board.waits(transfer.item.source, copy.root):
                    self._board.hold(transfer, copy)
                elif copy.state is ItemState.VALIDATED:
                    self._outbox.adopt(copy)
            self.route(transfer)

    def route(self, transfer: Transfer) -> None:
        """Send copies that have only just got their path."""
        for copy in transfer.copies.values():
            if copy.state is ItemState.DISCOVERED:
                copy.path = transfer.path
        for root, error in list(transfer.troubles.items()):
            if root in transfer.copies:
                fault = Failed("io", "lstat", error.errno or errno.EIO, transfer.path or b"", str(error))
                self._setbacks.root_fault(transfer, transfer.copies[root], fault)
        transfer.troubles.clear()
        fresh = [copy for copy in transfer.copies.values() if copy.state is ItemState.DISCOVERED]
        if fresh and transfer.compare:
            self.comparison.begin(transfer)
            return
        for copy in fresh:
            self._board.plan_again(copy)
        if fresh:
            self._board.queue(transfer, [copy.root for copy in fresh])
        self._board.settle(transfer)

    # Staging.

    def names(self, items: list[int]) -> list[bytes]:
        """A staging name for each item that was never used before."""
        first, run = self._names + 1, self._board.facts.run
        self._names += len(items)
        start, end = self._staging, self._word
        return [b"%s/%d-%d-%d.%s.part" % (start, item, run, number, end) for number, item in enumerate(items, first)]

    def batch(self, request_id: int, key: Key, items: list[Item]) -> Stage | None:
        """The staging request for a shard, without what has to wait by now; None if nothing is left."""
        board = self._board
        roots = tuple(root for root in key.roots if not board.waits(key.source, root))
        ready = []
        for transfer in [board.alive[item.number] for item in items if item.number in board.alive]:
            for root in key.roots:
                if root not in roots and root in transfer.copies:
                    board.hold(transfer, transfer.copies[root])
            if roots:
                ready.append(transfer)
            else:
                board.settle(transfer)
        names = self.names([transfer.item.number for transfer in ready])
        for transfer, name in zip(ready, names, strict=True):
            for root in roots:
                copy = transfer.copies[root]
                copy.state = advance(copy.state, ItemState.COPYING)
                copy.staging, copy.read_mode, copy.attempts = name, key.mode, copy.attempts + 1
        if not ready:
            return None
        taken = [transfer.item for transfer in ready]
        # Where a flush for all has failed, nobody knows whose fault it was: the second time each has its own.
        single = any(transfer.copies[root].attempts > 1 for transfer in ready for root in roots)
        return Stage(
            request_id, key.source, roots, [i.number for i in taken], [i.path for i in taken], [i.size for i in taken],
            [i.mtime_ns for i in taken], [names for _ in roots], key.mode, single,
        )  # fmt: skip

    def staged(self, answer: Answer) -> None:
        """Copies were made and proven, or not: `validated` with the next commit, and then to be published."""
        request, staged = answer.request, answer.reply.staged
        assert isinstance(request, Stage)  # noqa: S101 - the handler was registered with it
        assert staged is not None  # noqa: S101 - the answer to a Stage that was not refused
        self.count_staged(staged, request.source, request.roots)
        for at, item in enumerate(request.items):
            self.take_staged(self._board.alive[item], answer, at)

    def count_staged(self, staged: Staged, source: int, roots: Sequence[int]) -> None:
        """Note what a batch of a source read for these roots, what its steps took, and what could not be read cold."""
        _, read, _, _, _, _, (copying, flushing, proving), *_, resumed, unshown, warm = staged
        self._ledger.count(
            bytes_read=sum(read),
            bytes_resumed=sum(resumed.values()),
            seconds_copy=(copying + flushing) / 1e9,
            seconds_validate=proving / 1e9,
        )
        for at in {at for hidden in unshown.values() for at in hidden}:
            self._board.warn_of_unshown(roots[at])
        if warm:
            self._board.warn_of_warm(source)

    def take_staged(self, transfer: Transfer, answer: Answer, at: int) -> None:
        """What became of one transfer of a batch, the one at this position."""
        request, staged = answer.request, answer.reply.staged
        assert isinstance(request, Stage)  # noqa: S101 - as above
        assert staged is not None  # noqa: S101 - as above
        digests, _, started, copied, source_faults, columns, *_ = staged
        if (source_fault := source_faults.get(at)) is not None:
            self._setbacks.source_fault(transfer, failed(source_fault), request.roots)
            return
        digest = digests[DIGEST * at : DIGEST * (at + 1)]
        transfer.digest = digest if digest != UNREAD else None
        if transfer.disagrees():
            for root, (*_, faults) in zip(request.roots, columns, strict=True):
                if at not in faults:
                    self._outbox.discard(root, transfer.copies[root].staging)
            self._setbacks.source_fault(transfer, transfer.other_bytes(), request.roots)
            return
        if (row := digest_row(transfer.item.number, staged, self._board.hashes, at)) is not None:
            self._ledger.put_digests([row])
        for root, (methods, validated, kept, strategies, faults) in zip(request.roots, columns, strict=True):
            copy = transfer.copies[root]
            copy.worker, copy.started_at, copy.copied_at = answer.worker, started[at], copied[at]
            copy.blake3 = transfer.digest
            if (fault := faults.get(at)) is not None:
                self._setbacks.root_fault(transfer, copy, failed(fault))
                continue
            copy.state = advance(advance(copy.state, ItemState.COPIED), ItemState.VALIDATED)
            copy.verify_method, copy.validated_at, copy.kept_mtime = methods[at], validated[at], kept[at]
            copy.strategy = strategies[at]
            copy.operation, copy.errno = None, 0
            self._ledger.count(bytes_copied=transfer.item.size, bytes_verified=transfer.item.size)
            self._ledger.put(copy)
            self._outbox.publish(copy)
            if not same_mtime(kept[at], transfer.item.mtime_ns):
                self._board.warn_of_times(root)
