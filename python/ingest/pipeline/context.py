"""What the steps of one run share: what it was given, what it found out, and which destinations take part."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ingest.errors import shown
from ingest.model.digests import computed
from ingest.model.event import EventKind
from ingest.model.options import Partial
from ingest.model.states import SessionState
from ingest.session.chronicle import Chronicle
from ingest.session.register import move_session
from ingest.session.sums import Sums
from ingest.session.trails import Trails
from ingest.storage.sharing import Sharing

if TYPE_CHECKING:
    from collections.abc import Callable

    from ingest.db.engine import Database
    from ingest.engine import Root
    from ingest.errors import IngestError
    from ingest.model.options import CopyOptions
    from ingest.model.session import SessionFacts
    from ingest.monitor import Monitor
    from ingest.pipeline.meter import Meter
    from ingest.pipeline.sentry import Sentry
    from ingest.session.journal import Journal
    from ingest.storage.roots import Destination
    from ingest.storage.volumes import Volume
    from ingest.workers.supervisor import Supervisor


# Between two questions whether a place has answered (seconds).
MOMENT: Final = 0.02


@dataclass(slots=True)
class Work:
    """What a run needs: an open database, a session that this process holds, its folders, pinned.

    Attributes:
        destinations: None where a root could not be opened; `away` says why.
        stopped: whether the user has asked to stop.
        retry: failed items of earlier runs are to be tried again.
        sharing: which copies are clones or links of their source.
        beat: when the run last made a step (`time.monotonic`). workers: while it has some, for whoever gives it up.
        chronicle: what happens is noted there, and written by whoever writes to the journal.
        require_ours: raises PausedError when another process has taken the session over.
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
    beat: float = 0.0
    workers: Supervisor | None = None
    chronicle: Chronicle = field(default_factory=Chronicle)
    require_ours: Callable[[], None] = lambda: None

    def alive(self) -> None:
        """The run makes a step.

        Raises:
            PausedError: the session is no longer this process's.
        """
        self.beat = time.monotonic()
        self.require_ours()

    def warn(self, text: str) -> None:
        """Tell the monitor, and remember it for the report and for the session's chronicle."""
        self.warnings.append(text)
        self.chronicle.note(EventKind.WARNING, text)
        self.monitor.warning(text)


class PauseError(Exception):
    """The session cannot go on now, but later."""

    def __init__(self, state: SessionState, problem: str) -> None:
        super().__init__(problem)
        self.state = state
        self.problem = problem


class Context:
    """One run of a session.

    Attributes:
        state: the session's, as the journal has it. out: destinations that take no part any more, and why.
        hashes: what every file is read for besides its BLAKE3. folders: the card folder of each source, once chosen.
        trails_at: where trails are kept, None if there are to be none. sentry: who watches over the places.
    """

    def __init__(self, work: Work, journal: Journal, meter: Meter, sentry: Sentry) -> None:
        self.work = work
        self.sentry = sentry
        self.meter = meter
        self.facts = work.facts
        self.journal = journal
        self.sums = Sums(work.database, work.facts.key)
        self.trails = Trails(work.database.path.parent, work.facts.id, wanted=work.options.partial is Partial.VERIFIED)
        self.trails_at: bytes | None = None
        self.state = work.state
        self.out = {number: (SessionState.PAUSED_NETWORK, why) for number, why in work.away.items()}
        self.hashes = computed(work.options.hashes)
        self.keys = [place.key for place in work.facts.roots]
        self.folders = {s.number: s.folder for s in work.facts.sources if s.folder is not None}

    @property
    def standing(self) -> list[tuple[int, Destination]]:
        """The destinations that take part in this run, with their numbers."""
        return [(n, one) for n, one in enumerate(self.work.destinations) if one is not None and n not in self.out]

    def enter(self, state: SessionState) -> None:
        """The session takes its next step."""
        with self.work.database.write() as connection:
            self.state = move_session(connection, self.facts.key, self.state, state)
            written = self.work.chronicle.write(connection)
        self.work.chronicle.settle(written)
        self.meter.enter(state)
        self.work.alive()

    def heed_stop(self) -> None:
        """Pause if the user has asked to stop.

        Raises:
            PauseError: so it is.
        """
        self.work.alive()
        if self.work.stopped():
            raise PauseError(SessionState.PAUSED_USER, "stopped by the user")

    def require(self, source: int) -> None:
        """Require that a source is there, after something could not be read: a dead share is no card without folders.

        Raises:
            PauseError: it is not, or the user has asked to stop.
        """
        since = time.monotonic()
        self.sentry.blame(source)
        while not self.sentry.certain(source, since):
            self.heed_stop()
            if (down := self.sentry.down(source)) is not None:
                where = shown(self.facts.sources[source].path)
                raise PauseError(SessionState.PAUSED_NETWORK, f"{where} is no longer there ({down.why})")
            time.sleep(MOMENT)

    def trouble(self, root: Root, error: IngestError) -> Exception:
        """An error that met a source or root as a whole: a pause if it is no longer there."""
        try:
            root.check()
        except OSError as gone:
            return PauseError(SessionState.PAUSED_NETWORK, f"{shown(root.path)} is no longer there ({gone.strerror})")
        return error
