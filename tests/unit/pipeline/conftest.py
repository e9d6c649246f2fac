"""A desk for the pipeline's tests: the real journal, ledger, board, planner and flow; workers that only take notes."""

from __future__ import annotations

import errno
import os
import time
from collections import defaultdict
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, TypeVar

import pytest

from ingest import engine
from ingest.model.columns import CopyColumns
from ingest.model.options import CopyOptions
from ingest.model.states import ItemState
from ingest.pipeline.board import Board
from ingest.pipeline.flow import UNREAD, Flow
from ingest.pipeline.intake import Intake, Sight
from ingest.pipeline.ledger import Ledger
from ingest.pipeline.outbox import Outbox
from ingest.pipeline.patience import Patience
from ingest.pipeline.plan import Planner, Transfer
from ingest.session.rows import Copy
from ingest.storage.volumes import Storage, Volume
from ingest.workers.messages import Adopt, Discard, Gone, Prove, Publish, Reply, Request, Stage
from ingest.workers.supervisor import DEPTH, Answer, Died

if TYPE_CHECKING:
    from collections.abc import Callable

    from ingest.engine import Fault
    from ingest.model.item import CopyRecord, Item

_R = TypeVar("_R", bound=Request)
DISK = Volume(None, Storage.LOCAL, "ext4", rotational=False, fs_uuid=None, block=True)


def fault(kind: str = "io", number: int = errno.EIO, operation: str = "read", ranges: tuple = ()) -> Fault:
    return (kind, operation, number if kind == "io" else 0, b"/where", "why", list(ranges))


def digest_of(item: int) -> bytes:
    return engine.blake3(b"%d" % item)


UNWRITTEN = frozenset({"create", "fallocate", "open", "write"})
# What each item gets in turn, so that a strategy that is told of the wrong copy shows.
STRATEGIES = ("copy", "reflink", "hardlink")
CLIP = b"CLIP00001.MP4"


@dataclass
class Crew:
    """The supervisor's twin: takes requests, does nothing with them."""

    pending: list[Request] = field(default_factory=list)
    sent: list[Request] = field(default_factory=list)
    on_submit: Callable[[Request], None] = lambda _: None

    @property
    def _stages(self) -> int:
        return sum(isinstance(request, Stage) for request in self.pending)

    @property
    def hungry(self) -> bool:
        return self._stages < DEPTH

    @property
    def idle(self) -> bool:
        return not self._stages

    def submit(self, request: Request) -> None:
        self.on_submit(request)
        self.pending.append(request)
        self.sent.append(request)

    def all(self, kind: type[_R]) -> list[_R]:
        return [request for request in self.pending if isinstance(request, kind)]


@dataclass
class Guard:
    """The sentry's twin: every place is there, unless it is in `doubt`, or has answered now but was `silent` before."""

    blamed: list[int] = field(default_factory=list)
    doubt: set[int] = field(default_factory=set)
    silent: set[int] = field(default_factory=set)

    def blame(self, place: int) -> None:
        self.blamed.append(place)

    def certain(self, place: int, since: float) -> bool:
        assert since <= time.monotonic()
        return place not in self.doubt

    def doubted(self, place: int, since: float) -> bool:
        assert since <= time.monotonic()
        return place in self.silent


