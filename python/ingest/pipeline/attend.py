"""Attendance: a run goes on in a thread of its own, and whoever waits for it can give it up.

Whoever looks at a disk may stand in the kernel for as long as the disk likes: a frozen server, a cable that was pulled
from a share that is mounted hard. That must never be the thread that the user, or a program, waits for.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final

from ingest.errors import shown
from ingest.model.event import EventKind
from ingest.model.states import SessionState
from ingest.monitor import OneAtATime
from ingest.pipeline.run import note_end, run
from ingest.pipeline.sentry import Sentry
from ingest.pipeline.tenure import Tenure
from ingest.session.journal import Journal
from ingest.session.register import let_go
from ingest.session.report import exit_code

if TYPE_CHECKING:
    from ingest.db.engine import Database
    from ingest.pipeline.context import Work
    from ingest.session.chronicle import Chronicle

# How often it looks whether the run still moves (seconds).
TICK: Final = 0.2
# A run that makes no step for so long, while a place is known not to answer, stands before that place. Beside the 20 s
# that it takes to know (`pipeline.watch`), it stays below the half minute in which a session has to pause.
STUCK: Final = 8.0
# Whoever does not stand there takes note of a place that has gone down within so long.
HEED: Final = 2.0


def attend(work: Work, database: Database) -> SessionState:
    """Do a run of a session; its state after it. Of `work` the run gets a copy, with a handle on the database.

    Where the run stands before a place that does not answer it is given up, and the session is `paused(network)`.

    Raises:
        IngestError: as `pipeline.run.run`.
    """
    began = time.monotonic()
    heard = OneAtATime(work.monitor)
    own = replace(work, database=database.handle(), monitor=heard)
    outcome: SimpleQueue[SessionState | BaseException] = SimpleQueue()

    def work_on() -> None:
        try:
            outcome.put(run(own, sentry))
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            outcome.put(error)

    def give_up() -> Chronicle:
        own.database.give_up()
        heard.leave_off()
        chronicle = own.chronicle.leave_off()
        if own.workers is not None:
            own.workers.kill()
        return chronicle

    own.alive()
    roots = [one.root for one in work.destinations if one is not None]
    with Sentry.over(own) as sentry, Tenure(work.facts.id, roots) as tenure:
        own.require_ours = tenure.require
        threading.Thread(target=work_on, name="run", daemon=True).start()
        try:
            end = _await(outcome, own, sentry)
        except BaseException:  # the user's second Ctrl-C
            give_up()
            raise
    if isinstance(end, BaseException):
        raise end
    if isinstance(end, SessionState):
        return end
    chronicle = give_up()
    journal = Journal(database, work.facts.key)
    state, why = end
    for number, source in enumerate(work.facts.sources):
        if (down := sentry.down(number)) is not None:
            chronicle.note(EventKind.SOURCE_LOST, f"{shown(source.path)}: {down.why}", path=source.path)
    for number, place in enumerate(work.facts.roots, len(work.facts.sources)):
        if (down := sentry.down(number)) is not None:
            journal.root_state(place.number, SessionState.PAUSED_NETWORK)
            chronicle.note(
                EventKind.ROOT_PAUSED, f"{shown(place.path)}: {down.why}", root=place.number, path=place.path
            )
    work.warn(why)
    note_end(chronicle, journal, state, why)
    with database.write() as connection:
        let_go(connection, work.facts, state, exit_code(journal, state), why, time.monotonic() - began)
        chronicle.write(connection)
    return state


def _await(
    outcome: SimpleQueue[SessionState | BaseException], work: Work, sentry: Sentry
) -> SessionState | BaseException | tuple[SessionState, str]:
    """How the run ends, or how it is ended for it."""
    while True:
        try:
            return outcome.get(timeout=TICK)
        except Empty:
            given_up = _stuck(work, sentry)
            if given_up is not None:
                return given_up


def _stuck(work: Work, sentry: Sentry) -> tuple[SessionState, str] | None:
    """How a session ends whose run cannot go on, and why; None as long as it moves, or everything answers."""
    still = time.monotonic() - work.beat
    if still > STUCK and work.stopped():
        return SessionState.PAUSED_USER, "stopped by the user, while a disk did not answer"
    downs = sentry.downs()
    if not downs or still < STUCK or time.monotonic() - max(down.told for down in downs) < HEED:
        return None
    sources = work.facts.sources
    paths = [
        (sources[one.place].path if one.place < len(sources) else work.facts.roots[one.place - len(sources)].path)
        for one in downs
    ]
    told = [f"{shown(path)} does not answer ({one.why})" for path, one in zip(paths, downs, strict=True)]
    return SessionState.PAUSED_NETWORK, "; ".join(told)
