"""The outbox: what waits to be sent to workers, gathered into batches, and who takes the answer.

Nothing is sent when it is asked for: `flush` sends, after the ledger's commit, so that no name is given before
its `validated` is durable.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

from ingest.storage.tuning import SHARD_BYTES, SHARD_FILES
from ingest.workers.messages import Adopt, Discard, Prove, Publish, Request, Stage
from ingest.workers.sharding import Key, Sharder
from ingest.workers.supervisor import Answer

if TYPE_CHECKING:
    from ingest.model.item import Item
    from ingest.pipeline.lane import Lane
    from ingest.pipeline.lot import Lot
    from ingest.pipeline.plan import Transfer
    from ingest.session.rows import Copy
    from ingest.workers.supervisor import Supervisor

Handler = Callable[[Answer], None]
_K = TypeVar("_K")
_V = TypeVar("_V")


class Namer(Protocol):
    """Who knows of names: asked, at the moment of sending, who may still have one."""

    def standing(self, root: int, copies: list[Copy]) -> list[Copy]:
        """Those copies whose root still takes part."""

    def published(self, answer: Answer) -> None:
        """Takes the answer to Publish."""

    def adopted(self, answer: Answer) -> None:
        """Takes the answer to Adopt."""


class Sender(Protocol):
    """Who fills the outbox: asked, at the moment of sending, what may still be sent."""

    @property
    def naming(self) -> Namer:
        """Who answers for names."""

    def batch(self, request_id: int, key: Key, items: list[Item]) -> Stage | None:
        """The staging request for a shard, None if nothing of it is left to do."""

    @property
    def lane(self) -> Lane:
        """Who answers for lots."""

    def staged(self, answer: Answer) -> None:
        """Takes the answer to Stage."""


class Outbox:
    """Requests in the making, and those that wait for an answer.

    Attributes:
        lots: to be staged. named: to be given their names, each at one root.
    """

    def __init__(self, workers: Supervisor, files: int = SHARD_FILES) -> None:
        """Requests to these workers, of at most so many files each."""
        self._workers = workers
        self._files = files
        self._sharder = Sharder(files, SHARD_BYTES)
        self._publish: defaultdict[int, list[Copy]] = defaultdict(list)
        self._adopt: defaultdict[int, list[Copy]] = defaultdict(list)
        self._discard: defaultdict[int, list[bytes]] = defaultdict(list)
        self._prove: defaultdict[tuple[int | None, int | None, Handler], list[tuple[int, bytes]]] = defaultdict(list)
        self._handlers: dict[int, Handler] = {}
        self._numbers = 0
        self.lots: deque[Lot] = deque()
        self.named: deque[tuple[Lot, int]] = deque()

    @property
    def busy(self) -> bool:
        """Something waits to be sent, or to be answered."""
        return bool(
            self._handlers or self.lots or self.named or self._publish or self._adopt or self._discard or self._prove
            or len(self._sharder)
        )  # fmt: skip

    def stage(self, key: Key, item: Item, *, alone: bool = False) -> None:
        """Have an item copied, in company unless it is to be `alone`."""
        self._sharder.add(key, item, alone=alone)

    def publish(self, copy: Copy) -> None:
        """Have a proven copy given its name."""
        self._publish[copy.root].append(copy)

    def adopt(self, copy: Copy) -> None:
        """Have a copy looked for that an earlier attempt may have given its name."""
        self._adopt[copy.root].append(copy)

    def discard(self, root: int, staging: bytes | None) -> None:
        """Have a staging file removed."""
        if staging:
            self._discard[root].append(staging)

    def prove(self, transfer: Transfer, source: int | None, root: int | None, path: bytes, handler: Handler) -> None:
        """Have a file of a source hashed, or one of a root read back cold."""
        self._prove[source, root, handler].append((transfer.item.number, path))

    def handler(self, request: Request) -> Handler:
        """Who takes the answer to a request; it is no longer awaited."""
        return self._handlers.pop(request.id)

    def number(self) -> int:
        """A fresh id for a request."""
        self._numbers += 1
        return self._numbers

    def send(self, request: Request, handler: Handler) -> None:
        """Send one request at once."""
        self._handlers[request.id] = handler
        self._workers.submit(request)

    def flush(self, sender: Sender, *, stopping: bool) -> None:
        """Send what may be sent: names first, then proofs, then batches as long as workers want some."""
        for root, names in _drained(self._discard):
            self.send(Discard(self.number(), root, names), _ignore)
        while self.named:
            naming = sender.lane.publish(*self.named.popleft())
            if naming is not None:
                self.send(*naming)
        for root, copies in _drained(self._publish):
            for part in self._slices(sender.naming.standing(root, copies)):
                request = Publish(self.number(), root, [c.item for c in part], _stagings(part), _paths(part))
                self.send(request, sender.naming.published)
        for root, copies in _drained(self._adopt):
            for part in self._slices(sender.naming.standing(root, copies)):
                digests = [copy.blake3 or b"" for copy in part]
                adopt = Adopt(self.number(), root, [c.item for c in part], _stagings(part), _paths(part), digests)
                self.send(adopt, sender.naming.adopted)
        for (source, from_root, handler), asked in _drained(self._prove):
            for some in self._slices(asked):
                prove = Prove(self.number(), source, from_root, [item for item, _ in some], [path for _, path in some])
                self.send(prove, handler)
        while self._workers.hungry or stopping:
            shard = self._sharder.next(unfilled=not self.lots and (self._workers.idle or stopping))
            if shard is None:
                if not self.lots:
                    break
                staging = sender.lane.stage(self.lots.popleft())
                if staging is not None:
                    self.send(*staging)
                continue
            batch = sender.batch(self.number(), shard.key, shard.items)
            if batch is not None:
                self.send(batch, sender.staged)

    def _slices(self, whole: list[_V]) -> list[list[_V]]:
        return [whole[start : start + self._files] for start in range(0, len(whole), self._files)]


def _ignore(_answer: Answer) -> None:
    """A staging file that could not be removed is cleared with its folder at the end."""


def _stagings(copies: list[Copy]) -> list[bytes]:
    return [copy.staging or b"" for copy in copies]


def _paths(copies: list[Copy]) -> list[bytes]:
    return [copy.path or b"" for copy in copies]


def _drained(waiting: defaultdict[_K, list[_V]]) -> list[tuple[_K, list[_V]]]:
    drained = list(waiting.items())
    waiting.clear()
    return drained
