"""Setbacks: faults, refused requests and dead workers, and what becomes of the copies they befell."""

from __future__ import annotations

import errno
import time
from typing import TYPE_CHECKING, Final

from ingest.engine import Failed
from ingest.errors import TRANSIENT, shown
from ingest.model.event import EventKind
from ingest.model.states import ItemState, SessionState
from ingest.pipeline.verdict import FAILED, Judgement, Step, judge_root, judge_source
from ingest.session.rows import operation_at
from ingest.workers.messages import Adopt, Discard, Folders, Prove, Publish, Reply, Stage
from ingest.workers.supervisor import Answer

if TYPE_CHECKING:
    from ingest.pipeline.board import Board
    from ingest.pipeline.outbox import Handler
    from ingest.pipeline.patience import Waiting
    from ingest.pipeline.plan import Transfer
    from ingest.session.rows import Copy
    from ingest.workers.messages import Request
    from ingest.workers.supervisor import Died

# Faults that are a worker's end: what was being read is not read a third time.
DEADLY: Final = frozenset({"crashed", "stalled"})
# An item over which two workers died is not given to a third.
DEATHS: Final = 2


class Setbacks:
    """Acts on the board when something goes wrong."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def source_fault(self, transfer: Transfer, fault: Failed, roots: tuple[int, ...] | None = None) -> None:
        """Something is wrong on the source's side: it concerns every copy that was asked for."""
        concerned = [
            transfer.copies[r] for r in (roots if roots is not None else tuple(transfer.copies)) if r in transfer.copies
        ]
        again, wait = [], []
        for copy in concerned:
            if transfer.item.source in self._board.lost_sources:
                self._board.hold(transfer, copy)
                continue
            judgement = judge_source(fault, max(1, copy.attempts))
            if judgement.step is Step.WAIT_MOMENT or _perhaps_its_source(judgement, fault):
                wait.append(copy)
            elif self._apply(transfer, copy, fault, judgement):
                again.append(copy.root)
        if wait:
            self._wait(transfer, wait, fault, transfer.item.source)
        if again:
            self._board.queue(transfer, again)
        self._board.settle(transfer)

    def _wait(self, transfer: Transfer, copies: list[Copy], fault: Failed, source: int | None) -> None:
        """What befell these copies may pass: they are looked at again in a moment, when their place has been."""
        board = self._board
        place = board.place_of(source, copies[0].root)
        for copy in copies:
            copy.operation, copy.errno = fault.operation, fault.errno
            board.ledger.mishap(EventKind.SETBACK, transfer, copy, f"{fault.detail}: it is tried again in a moment")
            if copy.state is ItemState.DISCOVERED:
                board.plan_again(copy)  # so that nobody takes it for one that nothing has been done about
        now = time.monotonic()
        board.guard.blame(place)
        attempts = max(1, *(copy.attempts for copy in copies))
        if fault.errno not in TRANSIENT:
            attempts = board.patience.tries  # another try would tell the same: it waits only for the word on its source
        roots = tuple(copy.root for copy in copies)
        board.patience.put(now, attempts, place, transfer.item.number, roots, fault, source=source is not None)

    def tend(self, now: float) -> None:
        """Take up the copies whose moment has passed: they are made again, have failed, or wait with their place."""
        board = self._board
        for one in board.patience.take(now, self._ripe):
            transfer = board.alive[one.item]
            copies = [transfer.copies[root] for root in one.roots if root in transfer.copies]
            again = []
            for copy in copies:
                # A copy that is proven needs its source no more.
                unfed = transfer.item.source in board.lost_sources and copy.state is not ItemState.VALIDATED
                if board.stopping or board.root_states[copy.root].paused or unfed:
                    board.hold(transfer, copy)
                    continue
                judgement = judge_source(one.fault, 1) if one.source else judge_root(one.fault, 1)
                once_more = judgement.step is Step.WAIT_MOMENT and copy.attempts < board.patience.tries
                if once_more or board.guard.doubted(one.place, one.since):
                    board.plan_again(copy)
                    again.append(copy.root)
                else:
                    self._apply(transfer, copy, one.fault, judgement if judgement.step is Step.END else FAILED)
            if again:
                board.queue(transfer, again)
            board.settle(transfer)

    def _ripe(self, one: Waiting) -> bool:
        """Whether it can be said what a failure means: its place has answered since, or is known to be away."""
        source = self._board.alive[one.item].item.source
        waits = all(self._board.waits(source, root) for root in one.roots)
        return waits or self._board.guard.certain(one.place, one.since)

    def root_fault(self, transfer: Transfer, copy: Copy, fault: Failed) -> None:
        """Something is wrong with one copy at one root."""
        # A copy that is proven needs its source no more; any other waits with it.
        unfed = transfer.item.source in self._board.lost_sources and copy.state is not ItemState.VALIDATED
        if self._board.root_states[copy.root].paused or unfed:
            self._board.hold(transfer, copy)
        else:
            judgement = judge_root(fault, max(1, copy.attempts))
            if judgement.step is Step.WAIT_MOMENT:
                self._wait(transfer, [copy], fault, None)
            elif self._apply(transfer, copy, fault, judgement):
                self._board.queue(transfer, (copy.root,))
        self._board.settle(transfer)

    def _apply(self, transfer: Transfer, copy: Copy, fault: Failed, judgement: Judgement) -> bool:
        """Do what was judged; True if the copy is to be made again."""
        board = self._board
        copy.operation, copy.errno = fault.operation, fault.errno
        match judgement.step:
            case Step.RETRY:
                what = "it reads back otherwise than it was written" if fault.kind == "mismatch" else fault.detail
                board.ledger.mishap(EventKind.SETBACK, transfer, copy, f"{what}: it is tried again")
                board.plan_again(copy)
                return True
            case Step.CANCELLED:
                board.hold(transfer, copy)
            case Step.WAIT_SPACE:
                board.pause_root(copy.root, SessionState.PAUSED_SPACE, f"no room is left ({fault.detail})")
                board.hold(transfer, copy)
            case Step.WAIT_ROOT:
                why = f"it is read-only now ({fault.detail}). Remount it writable"
                board.pause_root(copy.root, SessionState.PAUSED_NETWORK, why)
                board.hold(transfer, copy)
            case Step.END:
                if copy.state is ItemState.VALIDATED or board.leaves_trail(transfer.item):
                    board.outbox.discard(copy.root, copy.staging)
                if fault.ranges:
                    copy.operation = operation_at(fault.operation, fault.ranges)
                    ranges = ", ".join(f"[{start}, {end})" for start, end in fault.ranges)
                    what = "differing bytes" if fault.kind == "mismatch" else "no answer for bytes"
                    board.warn(f"{shown(fault.path)}: {judgement.reason}, {what} {ranges}")
                board.ledger.end(transfer, copy, judgement.state, judgement.reason)
        return False

    def refused(self, answer: Answer, handler: Handler) -> None:
        """A whole request failed: a folder could not be opened, or another one has taken its place."""
        request = answer.request
        code, detail = answer.reply.error or (errno.EIO, "")
        fault = Failed("io", "open", code, b"", detail)
        if isinstance(request, Prove):
            handler(_unproven(answer.worker, request, fault))
            return
        for item in getattr(request, "items", []):
            transfer = self._board.alive.get(item)
            if transfer is None:
                continue
            for root in _roots(request):
                if root in transfer.copies:
                    self.root_fault(transfer, transfer.copies[root], fault)

    def unasked(self, request: Prove, handler: Handler) -> None:
        """A place that is no longer there is asked nothing: whoever wanted to know hears that nobody has looked."""
        handler(_unproven(0, request, Failed("cancelled", "prove", 0, b"", "its place is not there")))

    def bury(self, died: Died) -> None:
        """A worker died: what it worked on goes to another, and the item it died over is watched."""
        cause = "stalled" if died.stalled else "crashed"
        hung = _hung_at(died)
        if hung is not None:
            why = "it answers when it is looked at, but workers that give or remove names there hang"
            self._board.pause_root(hung, SessionState.PAUSED_NETWORK, why)
            self._board.hung.append(hung)
        asked = [(request, self._board.outbox.handler(request)) for request in died.requests]
        if died.place is None:
            what = died.said or f"exit {died.exit_code}"
            sentence = f"worker {died.worker} {cause} ({what}) and was replaced"
            self._board.ledger.chronicle.note(EventKind.WORKER, sentence, item=died.item)
            self._board.warn(sentence)
            if hung is None:
                self._suspect(died, [request for request, _ in asked])
        for request, handler in asked:
            if died.place is None and isinstance(request, (Publish, Adopt)):
                self._board.count_death(request.root)
            for column, item in enumerate(getattr(request, "items", [])):
                transfer = self._board.alive.get(item)
                if transfer is not None:
                    self._requeue(transfer, request, column, handler, cause)

    def _suspect(self, died: Died, asked: list[Request]) -> None:
        """Note over which items a worker may have died."""
        # It died between two items, or before the first: every one of its oldest batch is suspect, and goes alone.
        everywhere = {item for request in asked for item in getattr(request, "items", [])}
        oldest = getattr(asked[0], "items", []) if asked else []
        known = died.item in everywhere
        for item in {died.item} if known else set(oldest):
            transfer = self._board.alive.get(item or 0)
            if transfer is not None:
                # Of a whole batch nobody is guilty yet; whoever is, will show it when it goes alone.
                transfer.deaths += known or len(oldest) == 1
                transfer.alone = True
                transfer.mapped = transfer.mapped and not died.bus_error

    def _requeue(self, transfer: Transfer, request: Request, column: int, handler: Handler, cause: str) -> None:
        board = self._board
        hopeless = transfer.deaths >= DEATHS
        if isinstance(request, Prove):
            path = request.paths[column]
            if board.away(request.source, request.root):
                self.unasked(Prove(request.id, request.source, request.root, [transfer.item.number], [path]), handler)
            elif hopeless:
                one = Prove(request.id, request.source, request.root, [transfer.item.number], [path])
                handler(_unproven(0, one, Failed(cause, "prove", 0, path, "a worker died over it twice")))
            else:
                board.outbox.prove(transfer, request.source, request.root, path, handler)
            return
        again = []
        for copy in [transfer.copies[root] for root in _roots(request) if root in transfer.copies]:
            if isinstance(request, (Publish, Adopt)):
                board.outbox.adopt(copy)  # the name may have been given already
                continue
            if hopeless or not board.leaves_trail(transfer.item):
                board.outbox.discard(copy.root, request.staging[0][column] if isinstance(request, Stage) else None)
            if hopeless:
                board.ledger.end(transfer, copy, ItemState.FAILED, cause)
            else:
                board.plan_again(copy)
                again.append(copy.root)
        if again:
            board.queue(transfer, again, alone=transfer.alone)
        board.settle(transfer)


