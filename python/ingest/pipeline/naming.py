"""Naming: a proven copy gets its name, whatever has it by now; or what gave it one before is found.

Comes after `validated` is committed. A name that is taken is never replaced: what has it is read, and is the same, or
the copy gets another.
"""

from __future__ import annotations

import errno
import time
from typing import TYPE_CHECKING

from ingest.engine import Failed, failed
from ingest.model.states import ItemState, SessionState
from ingest.pipeline.plan import MOST_NAMES
from ingest.pipeline.setbacks import DEADLY
from ingest.workers.messages import Adopt, Prove, Publish

if TYPE_CHECKING:
    from ingest.engine import Fault
    from ingest.pipeline.board import Board
    from ingest.pipeline.plan import Planner, Transfer
    from ingest.pipeline.setbacks import Setbacks
    from ingest.session.rows import Copy
    from ingest.workers.supervisor import Answer


class Naming:
    """Takes in whether names were given."""

    def __init__(self, board: Board, planner: Planner, setbacks: Setbacks) -> None:
        self._board = board
        self._ledger = board.ledger
        self._outbox = board.outbox
        self._planner = planner
        self._setbacks = setbacks

    def standing(self, root: int, copies: list[Copy]) -> list[Copy]:
        """Those copies whose root still takes part; the others wait, as the journal has them."""
        # A name needs no room to speak of: on a full disk what is proven still gets its own.
        if self._board.root_states[root] is not SessionState.PAUSED_NETWORK:
            return copies
        for copy in copies:
            transfer = self._board.alive[copy.item]
            self._board.hold(transfer, copy)
            self._board.settle(transfer)
        return []

    def published(self, answer: Answer) -> None:
        """Names were given, or not: `finalized` with the next commit."""
        request, published = answer.request, answer.reply.published
        assert isinstance(request, Publish)  # noqa: S101 - the handler was registered with it
        assert published is not None  # noqa: S101 - the answer to a Publish that was not refused
        methods, faults = published
        for at, item in enumerate(request.items):
            self.take_published(self._board.alive[item], request.root, methods[at], faults.get(at))
        self._ledger.count(seconds_finalize=answer.reply.seconds)

    def take_published(self, transfer: Transfer, root: int, method: str | None, fault: Fault | None) -> None:
        """Whether one copy got its name."""
        copy = transfer.copies[root]
        if fault is None:
            copy.publish_method = method
            self._finalize(transfer, copy)
        elif fault[2] == errno.EEXIST:
            # Somebody was here since the plan: perhaps with the very same file.
            self._outbox.prove(transfer, None, root, copy.path or b"", self._taken)
        elif fault[1] == "fsync_folder":
            self._unflushed(transfer, copy, fault)
        else:
            self._setbacks.root_fault(transfer, copy, failed(fault))

    def _unflushed(self, transfer: Transfer, copy: Copy, fault: Fault) -> None:
        """The name was given, but may not survive a power cut: it is looked for once more, and flushed again."""
        if self._board.beside_the_point(copy.root, fault):
            self._board.hold(transfer, copy)
        elif copy.operation != fault[1]:
            copy.operation, copy.errno = fault[1], fault[2]
            self._outbox.adopt(copy)
            return
        else:
            self._ledger.end(transfer, copy, ItemState.FAILED, "flush")
        self._board.settle(transfer)

    def _finalize(self, transfer: Transfer, copy: Copy) -> None:
        copy.operation, copy.errno = None, 0
        copy.finalized_at = time.time_ns()
        self._ledger.end(transfer, copy, ItemState.FINALIZED)
        self._board.settle(transfer)

    def _taken(self, answer: Answer) -> None:
        request = answer.request
        assert isinstance(request, Prove)  # noqa: S101 - the handler was registered with it
        for item, (digest, _, _, _, fault) in zip(request.items, answer.reply.proofs or [], strict=True):
            transfer = self._board.alive[item]
            copy = transfer.copies[request.root or 0]
            if fault is not None and self._board.beside_the_point(copy.root, fault):
                self._board.hold(transfer, copy)
                self._board.settle(transfer)
            elif fault is not None and fault[0] in DEADLY:
                self._setbacks.root_fault(transfer, copy, failed(fault))
            elif fault is None and digest == copy.blake3:
                self._outbox.discard(copy.root, copy.staging)
                copy.strategy = None
                self._ledger.end(transfer, copy, ItemState.DUPLICATE)
                self._board.settle(transfer)
            else:
                self._rename(transfer, copy)

    def _rename(self, transfer: Transfer, copy: Copy) -> None:
        """Another name for a proven copy whose own is taken."""
        transfer.tried += 1
        if transfer.tried >= MOST_NAMES:
            self._outbox.discard(copy.root, copy.staging)
            self._ledger.end(transfer, copy, ItemState.FAILED, "taken")
            self._board.settle(transfer)
            return
        copy.path = self._planner.next_name(transfer)
        self._ledger.put(copy)
        self._outbox.publish(copy)

    def adopted(self, answer: Answer) -> None:
        """What an earlier attempt left validated was found, published, or has to be made again."""
        request = answer.request
        assert isinstance(request, Adopt)  # noqa: S101 - the handler was registered with it
        for item, (outcome, method, publish_method, fault) in zip(
            request.items, answer.reply.adopted or [], strict=True
        ):
            transfer = self._board.alive[item]
            copy = transfer.copies[request.root]
            if outcome in ("adopted", "published"):
                copy.verify_method, copy.publish_method = method, publish_method
                self._ledger.count(bytes_verified=transfer.item.size)
                if outcome == "adopted":
                    self._outbox.discard(copy.root, copy.staging)
                self._finalize(transfer, copy)
            elif outcome == "taken":
                self._rename(transfer, copy)
            elif outcome == "lost":
                self._board.plan_again(copy)
                self._board.queue(transfer, (copy.root,))
            elif fault is not None and fault[1] == "fsync_folder":
                self._unflushed(transfer, copy, fault)
            else:
                found = (
                    failed(fault)
                    if fault
                    else Failed("io", "adopt", errno.EIO, copy.path or b"", "it could not be read")
                )
                self._setbacks.root_fault(transfer, copy, found)
