"""The lane: lots on their way, from the plan to their names, without a look at the single file.

The order is the flow's: staged -> `validated` committed -> named -> `finalized` committed. Where something befalls an
item, it leaves its lot for the flow, which knows every turn; a lot as a whole is dissolved where its request was
refused, its worker died, or one of its roots waits.
"""

from __future__ import annotations

import time
import weakref
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from ingest.model.states import ItemState, SessionState
from ingest.pipeline.plan import same_mtime
from ingest.session.digests import digest_rows
from ingest.workers.messages import Publish, Stage

if TYPE_CHECKING:
    from ingest.pipeline.board import Board
    from ingest.pipeline.flow import Flow
    from ingest.pipeline.lot import Lot
    from ingest.pipeline.outbox import Handler
    from ingest.pipeline.plan import Transfer
    from ingest.workers.messages import Request
    from ingest.workers.supervisor import Answer


class Lane:
    """Takes lots in, and the answers to their requests."""

    def __init__(self, board: Board, flow: Flow) -> None:
        self._board = board
        self._ledger = board.ledger
        self._outbox = board.outbox
        # The flow owns its lane. A cycle would keep the pinned folders open until the garbage collector comes by,
        # and a disk could not be unmounted after a session.
        self._flow = weakref.proxy(flow)
        self._asked: dict[int, tuple[Lot, list[int]]] = {}

    def admit(self, lots: list[Lot]) -> None:
        """Take planned lots in."""
        for lot in lots:
            self._board.lots.append(lot)
            self._outbox.lots.append(lot)

    # Staging.

    def stage(self, lot: Lot) -> tuple[Stage, Handler] | None:
        """The staging request of a lot, for those of its roots that need not be waited for; None if none is left."""
        standing = tuple(root for root in lot.key.roots if not self._board.waits(lot.key.source, root))
        if standing != lot.key.roots:
            lot.key, lot.held = replace(lot.key, roots=standing), True
        key = lot.key
        if not standing:
            self._board.lots.remove(lot)
            # Nothing was begun: a later run finds them as they are.
            return None
        lot.staging = self._flow.names(lot.items)
        lot.progress = dict.fromkeys(key.roots, ItemState.COPYING)
        request = Stage(
            self._outbox.number(), key.source, key.roots, lot.items, lot.paths, lot.sizes, lot.mtimes,
            [lot.staging for _ in key.roots], key.mode,
        )  # fmt: skip
        self._asked[request.id] = (lot, [])
        return request, partial(self._staged, lot)

    def _staged(self, lot: Lot, answer: Answer) -> None:
        request, staged = answer.request, answer.reply.staged
        assert isinstance(request, Stage)  # noqa: S101 - the handler was registered with it
        assert staged is not None  # noqa: S101 - the answer to a Stage that was not refused
        del self._asked[request.id]
        self._flow.count_staged(staged, request.source, request.roots)
        _, _, _, _, source_faults, columns, *_ = staged
        failed = sorted(set(source_faults).union(*(faults for *_, faults in columns)))
        self._ledger.put_digests(digest_rows(request.items, staged, self._board.hashes))
        leaving = [(at, self._loosen(lot, at)) for at in failed]
        lot.prove(answer.worker, staged)
        for at, transfer in leaving:
            self._flow.take_staged(transfer, answer, at)
        if not len(lot):
            self._board.lots.remove(lot)
            return
        for root in lot.key.roots:
            self._ledger.count(bytes_copied=lot.size, bytes_verified=lot.size)
            self._ledger.put_lot(lot, root)
            self._outbox.named.append((lot, root))
            kept = lot.proofs[root][2]
            if kept != lot.mtimes and not all(map(same_mtime, kept, lot.mtimes)):
                self._board.warn_of_times(root)

    # Naming.

    def publish(self, lot: Lot, root: int) -> tuple[Publish, Handler] | None:
        """The request to name a lot at a root; None if nothing of it can be named there now."""
        # A name needs no room to speak of: on a full disk what is proven still gets its own.
        if self._board.root_states[root] is SessionState.PAUSED_NETWORK:
            for at in lot.rest():
                self._loosen(lot, at)
            for transfer in lot.loose.values():
                if root in transfer.copies:
                    self._board.hold(transfer, transfer.copies[root])
                    self._board.settle(transfer)
            self._done(lot, root)
            return None
        rest = lot.rest()
        for transfer in lot.loose.values():
            if (copy := transfer.copies.get(root)) is not None and copy.state is ItemState.VALIDATED:
                self._outbox.publish(copy)
        if not rest:
            self._done(lot, root)
            return None
        request = Publish(
            self._outbox.number(), root, [lot.items[at] for at in rest], [lot.staging[at] for at in rest],
            [lot.targets[at] for at in rest],
        )  # fmt: skip
        self._asked[request.id] = (lot, rest)
        return request, partial(self._published, lot)

    def _published(self, lot: Lot, answer: Answer) -> None:
        request, published = answer.request, answer.reply.published
        assert isinstance(request, Publish)  # noqa: S101 - the handler was registered with it
        assert published is not None  # noqa: S101 - the answer to a Publish that was not refused
        _, positions = self._asked.pop(request.id)
        methods, faults = published
        root = request.root
        leaving = [at for at, position in enumerate(positions) if at in faults or position in lot.loose]
        for at in leaving:
            transfer = lot.loose.get(positions[at]) or self._loosen(lot, positions[at])
            self._flow.naming.take_published(transfer, root, methods[at], faults.get(at))
        if leaving:
            left = frozenset(leaving)
            methods = [method for at, method in enumerate(methods) if at not in left]
            positions = [position for at, position in enumerate(positions) if at not in left]
        if positions:
            self._ledger.name_lot(lot, root, positions, [method or "" for method in methods], time.time_ns())
        self._ledger.count(seconds_finalize=answer.reply.seconds)
        self._done(lot, root)

    def _done(self, lot: Lot, root: int) -> None:
        """What is still in a lot has its names at a root; after the last root its items have ended."""
        lot.progress[root] = ItemState.FINALIZED
        if all(state is ItemState.FINALIZED for state in lot.progress.values()):
            self._board.lots.remove(lot)
            if not lot.held and (rest := lot.rest()):
                self._ledger.close_lot(lot, rest)

    # Leaving.

    def dissolve(self, request: Request) -> None:
        """A request will not be answered as it was asked: every item of its lot goes its own way from here."""
        asked = self._asked.pop(request.id, None)
        if asked is None:
            return
        lot, _ = asked
        for at in lot.rest():
            self._loosen(lot, at)
        if isinstance(request, Publish):
            self._done(lot, request.root)
        else:
            self._board.lots.remove(lot)

    def _loosen(self, lot: Lot, at: int) -> Transfer:
        transfer = lot.loosen(at)
        self._board.alive[transfer.item.number] = transfer
        return transfer