def _hung_at(died: Died) -> int | None:
    """The root that a worker stood before which stood still; None where it may have been a source, or a single file.

    Its requests are answered in their order, but that copying has a thread of its own: if the oldest one only gives or
    removes names at a root, and nothing moves, it is there. One file that the kernel does not let go of can hold up the
    whole folder that it is in, while the root itself answers.
    """
    oldest = next(iter(died.requests), None)
    if not died.stalled or died.place is not None:
        return None
    return oldest.root if isinstance(oldest, (Publish, Folders, Discard)) else None


def _perhaps_its_source(judgement: Judgement, fault: Failed) -> bool:
    """Whether a file that seems to have gone or changed may only be on a source that is going away.

    A share whose server dies may give the end of a file before its end, or no file where one was.
    """
    return judgement.state is ItemState.REMOVED or (judgement.state is ItemState.CHANGED and fault.operation == "read")


def _unproven(worker: int, request: Prove, fault: Failed) -> Answer:
    """The answer to a Prove that failed as a whole: the same fault for each of its files."""
    told = (fault.kind, fault.operation, fault.errno, fault.path, fault.detail, list(fault.ranges))
    return Answer(worker, request, Reply(request.id, proofs=[(None, 0, 0, None, told) for _ in request.items]))


def _roots(request: Request) -> tuple[int, ...]:
    if isinstance(request, Stage):
        return request.roots
    return () if request.root is None else (request.root,)