class Desk:
    """One run of a session, step by step."""

    def __init__(self, session, options: CopyOptions | None = None, volume: Volume = DISK) -> None:
        options = options or CopyOptions()
        self.session = session
        self.crew = Crew()
        self.warnings: list[str] = []
        self.records: list[tuple[int, int, CopyRecord]] = []
        facts = session.facts
        self._sources = [tree.root for tree in session.sources]
        roots = [tree.root for tree in session.roots]
        self.ledger = Ledger(
            session.journal,
            facts.sources,
            facts.roots,
            self._told,
        )
        self.guard = Guard()
        self.board = Board(
            facts,
            options,
            [volume] * len(self._sources),
            self.ledger,
            Outbox(self.crew),
            self.warnings.append,
            self.guard,
        )
        self.board.patience = Patience(random=Random(0))  # examples have to come out the same twice
        self.planner = Planner(
            session.database, roots, [place.key for place in facts.roots], lambda source: facts.sources[source].label,
            options.duplicates, lambda source, path: self._sources[source].lstat([path])[0] is not None,
        )  # fmt: skip
        self.flow = Flow(self.board, self.planner)

    def _told(self, root: int, number: int, told: CopyRecord | CopyColumns) -> None:
        for each in told.records() if isinstance(told, CopyColumns) else (told,):
            self.records.append((root, number, each))
            number += 1

    # In

    def take_in(self) -> None:
        """Everything that the journal still has to do, planned, as the intake hands it on."""
        roots = len(self.session.roots)
        intake = Intake(self.session.journal, self.planner, range(roots), roots, Sight(self.board.mode))
        while not intake.exhausted:
            self.flow.take_in(intake.take())
            time.sleep(0)
        self.tick()

    def start(self, *items: Item) -> None:
        """A scan found these, and they are on their way."""
        self.session.add(*items)
        self.take_in()

    def more(self, *items: Item) -> None:
        """The intake hands on some more."""
        self.session.add(*items)
        roots = range(len(self.session.roots))
        transfers = [Transfer(each, {r: Copy(each.number, r, ItemState.DISCOVERED) for r in roots}) for each in items]
        self.planner.place(transfers)
        self.flow.admit(transfers)
        self.tick()

    def tick(self) -> None:
        self.ledger.commit()
        self.board.outbox.flush(self.flow, stopping=self.board.stopping)

    def later(self, seconds: float = 10.0) -> None:
        """So much later, what failed a moment ago is taken up."""
        self.flow.tend(time.monotonic() + seconds)
        self.tick()

    # Out

    def only(self, kind: type[_R]) -> _R:
        (request,) = self.crew.all(kind)
        return request

    def transfer(self, item: int) -> Transfer:
        return self.board.alive[item]

    def answer(self, request: Request, *, worker: int = 0, tick: bool = True, **fields: object) -> None:
        """A worker answers."""
        self.crew.pending.remove(request)
        self.flow.handle(Answer(worker, request, Reply(request.id, **fields)))
        if tick:
            self.tick()

    def die(self, *requests: Request, item: int | None = None, exit_code: int = -9, stalled: bool = False) -> None:
        """A worker dies with these on its hands."""
        for request in requests:
            self.crew.pending.remove(request)
        self.flow.handle(Died(0, requests, item, exit_code, stalled))
        self.tick()

    def staged(
        self,
        request: Stage,
        *,
        source: dict[int, Fault] | None = None,
        copies: dict[tuple[int, int], Fault] | None = None,
        gone: tuple[Gone, ...] = (),
        **more: object,
    ) -> None:
        """The answer to a Stage: all is well but for these faults, by item and by (item, root)."""
        source, copies = source or {}, copies or {}
        wrong = {(item, root): copies.get((item, root)) for item in request.items for root in request.roots}
        # As the engine: where no copy is left to write to, the source is not read to its end.
        unread = {
            item for item in request.items
            if all((fault := wrong[item, root]) is not None and fault[1] in UNWRITTEN for root in request.roots)
        }  # fmt: skip
        columns = []
        for root in request.roots:
            good = [item not in source and wrong[item, root] is None for item in request.items]
            faults = {
                at: fault for at, item in enumerate(request.items)
                if item not in source and (fault := wrong[item, root]) is not None
            }  # fmt: skip
            columns.append((
                ["evicted" if well else None for well in good], [4 if well else 0 for well in good],
                [mtime if well else 0 for well, mtime in zip(good, request.mtimes, strict=True)],
                [STRATEGIES[n % 3] if well else None for n, well in zip(request.items, good, strict=True)], faults,
            ))  # fmt: skip
        digests = b"".join(UNREAD if item in source or item in unread else digest_of(item) for item in request.items)
        bad = {at: source[item] for at, item in enumerate(request.items) if item in source}
        many = len(request.items)
        answer = (digests, list(request.sizes), [1] * many, [2] * many, bad, columns, (1, 1, 1), {}, [], {}, {}, [])
        self.answer(request, staged=answer, gone=gone, **more)

    def published(
        self, request: Publish, *, faults: dict[int, Fault] | None = None, gone: tuple[Gone, ...] = ()
    ) -> None:
        faults = faults or {}
        methods = [None if item in faults else "noreplace" for item in request.items]
        found = {at: faults[item] for at, item in enumerate(request.items) if item in faults}
        self.answer(request, published=(methods, found), gone=gone)

    def proved(
        self,
        request: Prove,
        digests: dict[int, bytes] | None = None,
        *,
        faults: dict[int, Fault] | None = None,
        gone: tuple[Gone, ...] = (),
    ) -> None:
        """The answer to a Prove: each item's own bytes, but for these."""
        digests, faults = digests or {}, faults or {}
        method = None if request.root is None else "evicted"
        rows = []
        for item in request.items:
            if item in faults:
                rows.append((None, 0, 0, None, faults[item]))
            else:
                found = self.session.items()[item]
                rows.append((digests.get(item, digest_of(item)), found.size, found.mtime_ns, method, None))
        self.answer(request, proofs=rows, gone=gone)

    def adopted(self, request: Adopt, outcome: str, wrong: Fault | None = None, *, gone: tuple[Gone, ...] = ()) -> None:
        method = "evicted" if outcome in ("adopted", "published") else None
        publish = "noreplace" if outcome == "published" else None
        self.answer(request, adopted=[(outcome, method, publish, wrong) for _ in request.items], gone=gone)

    def run(self) -> None:
        """From here on all is well: answer until nothing is asked any more."""
        for _ in range(10_000):
            if not self.crew.pending:
                if not self.board.busy:
                    return
                self.later()
                continue
            match self.crew.pending[0]:
                case Stage() as request:
                    self.staged(request)
                case Publish() as request:
                    self.published(request)
                case Prove() as request:
                    self.proved(request)
                case Adopt() as request:
                    self.adopted(request, "adopted")
                case Discard() as request:
                    self.answer(request, faults=[None for _ in request.paths])
                case other:
                    raise AssertionError(other)
        raise AssertionError("it never ends")

    # What came of it

    def state(self, item: int) -> str:
        self.tick()
        return str(self.session.items()[item].state)

    def copy(self, item: int, root: int = 0):
        self.tick()
        return self.session.copies()[item, root]

    def discarded(self) -> set[bytes]:
        return {path for request in self.crew.sent if isinstance(request, Discard) for path in request.paths}

    def paths(self, root: int = 0) -> list[bytes]:
        """Names that were asked for, in order."""
        return [path for r in self.crew.sent if isinstance(r, Publish) and r.root == root for path in r.paths]

    def close_books(self) -> None:
        """Whatever happened: every item ended once, as the worst of its copies, or waits and is known to wait."""
        self.tick()
        assert not self.crew.pending
        assert not self.board.outbox.busy
        assert not self.board.alive
        assert not self.board.lots
        items, copies = self.session.items(), self.session.copies()
        waiting = self.board.stopping or bool(self.board.lost_sources) or any(s.paused for s in self.board.root_states)
        of_item = defaultdict(list)
        for copy in copies.values():
            of_item[copy.item].append(copy)
        for number, item in items.items():
            ended = [copy for copy in of_item[number] if copy.state.ended]
            if item.state.ended:
                assert len(ended) == len(self.session.roots), number
                from ingest.model.states import worst

                assert item.state is worst([copy.state for copy in ended])
            else:
                assert waiting, f"item {number} is {item.state}, and nothing waits"
                assert item.state is ItemState.DISCOVERED
                assert len(ended) < len(self.session.roots)
        told: defaultdict[int, list[int]] = defaultdict(list)
        seen = set()
        for root, number, record in self.records:
            told[root].append(number)
            assert (root, record.item) not in seen
            seen.add((root, record.item))
            assert copies[record.item, root].state is record.state
        for numbers in told.values():
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


