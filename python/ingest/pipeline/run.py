"""A session from end to end, in the order of the specification: scan, plan, copy, validate, finalize.

One pass, streaming: names are given to the first files while the last are still being read. This page is the
pipeline; each step is a page of its own.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Final

from ingest.errors import ExitCode, IngestError
from ingest.model.columns import CopyColumns
from ingest.model.event import EventKind
from ingest.model.states import SessionState
from ingest.pipeline import finalize, preparation
from ingest.pipeline.board import Board
from ingest.pipeline.context import Context, PauseError
from ingest.pipeline.crew import crew, tuned, workload
from ingest.pipeline.flow import Flow
from ingest.pipeline.intake import Intake, Sight
from ingest.pipeline.leaving import explain, leave
from ingest.pipeline.ledger import Ledger
from ingest.pipeline.meter import Meter
from ingest.pipeline.outbox import Outbox
from ingest.pipeline.plan import Planner
from ingest.pipeline.scribe import Scribe
from ingest.pipeline.sources import Sources
from ingest.session.journal import Journal
from ingest.session.judged import differs
from ingest.session.register import let_go
from ingest.session.report import counts, exit_code
from ingest.storage.tuning import SHARD_BYTES
from ingest.workers.supervisor import Supervisor

if TYPE_CHECKING:
    from ingest.model.item import CopyRecord
    from ingest.pipeline.context import Work
    from ingest.pipeline.sentry import Sentry
    from ingest.pipeline.survey import Outlook
    from ingest.session.chronicle import Chronicle

# How long the supervisor waits for news before it looks around: well below the promised heartbeat of 0.5 s.
TICK: Final = 0.2
# The same while a worker has nothing to do and more is being planned.
MOMENT: Final = 0.005


def run(work: Work, sentry: Sentry) -> SessionState:
    """Do what is left of a session and let go of it; its state after this run.

    Raises:
        IngestError: it cannot go on at all. It is left `interrupted`, and can be resumed.
    """
    began = time.monotonic()
    journal = Journal(work.database, work.facts.key)
    _note_beginning(work)
    state, code, problem = SessionState.INTERRUPTED, ExitCode.ERROR, None
    try:
        with Meter(work.monitor) as meter:
            state, problem = _go(Context(work, journal, meter, sentry))
        code = exit_code(journal, state)
    except PauseError as pause:
        state, problem = pause.state, pause.problem
        code = exit_code(journal, state)
        work.warn(problem)
    except BaseException as error:
        problem = str(error)
        code = error.exit_code if isinstance(error, IngestError) else code
        raise
    finally:
        note_end(work.chronicle, journal, state, problem)
        with work.database.write() as connection:
            let_go(connection, work.facts, state, code, problem, time.monotonic() - began)
            written = work.chronicle.write(connection)
        work.chronicle.settle(written)
    return state


def _note_beginning(work: Work) -> None:
    """The first event of a run, and what was to be said before it."""
    facts = work.facts
    by = f"ingest {facts.version} on {facts.host}, for {facts.operator}"
    if facts.run == 1:
        work.chronicle.note(EventKind.BEGUN, f"run 1, by {by}")
    else:
        left = "it was interrupted without a word" if work.state is SessionState.INTERRUPTED else f"it was {work.state}"
        work.chronicle.note(EventKind.RESUMED, f"run {facts.run}: {left}")
    for text in work.warnings:
        work.chronicle.note(EventKind.WARNING, text)


def note_end(chronicle: Chronicle, journal: Journal, state: SessionState, problem: str | None) -> None:
    """The last event of a run: its state, and what its items have come to."""
    counted = ", ".join(f"{number:,} {key}" for key, number in counts(journal).items() if number)
    why = f" ({problem})" if problem else ""
    chronicle.note(EventKind.ENDED, f"{state}{why}: {counted or 'no items'}")


def _go(context: Context) -> tuple[SessionState, str | None]:
    """The steps, in order; the state they end in, and the problem if there is one."""
    work, journal = context.work, context.journal
    context.trails_at = context.trails.open()
    preparation.clear_leftovers(context)
    if work.retry:
        preparation.try_again(context)
    preparation.scan(context)
    preparation.read_sum_files(context)
    outlook = preparation.choose_folders(context)
    preparation.preflight(context, outlook.absent)
    board = _copy(context, outlook)
    state = finalize.final_state(board, journal)
    finalize.clean_up(board, work.destinations, state, journal, context.trails)
    if differs(journal):
        work.warn("the card's own sum files say something else of files that arrived as they were read")
    return state, "; ".join(board.problems) or None


def _copy(context: Context, outlook: Outlook) -> Board:
    """Everything moves here: planned items in, batches out, answers in, names and manifest parts out."""
    work, journal, places = context.work, context.journal, context.facts.roots
    scribes: dict[int, Scribe] = {}
    for number, one in context.standing:
        try:
            away = partial(_away, context, number)
            patience = work.options.stall_copy
            scribes[number] = Scribe(context.facts, places[number], one.root, journal, away, patience)
        except IngestError as error:
            context.out[number] = (SessionState.PAUSED_NETWORK, f"its manifest cannot be gone on with: {error}")

    def feed(root: int, sequence: int, told: CopyRecord | CopyColumns) -> None:
        scribes[root].add(sequence, told)
        if work.monitor.each:
            for record in told.records() if isinstance(told, CopyColumns) else (told,):
                work.monitor.ended(record, places[root].path)

    tuning, sources = tuned(context, outlook), Sources(work.sources, later=context.facts.run > 1)
    setup, count = crew(context, tuning)
    stalls = work.options.stall_copy, work.options.stall_validate
    with Supervisor(setup, count, *stalls) as workers, context.sentry.follow(workers.moved):
        ledger = Ledger(journal, context.facts.sources, places, feed, work.chronicle)
        outbox = Outbox(workers, tuning.shard_files)
        board = Board(
            context.facts, work.options, work.volumes, ledger, outbox, work.warn, context.sentry, context.hashes
        )
        for number, (state, why) in context.out.items():
            board.pause_root(number, state, why)
        named = context.folders.__getitem__
        roots = [one.root if one else None for one in work.destinations]
        planner = Planner(work.database, roots, context.keys, named, work.options.duplicates, sources.has)
        flow = Flow(board, planner)
        limits = (tuning.shard_files, SHARD_BYTES)
        sight = Sight(board.mode, limits, sources.renewed, sources.as_seen if context.facts.run > 1 else None)
        amount = workload(outlook, workers.counters, twice=work.options.verify_source)
        context.meter.plan(ledger.counts["discovered"], *amount)
        context.enter(SessionState.COPYING)  # not before: who is told of it is told how much there is to do
        intake = Intake(journal, planner, [number for number, _ in context.standing], len(places), sight)

        def look_around() -> None:
            nonlocal intake
            work.alive()
            downs = context.sentry.fresh()
            if downs or board.hung:
                intake = leave(downs, board, flow, intake, planner, sources, workers)

        work.workers = workers
        try:
            while True:
                look_around()
                flow.tend(time.monotonic())
                if flow.room:
                    flow.take_in(intake.take())
                if work.stopped() and not board.stopping:
                    board.stopping = True
                    workers.cancel()
                if board.stopping or board.halted:
                    intake.stop()
                ledger.commit()
                context.trails.drop(ledger.take_over())
                board.outbox.flush(flow, stopping=board.stopping)
                _record(context, scribes, board, ledger)
                context.meter.show(ledger.items_ended, board.current(workers.current()))
                if intake.exhausted and not board.busy:
                    break
                wait = MOMENT if workers.idle and not intake.exhausted else TICK
                for event in workers.poll(0.0 if flow.room and intake.ready else wait):
                    flow.handle(event)
        finally:
            intake.stop()
        context.meter.end(ledger.items_ended, whole=not (board.stopping or board.problems))
        context.enter(SessionState.FINALIZING)
        ledger.commit()
        if not board.stopping and not work.options.only:
            finalize.make_folders(board, flow, workers, journal, context.folders, look_around)
    finalize.look_again(board, work.destinations)
    explain(board, context.sentry)
    finalize.close_manifests(board, scribes, journal, ledger.counts)
    for number in range(len(places)):
        journal.root_state(number, finalize.root_state(board, journal, number))
    return board


def _away(context: Context, root: int) -> str | None:
    """Why a root is no longer there; None while it is. Asked while something is waited for."""
    context.work.alive()
    down = context.sentry.down(len(context.facts.sources) + root)
    return None if down is None else down.why


def _record(context: Context, scribes: dict[int, Scribe], board: Board, ledger: Ledger) -> None:
    """Keep the manifests close behind."""
    for number, scribe in scribes.items():
        if board.root_states[number].paused:
            continue
        try:
            scribe.poll()
            if scribe.due:
                scribe.write(str(context.state), ledger.counts)
        except IngestError as error:
            finalize.manifest_failed(board, number, error)
