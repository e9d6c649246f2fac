"""Waiting (`--wait`): a session that paused because a disk was away or full goes on by itself when it is back.

The session stays this process's own. Its places are looked at from another process, so that a frozen server holds up
nothing here; once one of those that were missed is back, the session is taken up as `ingest resume` does it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from ingest.errors import ExitCode, IngestError
from ingest.model.event import EventKind
from ingest.model.states import SessionState
from ingest.session.chronicle import Chronicle
from ingest.session.journal import Journal
from ingest.session.register import let_go, session_facts
from ingest.session.report import exit_code, report
from ingest.storage.identity import cloned
from ingest.storage.looking import Spot
from ingest.storage.whereabouts import likely, remote
from ingest.workers.prober import Prober

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ingest.db.engine import Database
    from ingest.model.session import SessionFacts, SessionReport
    from ingest.monitor import Monitor
    from ingest.storage.looking import Look
    from ingest.workers.prober import Finding

# Every place is looked at so often (the specification's section 5): what is back is gone on with within twice that.
EVERY: Final = 5.0
TICK: Final = 0.1
MOMENT: Final = 1.0
# Who answers at all does so long before this.
SILENCE: Final = EVERY + 1.5
# A place that answers, and fails as soon as it is used, is tried again after 5, 10, 20 … seconds, at most after a minute.
MOST_APART: Final = 60.0
# On a full disk so much has to have become free before it is worth another look.
SPACE_STEP: Final = 1 << 20
# And if none has since somebody looked: it may have between the last run's end and the first look.
SPACE_ANYWAY: Final = 300.0
UUID_LENGTH: Final = 36
WAITED_FOR: Final = frozenset({SessionState.PAUSED_NETWORK, SessionState.PAUSED_SPACE})


def see_through(
    database: Database,
    key: int,
    first: Callable[[], SessionReport],
    again: Callable[[], SessionReport],
    monitor: Monitor,
    stopped: Callable[[], bool],
) -> SessionReport:
    """Do a session's run, and as often as it pauses for a disk, wait for that and do another.

    Args:
        first, again: do a run; its report. They raise IngestError with exit code 8 where it could not even begin.
        stopped: the user asked to stop: then it is `paused(user)`, as it would be in the middle of its work.

    Raises:
        IngestError: whatever `first` and `again` raise that waiting does not mend.
    """
    apart, step = EVERY, first
    while True:
        warnings: tuple[str, ...] = ()
        began = time.monotonic()
        try:
            told = step()
            if told.state not in WAITED_FOR:
                return told
            why, warnings = told.problem or "", told.warnings
        except IngestError as error:
            if error.exit_code is not ExitCode.PAUSED or stopped():
                raise
            why = str(error)
        # What had just come back and is away again at once is not tried at every look.
        apart = min(2 * apart, MOST_APART) if step is again and time.monotonic() - began < apart else EVERY
        if not _wait(database, key, why, apart, monitor, stopped):
            return _left(database, key, why, warnings, monitor)
        step = again


def _left(database: Database, key: int, why: str, warnings: Sequence[str], monitor: Monitor) -> SessionReport:
    """The report of a session whose user no longer wants to wait."""
    state = SessionState.PAUSED_USER
    journal, facts = Journal(database, key), session_facts(database, key)
    chronicle, problem = Chronicle(key, facts.run), f"stopped by the user while it waited: {why}"
    chronicle.note(EventKind.ENDED, f"{state} ({problem})")
    with database.write() as connection:
        let_go(connection, facts, state, exit_code(journal, state), problem, 0.0)
        chronicle.write(connection)
    told = report(journal, session_facts(database, key), state, warnings)
    monitor.finished(told)
    return told


def _wait(database: Database, key: int, why: str, apart: float, monitor: Monitor, stopped: Callable[[], bool]) -> bool:
    """Wait for one of the session's places to come back; False if the user has asked to stop."""
    facts = session_facts(database, key)
    absent = _Absent(facts, Journal(database, key).root_states())
    since = time.time()
    told: frozenset[int] | None = None
    table, look = _table(), 0
    spots = absent.spots()
    prober = Prober(spots)
    try:
        while not stopped():
            now = time.monotonic()
            if now >= absent.due:
                look, absent.due = look + 1, now + EVERY
                if (fresh := _table()) != table:
                    # Something was mounted or unmounted: whoever hangs in a mount that is gone would hang for ever.
                    # And what is waited for may have come back under another path.
                    prober.stop()
                    spots, table = absent.spots(), fresh
                    prober = Prober(spots)
                for spot in range(len(spots)):
                    prober.ask(spot, look)
            for found in prober.heard():
                absent.hear(found, now)
            if absent.ready(now, apart):
                return True
            # Not before whoever answers has had the time to, and it is known how full a full disk is.
            if now - absent.began > MOMENT and absent.heard and absent.places != told:
                told = absent.places
                monitor.waiting(tuple(spots[spot].path for spot in sorted(told)), since, why)
            time.sleep(TICK)
    finally:
        prober.stop()
    return False