@pytest.fixture
def crew() -> Crew:
    return Crew()


@pytest.fixture
def desk(begin) -> Callable[..., Desk]:
    """Sits down to a new session."""

    def make(roots: int = 1, sources: int = 1, options: CopyOptions | None = None, volume: Volume = DISK) -> Desk:
        return Desk(begin(roots, sources, options), options, volume)

    return make


@pytest.fixture
def again() -> Callable[[Desk], Desk]:
    """Takes a session up once more, with nothing but what the journal has."""

    def make(before: Desk) -> Desk:
        return Desk(before.session)

    return make


@pytest.fixture
def standing(desk, item) -> Callable[..., Desk]:
    """A desk with one item of ten bytes, for which a file of ten bytes stands on these roots."""

    def make(*on: int, roots: int = 1, **options: object) -> Desk:
        d = desk(roots=roots, options=CopyOptions(**options))
        for root in on:
            d.session.roots[root].put(b"CARD/" + CLIP, b"0123456789")
        d.start(item(1))
        return d

    return make


@pytest.fixture
def wrong() -> Callable[..., Fault]:
    """Makes a fault."""
    return fault


@pytest.fixture
def away() -> Callable[..., tuple[Gone, ...]]:
    """Says that a root or source is no longer there."""

    def make(*, root: int | None = None, source: int | None = None, number: int = errno.ENOENT) -> tuple[Gone, ...]:
        return (Gone(source, root, number, os.strerror(number)),)

    return make


@pytest.fixture
def digest() -> Callable[[int], bytes]:
    """The bytes of an item, as the crew tells them."""
    return digest_of
