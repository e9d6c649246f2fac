"""A session from end to end, in the order of the specification: scan, plan, copy, validate, finalize.

One pass, streaming: names are given to the first files while the last are still being read. This page is the
pipeline; each step is a page of its own.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from ingest.errors import ExitCode, IngestError, from_os_error, shown
from ingest.model.states import SessionState
from ingest.pipeline import finalize
from ingest.pipeline.board import Board
from ingest.pipeline.flow import Flow
from ingest.pipeline.intake import Intake
from ingest.pipeline.ledger import Ledger
from ingest.pipeline.meter import Meter
from ingest.pipeline.outbox import Outbox
from ingest.pipeline.plan import Planner
from ingest.pipeline.retry import reopen
from ingest.pipeline.scan import Filter, scan_source
from ingest.pipeline.scribe import Scribe
from ingest.pipeline.survey import Absent, survey
from ingest.session.journal import Journal
from ingest.session.register import let_go, move_session
from ingest.session.report import counts, exit_code
from ingest.storage.roots import clear_staging
from ingest.storage.space import room_for
from ingest.storage.tuning import tune
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

# How long the supervisor waits for news before it looks around: well below the promised heartbeat of 0.5 s.
TICK: Final = 0.2
# A job of fewer files and bytes than this is done by one worker before a second one has started.
TINY_FILES: Final = 16
TINY_BYTES: Final = 16 << 20


@dataclass(slots=True)
class Work:
    """What a run needs: an open database, a session that this process holds, its folders, pinned.

    Attributes:
        stopped: whether the user has asked to stop.
        retry: failed items of earlier runs are to be tried again.
    """

    database: Database
    facts: SessionFacts
    options: CopyOptions
    sources: list[Root]
    volumes: list[Volume]
    destinations: list[Destination]
    monitor: Monitor
    stopped: Callable[[], bool]
    state: SessionState
    retry: bool = False
    warnings: list[str] = field(default_factory=list)

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
        state, problem = _Run(work, journal).go()
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

    def __init__(self, work: Work, journal: Journal) -> None:
        self._work = work
        self._facts = work.facts
        self._journal = journal
        self._state = work.state
        self._roots = [destination.root for destination in work.destinations]
        self._keys = [place.key for place in work.facts.roots]
        self._folders = {s.number: s.folder for s in work.facts.sources if s.folder is not None}

    def go(self) -> tuple[SessionState, str | None]:
        """The steps, in order; the state they end in, and the problem if there is one."""
        self._clear_staging()
        if self._work.retry:
            reopen(self._journal, self._work.sources, self._work.options)
        self._scan()
        absent = self._survey()
        self._preflight(absent)
        board = self._copy(absent)
        state = finalize.final_state(board, self._journal)
        finalize.clean_up(board, self._work.destinations, state, self._journal)
        return state, "; ".join(board.problems) or None

    def _enter(self, state: SessionState) -> None:
        with self._work.database.write() as connection:
            self._state = move_session(connection, self._facts.key, self._state, state)

    def _heed_stop(self) -> None:
        if self._work.stopped():
            raise _PauseError(SessionState.PAUSED_USER, "stopped by the user")

    def _clear_staging(self) -> None:
        """What an earlier run left unproven is made again; its staging files go."""
        for number, destination in enumerate(self._work.destinations):
            clear_staging(destination.root, self._facts.short, self._journal.staged(number))
            self._journal.root_state(number, SessionState.PENDING)

    def _scan(self) -> None:
        """Write down every item of every source before anything is done with the first."""
        if self._journal.has_scan():
            return
        self._enter(SessionState.SCANNING)
        self._journal.forget_scan()
        began, number = time.monotonic(), 1
        chosen = Filter.of(self._work.options.exclude, self._work.options.only)
        meter = Meter(self._work.monitor, SessionState.SCANNING)
        for facts, root in zip(self._facts.sources, self._work.sources, strict=True):
            try:
                for found in scan_source(root, facts, number, chosen):
                    self._journal.add(found.items, found.folders)
                    number += len(found.items)
                    meter.found(found.items)
                    self._heed_stop()
            except OSError as error:
                raise self._trouble(root, from_os_error(error, "scan", facts.path)) from error
        self._journal.scanned(time.monotonic() - began)

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

    def _survey(self) -> list[Absent]:
        """Choose the card folders; what is not there yet, per root, summed over the sources."""
        self._heed_stop()
        self._enter(SessionState.PLANNING)
        total = [Absent() for _ in self._roots]
        for facts, root in zip(self._facts.sources, self._work.sources, strict=True):
            try:
                found = survey(
                    partial(self._pages, facts.number), root, self._roots, facts.label,
                    chosen=self._folders.get(facts.number), explicit=self._facts.label is not None,
                    database=self._work.database, keys=self._keys,
                )  # fmt: skip
            except IngestError as error:
                raise _PauseError(SessionState.PAUSED_NETWORK, str(error)) from error
            if facts.number not in self._folders:
                self._folders[facts.number] = found.folder
                self._journal.choose_folder(facts.number, found.folder)
                if found.folder != facts.label:
                    self._work.warn(
                        f"another card called {shown(facts.label)} is there already: this one goes to {shown(found.folder)}"
                    )
            for whole, one in zip(total, found.absent, strict=True):
                whole.files += one.files
                whole.size += one.size
        return total

    def _preflight(self, absent: list[Absent]) -> None:
        """Refuse to begin what cannot fit."""
        for number, (destination, one) in enumerate(zip(self._work.destinations, absent, strict=True)):
            files, size = self._journal.staged_size(number)
            try:
                descriptor = destination.root.open_folder(b"")
                try:
                    room = room_for(descriptor, max(0, one.files - files), max(0, one.size - size))
                finally:
                    os.close(descriptor)
            except OSError as error:
                raise self._trouble(destination.root, from_os_error(error, "statfs", destination.path)) from error
            if not room.enough:
                self._journal.root_state(number, SessionState.PAUSED_SPACE)
                raise _PauseError(
                    SessionState.PAUSED_SPACE,
                    f"{shown(destination.path)}: not enough room: {room.shortage}. Make room, then: ingest resume",
                )

    def _copy(self, absent: list[Absent]) -> Board:
        """Everything moves here: planned items in, batches out, answers in, names and manifest parts out."""
        work, journal = self._work, self._journal
        self._enter(SessionState.COPYING)
        scribes = [
            Scribe(self._facts, place, root, journal)
            for place, root in zip(self._facts.roots, self._roots, strict=True)
        ]

        def feed(root: int, sequence: int, record: CopyRecord) -> None:
            scribes[root].add(sequence, record)
            work.monitor.ended(record, self._roots[root].path)

        with Supervisor(*self._crew(absent)) as workers:
            ledger = Ledger(journal, self._facts.sources, self._facts.roots, feed)
            board = Board(self._facts, work.options, work.volumes, ledger, Outbox(workers), work.warn)
            planner = Planner(
                work.database,
                self._roots,
                self._keys,
                self._folders.__getitem__,
                work.options.duplicates,
                self._source_has,
            )
            flow = Flow(board, planner)
            intake = Intake(journal, planner, len(self._roots))
            meter = Meter(
                work.monitor, SessionState.COPYING, counts(journal)["discovered"], sum(2 * a.size for a in absent)
            )
            try:
                while True:
                    if flow.room:
                        flow.admit(intake.take())
                    if work.stopped() and not board.stopping:
                        board.stopping = True
                        workers.cancel()
                    if board.stopping or board.halted:
                        intake.stop()
                    ledger.commit()
                    board.outbox.flush(flow, stopping=board.stopping)
                    self._record(scribes, board)
                    _, written, proven = workers.counters()
                    meter.show(written, proven, ledger.items_ended, board.current(workers.current()))
                    if intake.exhausted and not board.outbox.busy:
                        break
                    for event in workers.poll(0.0 if flow.room and intake.ready else TICK):
                        flow.handle(event)
            finally:
                intake.stop()
            self._enter(SessionState.FINALIZING)
            ledger.commit()
            if not board.stopping and not work.options.only:
                finalize.make_folders(board, flow, workers, journal, self._folders)
        finalize.look_again(board, work.destinations)
        finalize.close_manifests(board, scribes, journal)
        for number in range(len(self._roots)):
            journal.root_state(number, finalize.root_state(board, journal, number))
        return board

    def _crew(self, absent: list[Absent]) -> tuple[Setup, int]:
        """How many workers, and what they are told."""
        work = self._work
        root_volumes = [destination.volume for destination in work.destinations]
        tuning = tune(work.options, work.volumes, root_volumes)
        tiny = sum(a.files for a in absent) < TINY_FILES and sum(a.size for a in absent) < TINY_BYTES
        setup = Setup(_places(work.sources, work.volumes), _places(self._roots, root_volumes), tuning.buffer)
        return setup, 1 if tiny and work.options.workers is None else tuning.workers

    def _source_has(self, source: int, path: bytes) -> bool:
        # Where it cannot be told, the file itself cannot be read either, and will be named for that.
        (seen,) = self._work.sources[source].lstat([path])
        return isinstance(seen, tuple)

    def _record(self, scribes: list[Scribe], board: Board) -> None:
        """Keep the manifests close behind."""
        for number, scribe in enumerate(scribes):
            if board.root_states[number].paused:
                continue
            try:
                scribe.poll()
                if scribe.due:
                    scribe.write(str(self._state), counts(self._journal))
            except IngestError as error:
                finalize.manifest_failed(board, number, error)


def _places(roots: Sequence[Root], volumes: Sequence[Volume]) -> tuple[Place, ...]:
    return tuple(
        Place(root.path, root.dev, root.ino, volume.served) for root, volume in zip(roots, volumes, strict=True)
    )
