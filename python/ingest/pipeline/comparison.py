"""Comparison: whether what stands at an item's path already is this very item.

The source is hashed, and so is what is not known by hash on a root. Equal bytes make a duplicate there; anything else
has taken the name, and another one is looked for.
"""

from __future__ import annotations

import time
import weakref
from typing import TYPE_CHECKING

from ingest.engine import Failed, failed
from ingest.model.states import ItemState
from ingest.pipeline.setbacks import DEADLY
from ingest.workers.messages import Prove

if TYPE_CHECKING:
    from ingest.pipeline.board import Board
    from ingest.pipeline.flow import Flow
    from ingest.pipeline.plan import Planner, Transfer
    from ingest.pipeline.setbacks import Setbacks
    from ingest.workers.supervisor import Answer


class Comparison:
    """Asks for digests and takes them in; what comes of it goes back to the flow."""

    def __init__(self, board: Board, flow: Flow, planner: Planner, setbacks: Setbacks) -> None:
        self._board = board
        self._flow = weakref.proxy(flow)  # the flow owns it: see Lane
        self._planner = planner
        self._setbacks = setbacks

    def begin(self, transfer: Transfer) -> None:
        """Find out whether what stands at the path is this item: hash the source, and what is not known by hash."""
        unknown = [root for root, digest in transfer.compare.items() if digest is None]
        transfer.asking = len(unknown) + (transfer.digest is None)
        if not transfer.asking:
            self._compared(transfer)
            return
        if transfer.digest is None:
            self._board.outbox.prove(transfer, transfer.item.source, None, transfer.item.path, self._proved)
        for root in unknown:
            self._board.outbox.prove(transfer, None, root, transfer.path or b"", self._proved)

    def _proved(self, answer: Answer) -> None:
        request = answer.request
        assert isinstance(request, Prove)  # noqa: S101 - the handler was registered with it
        for item, proof in zip(request.items, answer.reply.proofs or [], strict=True):
            digest, size, mtime, method, fault = proof
            transfer = self._board.alive.get(item)
            if transfer is None or not transfer.asking:
                continue
            transfer.asking -= 1
            if request.root is None:
                self._board.ledger.count(bytes_read=size)
                transfer.digest, transfer.fault = digest, failed(fault) if fault else None
                if fault is None and (size, mtime) != (transfer.item.size, transfer.item.mtime_ns):
                    detail = "it is not as the scan saw it"
                    transfer.fault = Failed("changed", "open", 0, transfer.item.path, detail)
            elif (copy := transfer.copies.get(request.root)) is not None:
                self._board.ledger.count(bytes_verified=size)
                if fault is not None and self._board.beside_the_point(request.root, fault):
                    del transfer.compare[request.root]
                    self._board.hold(transfer, copy)
                elif fault is not None and fault[0] in DEADLY:
                    del transfer.compare[request.root]
                    self._setbacks.root_fault(transfer, copy, failed(fault))
                else:
                    copy.verify_method, copy.validated_at, copy.kept_mtime = method, time.time_ns(), mtime
                    # What cannot be read cannot be shown to be this item: it is left alone, its name is taken.
                    transfer.compare[request.root] = digest if fault is None else b""
            if not transfer.asking:
                self._compared(transfer)

    def _compared(self, transfer: Transfer) -> None:
        """Every digest is in: equal everywhere is a duplicate there, anything else has taken the name."""
        if transfer.fault is not None:
            fault, transfer.fault = transfer.fault, None
            # Copies that are being adopted need nothing of the source.
            comparing = tuple(r for r, copy in transfer.copies.items() if copy.state is ItemState.DISCOVERED)
            self._setbacks.source_fault(transfer, fault, comparing)
            return
        if transfer.disagrees():
            self._setbacks.source_fault(transfer, transfer.other_bytes(), tuple(transfer.compare))
            return
        standing = [root for root in transfer.compare if root in transfer.copies]
        if any(transfer.compare[root] != transfer.digest for root in standing):
            transfer.tried += 1
            for root in standing:
                transfer.copies[root].verify_method = None
            self._planner.place([transfer])
        else:
            for root in standing:
                copy = transfer.copies[root]
                copy.blake3, copy.path = transfer.digest, transfer.path
                self._board.ledger.end(transfer, copy, ItemState.DUPLICATE)
            transfer.compare.clear()
        self._flow.route(transfer)