class _Absent:
    """What is waited for: the roots that the journal has as paused, and whatever does not answer."""

    def __init__(self, facts: SessionFacts, states: Mapping[int, SessionState]) -> None:
        self.began = self.due = time.monotonic()
        # The number of the first root, behind the sources.
        self._first = first = len(facts.sources)
        self._facts = facts
        self._owners: list[int] = []
        self._full = {first + root for root, state in states.items() if state is SessionState.PAUSED_SPACE}
        # Where a source was lost every root waits; which of the two it was shows when they are looked at.
        self._paused = {first + root for root, state in states.items() if state is SessionState.PAUSED_NETWORK}
        self._missed: set[int] = set()
        self._well: dict[int, float] = {}
        self._room: dict[int, tuple[int, int]] = {}
        self._roomier = False

    def spots(self) -> list[Spot]:
        """Where to look: every place at its path, in the order of their numbers, then wherever it may be mounted now."""
        paths = [source.path for source in self._facts.sources] + [place.path for place in self._facts.roots]
        found = [(number, Spot(path, archive=number >= self._first)) for number, path in enumerate(paths)]
        for number, path in enumerate(paths):
            archive = number >= self._first
            if archive or self._facts.sources[number].fs_uuid is not None:
                elsewhere = [*likely(path, archive=archive), *remote(path)]
                found += [(number, Spot(other, archive=archive)) for other in elsewhere]
        self._owners = [number for number, _ in found]
        return [spot for _, spot in found]

    @property
    def places(self) -> frozenset[int]:
        """By their numbers."""
        return frozenset(self._missed | self._full | (self._paused - self._well.keys()))

    @property
    def heard(self) -> bool:
        """Whether every full disk has told how full it is, or does not answer either."""
        return self._full <= self._room.keys() | self._missed

    def hear(self, found: Finding, now: float) -> None:
        """Take in what a look found."""
        spot = self._owners[found.spot]
        if not self._is(spot, found.seen, at_its_path=found.spot == spot):
            if found.spot == spot:
                self._missed.add(spot)
            return
        self._well[spot] = now
        if spot in self._full:
            room = (found.seen.free or 0, found.seen.files_free or 0)
            before = self._room.setdefault(spot, room)
            self._roomier |= room[0] >= before[0] + SPACE_STEP or room[1] > before[1]

    def _is(self, spot: int, found: Look, *, at_its_path: bool) -> bool:
        """Whether what was seen is the place, and can be used."""
        if found.errno:
            return False
        if spot < self._first:
            source = self._facts.sources[spot]
            # FAT, known by its short serial number, makes inode numbers up.
            same = found.inode == source.inode or len(source.fs_uuid or "") < UUID_LENGTH
            return at_its_path or (found.fs_uuid == source.fs_uuid and same)
        place = self._facts.roots[spot - self._first]
        return found.uuid == place.uuid and not cloned(place.fs_uuid, found.fs_uuid) and not found.read_only

    def ready(self, now: float, apart: float) -> bool:
        """Whether another run is worth its while; not before so many seconds have passed since the last one."""
        well = {spot for spot, when in self._well.items() if now - when <= SILENCE}
        everybody = range(self._first + len(self._facts.roots))
        # Who says nothing for longer than a look takes is missed, too.
        self._missed.update(spot for spot in everybody if now - self._well.get(spot, self.began) > SILENCE)
        if now - self.began < apart or not well.issuperset(range(self._first)):
            return False
        if self._roomier or (self._full & well and now - self.began > SPACE_ANYWAY):
            return True
        if self._missed & well or (self._paused - self._missed) & well:
            return True
        # Whatever it was is over: everything answers.
        return not (self._missed or self._full) and well.issuperset(everybody)


def _table() -> bytes:
    """The mount table, to see whether it has changed; empty where there is none."""
    try:
        with open("/proc/self/mountinfo", "rb") as table:
            return table.read()
    except OSError:
        return b""
