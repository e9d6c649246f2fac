"""A session from end to end, in the order of the specification: scan, plan, copy, validate, finalize.

One pass, streaming: names are given to the first files while the last are still being read. This page is the
pipeline; each step is a page of its own.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from ingest.errors import ExitCode, IngestError, from_os_error, shown
from ingest.model.columns import CopyColumns
from ingest.model.digests import computed
from ingest.model.options import Lists, Partial
from ingest.model.states import SessionState
from ingest.pipeline import finalize
from ingest.pipeline.board import Board
from ingest.pipeline.flow import Flow
from ingest.pipeline.intake import Intake, Sight
from ingest.pipeline.ledger import Ledger
from ingest.pipeline.lists import lists_among, read_lists
from ingest.pipeline.meter import Meter
from ingest.pipeline.outbox import Outbox
from ingest.pipeline.plan import Planner
from ingest.pipeline.retry import reopen
from ingest.pipeline.scan import Filter, scan_source
from ingest.pipeline.scribe import Scribe
from ingest.pipeline.sources import Sources
from ingest.pipeline.survey import Absent, Card, Look, survey
from ingest.session.journal import Journal
from ingest.session.judged import differs
from ingest.session.register import let_go, move_session
from ingest.session.report import exit_code
from ingest.session.sums import Sums
from ingest.session.trails import Trails
from ingest.storage.roots import clear_staging
from ingest.storage.sharing import Sharing
from ingest.storage.space import room_for, taken_by
from ingest.storage.tuning import SHARD_BYTES, Tuning, tune
from ingest.workers.messages import Place, Setup
from ingest.workers.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ingest.db.engine import Database
    from ingest.engine import Root
    from ingest.model.item import CopyRecord, Item
    from ingest.model.options import CopyOptions
    from ingest.model.session import SessionFacts
    from ingest.monitor import Monitor
    from ingest.storage.roots import Destination
    from ingest.storage.volumes import Volume

    Counters: TypeAlias = Callable[[], tuple[int, int, int]]

# How long the supervisor waits for news before it looks around: well below the promised heartbeat of 0.5 s.
TICK: Final = 0.2
# The same while a worker has nothing to do and more is being planned.
MOMENT: Final = 0.005


@dataclass(slots=True)
class Work:
    """What a run needs: an open database, a session that this process holds, its folders, pinned.

    Attributes:
        destinations: None where a root could not be opened; `away` says why.
        stopped: whether the user has asked to stop.
        retry: failed items of earlier runs are to be tried again.
        sharing: which copies are clones or links of their source.
    """

    database: Database
    facts: SessionFacts
    options: CopyOptions
    sources: list[Root]
    volumes: list[Volume]
    destinations: list[Destination | None]
    monitor: Monitor
    stopped: Callable[[], bool]
    state: SessionState
    retry: bool = False
    away: dict[int, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    sharing: Sharing = field(default_factory=Sharing)

    def warn(self, text: str) -> None:
        """Tell the monitor, and remember it for the report."""
        self.warnings.append(text)
        self.monitor.warning(text)


class _PauseError(Exception):
    """The session cannot go on now, but later."""

    def __init__(self, state: SessionState, problem: str) -> None:
        super().__init__(problem)
        self.state = state
        self.problem = problem


def run(work: Work) -> SessionState:
    """Do what is left of a session and let go of it; its state after this run.

    Raises:
        IngestError: it cannot go on at all. It is left `interrupted`, and can be resumed.
    """
    began = time.monotonic()
    journal = Journal(work.database, work.facts.key)
    state, code, problem = SessionState.INTERRUPTED, ExitCode.ERROR, None
    try:
        with Meter(work.monitor) as meter:
            state, problem = _Run(work, journal, meter).go()
        code = exit_code(journal, state)
    except _PauseError as pause:
        state, problem = pause.state, pause.problem
        code = exit_code(journal, state)
        work.warn(problem)
    except BaseException as error:
        problem = str(error)
        code = error.exit_code if isinstance(error, IngestError) else code
        raise
    finally:
        with work.database.write() as connection:
            let_go(connection, work.facts.key, state, code, problem, time.monotonic() - began)
    return state


class _Run:
    """One run of a session."""

    def __init__(self, work: Work, journal: Journal, meter: Meter) -> None:
        self._work = work
        self._meter = meter
        self._facts = work.facts
        self._journal = journal
        self._sums = Sums(work.database, work.facts.key)
        self._state = work.state
        self._roots = [destination.root if destination else None for destination in work.destinations]
        self._keys = [place.key for place in work.facts.roots]
        self._out = {number: (SessionState.PAUSED_NETWORK, why) for number, why in work.away.items()}
        # What every file is read for besides its BLAKE3.
        self._hashes = computed(work.options.hashes)
        self._trails_at: bytes | None = None
        self._trails = Trails(work.database.path.parent, work.facts.id, wanted=work.options.partial is Partial.VERIFIED)
        self._folders = {s.number: s.folder for s in work.facts.sources if s.folder is not None}

    def go(self) -> tuple[SessionState, str | None]:
        """The steps, in order; the state they end in, and the problem if there is one."""
        self._trails_at = self._trails.open()
        self._clear_staging()
        if self._work.retry:
            reopen(self._journal, self._work.sources, self._work.options, self._found)
        self._scan()
        self._read_lists()
        absent = self._survey()
        self._preflight(absent)
        board = self._copy(absent)
        state = finalize.final_state(board, self._journal)
        finalize.clean_up(board, self._work.destinations, state, self._journal, self._trails)
        if differs(self._journal):
            self._work.warn("the card's own sum files say something else of files that arrived as they were read")
        return state, "; ".join(board.problems) or None

    @property
    def _standing(self) -> list[tuple[int, Destination]]:
        """The destinations that take part in this run, with their numbers."""
        return [(n, one) for n, one in enumerate(self._work.destinations) if one is not None and n not in self._out]

    def _enter(self, state: SessionState) -> None:
        with self._work.database.write() as connection:
            self._state = move_session(connection, self._facts.key, self._state, state)
        self._meter.enter(state)

    def _heed_stop(self) -> None:
        if self._work.stopped():
            raise _PauseError(SessionState.PAUSED_USER, "stopped by the user")

    def _clear_staging(self) -> None:
        """What an earlier run left unproven is made again; its staging files go, but for parts that a trail speaks of."""
        for number, destination in self._standing:
            kept = self._journal.staged(number) | self._trails.parts(destination.marker.uuid).keys()
            clear_staging(destination.root, self._facts.short, kept)
            self._journal.root_state(number, SessionState.PENDING)

    def _scan(self) -> None:
        """Write down every item of every source before anything is done with the first."""
        if self._journal.has_scan():
            return
        self._enter(SessionState.SCANNING)
        self._journal.forget_scan()
        began, number = time.monotonic(), 1
        chosen = Filter.of(self._work.options.exclude, self._work.options.only)
        for facts, root in zip(self._facts.sources, self._work.sources, strict=True):
            try:
                for found in scan_source(root, facts, number, chosen):
                    self._journal.add(found.items, found.folders)
                    self._found(found.items)
                    number += len(found.items)
                    self._meter.found(found.items)
                    self._heed_stop()
            except OSError as error:
                raise self._trouble(root, from_os_error(error, "scan", facts.path)) from error
        self._journal.scanned(time.monotonic() - began)

    def _found(self, items: list[Item]) -> None:
        """Note the sum files among what was found; a file that was named alone brings none along."""
        if self._work.options.sums is Lists.CHECK:
            sources = self._facts.sources
            self._sums.found(lists_among(item for item in items if sources[item.source].single is None))

    def _read_lists(self) -> None:
        """Read the card's sum files, so that it is known which digests the one read of each file has to compute."""
        self._sums.begin()
        for facts, root in zip(self._facts.sources, self._work.sources, strict=True):
            try:
                read_lists(self._sums, self._journal, facts.number, root, self._heed_stop)
            except OSError as error:
                raise self._trouble(root, from_os_error(error, "read", facts.path)) from error
        self._hashes = computed((*self._work.options.hashes, *self._sums.algorithms()))

    def _pages(self, source: int) -> Iterator[list[Item]]:
        """A source's items; stopping is heeded in between."""
        for page in self._journal.items(source=source):
            self._heed_stop()
            yield page

    def _trouble(self, root: Root, error: IngestError) -> Exception:
        """An error that met a source or root as a whole: a pause if it is no longer there."""
        try:
            root.check()
        except OSError as gone:
            return _PauseError(SessionState.PAUSED_NETWORK, f"{shown(root.path)} is no longer there ({gone.strerror})")
        return error

    def _survey(self) -> dict[int, Absent]:
        """Choose the card folders; what is not there yet, per root, summed over the sources."""
        self._heed_stop()
        self._enter(SessionState.PLANNING)
        standing = self._standing
        total = {number: Absent() for number, _ in standing}
        look = Look(
            [destination.root for _, destination in standing], [self._keys[number] for number, _ in standing],
            self._work.database, self._heed_stop, self._journal.note_digests,
        )  # fmt: skip
        for facts, root in zip(self._facts.sources, self._work.sources, strict=True):
            card = Card(partial(self._pages, facts.number), partial(self._journal.weigh, facts.number))
            explicit = self._facts.label is not None
            try:
                found = survey(card, root, look, facts.label, chosen=self._folders.get(facts.number), explicit=explicit)
            except IngestError as error:
                raise _PauseError(SessionState.PAUSED_NETWORK, str(error)) from error
            if facts.number not in self._folders:
                self._folders[facts.number] = found.folder
                self._journal.choose_folder(facts.number, found.folder)
                if found.folder != facts.label:
                    other = f"another card called {shown(facts.label)} is there already"
                    self._work.warn(f"{other}: this one goes to {shown(found.folder)}")
            for (number, _), one in zip(standing, found.absent, strict=True):
                total[number].add(one, shared=(facts.number, number) in self._work.sharing.pairs)
        return total

    def _preflight(self, absent: dict[int, Absent]) -> None:
        """Leave out the destinations that what is missing there does not fit on."""
        for number, destination in self._standing:
            files, size = self._journal.staged_size(number)
            proven = self._journal.staged(number)
            parts = self._trails.parts(destination.marker.uuid)
            begun = taken_by(destination.root, {name: of for name, of in parts.items() if name not in proven})
            files, size = files + begun[0], size + begun[1]
            one = absent[number]
            try:
                descriptor = destination.root.open_folder(b"")
                try:
                    room = room_for(descriptor, max(0, one.files - files), max(0, one.size - one.shared - size))
                finally:
                    os.close(descriptor)
            except OSError as error:
                raise self._trouble(destination.root, from_os_error(error, "statfs", destination.path)) from error
            if not room.enough:
                advice = "Make room, then: ingest resume"
                self._out[number] = (SessionState.PAUSED_SPACE, f"not enough room: {room.shortage}. {advice}")
                del absent[number]
        if not self._standing:
            for number, (state, _) in self._out.items():
                self._journal.root_state(number, state)
            sentences = [f"{shown(self._facts.roots[number].path)}: {why}" for number, (_, why) in self._out.items()]
            states = [state for state, _ in self._out.values()]
            worst = SessionState.PAUSED_SPACE if SessionState.PAUSED_SPACE in states else SessionState.PAUSED_NETWORK
            raise _PauseError(worst, "; ".join(sentences))

    def _copy(self, absent: dict[int, Absent]) -> Board:
        """Everything moves here: planned items in, batches out, answers in, names and manifest parts out."""
        work, journal, places = self._work, self._journal, self._facts.roots
        self._enter(SessionState.COPYING)
        scribes: dict[int, Scribe] = {}
        for number, one in self._standing:
            try:
                scribes[number] = Scribe(self._facts, places[number], one.root, journal)
            except IngestError as error:
                self._out[number] = (SessionState.PAUSED_NETWORK, f"its manifest cannot be gone on with: {error}")

        def feed(root: int, sequence: int, told: CopyRecord | CopyColumns) -> None:
            scribes[root].add(sequence, told)
            if work.monitor.each:
                for record in told.records() if isinstance(told, CopyColumns) else (told,):
                    work.monitor.ended(record, places[root].path)

        tuning, sources = self._tune(absent), Sources(work.sources, later=self._facts.run > 1)
        with Supervisor(*self._crew(tuning)) as workers:
            ledger = Ledger(journal, self._facts.sources, places, feed)
            outbox = Outbox(workers, tuning.shard_files)
            board = Board(self._facts, work.options, work.volumes, ledger, outbox, work.warn, self._hashes)
            for number, (state, why) in self._out.items():
                board.pause_root(number, state, why)
            named = self._folders.__getitem__
            planner = Planner(work.database, self._roots, self._keys, named, work.options.duplicates, sources.has)
            flow = Flow(board, planner)
            limits = (tuning.shard_files, SHARD_BYTES)
            sight = Sight(board.mode, limits, sources.renewed, sources.as_seen if self._facts.run > 1 else None)
            intake = Intake(journal, planner, [number for number, _ in self._standing], len(places), sight)
            self._meter.plan(ledger.counts["discovered"], *_work(list(absent.values()), workers.counters))
            try:
                while True:
                    if flow.room:
                        flow.take_in(intake.take())
                    if work.stopped() and not board.stopping:
                        board.stopping = True
                        workers.cancel()
                    if board.stopping or board.halted:
                        intake.stop()
                    ledger.commit()
                    self._trails.drop(ledger.take_over())
                    board.outbox.flush(flow, stopping=board.stopping)
                    self._record(scribes, board, ledger)
                    self._meter.show(ledger.items_ended, board.current(workers.current()))
                    if intake.exhausted and not board.outbox.busy:
                        break
                    wait = MOMENT if workers.idle and not intake.exhausted else TICK
                    for event in workers.poll(0.0 if flow.room and intake.ready else wait):
                        flow.handle(event)
            finally:
                intake.stop()
            self._meter.end(ledger.items_ended, whole=not (board.stopping or board.problems))
            self._enter(SessionState.FINALIZING)
            ledger.commit()
            if not board.stopping and not work.options.only:
                finalize.make_folders(board, flow, workers, journal, self._folders)
        finalize.look_again(board, work.destinations)
        finalize.close_manifests(board, scribes, journal, ledger.counts)
        for number in range(len(places)):
            journal.root_state(number, finalize.root_state(board, journal, number))
        return board

    def _tune(self, absent: dict[int, Absent]) -> Tuning:
        """What suits the volumes that take part, and what is to be done."""
        standing = {number: one.volume for number, one in self._standing}
        volumes = [standing.get(number) for number in range(len(self._facts.roots))]
        copies = sum(one.files for one in absent.values()), sum(one.size for one in absent.values())
        return tune(self._work.options, self._work.volumes, volumes, copies)

    def _crew(self, tuning: Tuning) -> tuple[Setup, int]:
        """How many workers, and what they are told."""
        work = self._work
        sources = [_place(root, volume) for root, volume in zip(work.sources, work.volumes, strict=True)]
        roots = [
            # One that is away is never asked for anything.
            _place(one.root, one.volume) if one else Place(place.path, place.device, place.inode, served=False)
            for place, one in zip(self._facts.roots, work.destinations, strict=True)
        ]
        together = frozenset(root for root, may in enumerate(tuning.together) if may)
        keys = tuple(place.uuid.encode("ascii") for place in self._facts.roots)
        volumes = tuple(volume.identity(root.dev) for root, volume in zip(work.sources, work.volumes, strict=True))
        setup = Setup(
            tuple(sources), tuple(roots), tuning.buffer, tuning.threads, together, tuning.keep_cache, self._hashes,
            str(work.sharing.strategy), self._trails_at, keys, volumes,
        )  # fmt: skip
        return setup, tuning.workers

    def _record(self, scribes: dict[int, Scribe], board: Board, ledger: Ledger) -> None:
        """Keep the manifests close behind."""
        for number, scribe in scribes.items():
            if board.root_states[number].paused:
                continue
            try:
                scribe.poll()
                if scribe.due:
                    scribe.write(str(self._state), ledger.counts)
            except IngestError as error:
                finalize.manifest_failed(board, number, error)


def _work(absent: Sequence[Absent], counters: Counters) -> tuple[int, Counters]:
    """The bytes to be written and read back, and who counts them.

    Where nothing is written, because every copy shares its source's bytes, what is read shows the pace instead.
    """
    proven = sum(one.size for one in absent)
    written = proven - sum(one.shared for one in absent)
    if written or not proven:
        return written + proven, counters

    def reading() -> tuple[int, int, int]:
        read, _, verified = counters()
        return read, read, verified

    return max(one.size for one in absent) + proven, reading


def _place(root: Root, volume: Volume) -> Place:
    return Place(root.path, root.dev, root.ino, volume.served)
