"""A session is launched: what was opened, for a new one or one that is taken up again, becomes a run and its report.

Promises: everything is looked at before a session is taken up, so that a missing disk leaves it as it was. The caller
holds the session.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest.catalog.holdings import move_root, remember_root, roots_known_at
from ingest.errors import IngestError, PausedError, shown
from ingest.model.options import CopyOptions
from ingest.model.session import RootFacts
from ingest.model.states import SessionState
from ingest.monitor import OneAtATime, Silent
from ingest.pipeline.opening import given, reopen_destination, reopen_sources, ruled_roots, ruled_sources
from ingest.pipeline.rollcall import silent
from ingest.pipeline.tenure import require_free
from ingest.session.chronicle import Chronicle
from ingest.session.journal import Journal
from ingest.session.register import session_facts, take_up
from ingest.session.report import report
from ingest.storage.sharing import Sharing, cautions, look, probed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ingest.db.engine import Database
    from ingest.model.session import SessionFacts, SessionReport
    from ingest.monitor import Monitor
    from ingest.pipeline.opening import Opened
    from ingest.session.register import Entry
    from ingest.storage.roots import Destination
    from ingest.storage.rules import Rule


def sharing_of(
    options: CopyOptions,
    sources: Sequence[Opened],
    destinations: Sequence[Destination | None],
    *,
    resumed: bool = False,
) -> Sharing:
    """Which copies can be clones or links; asked of the destinations themselves."""
    seen = look(
        options.strategy, [volume for *_, volume in sources], [one.volume if one else None for one in destinations]
    )
    return probed(seen, [one.root if one else None for one in destinations], resumed=resumed)


def remember(database: Database, number: int, destination: Destination, warnings: list[str]) -> RootFacts:
    """The root's row, and a warning if its path was another root's before."""
    path, marker, root = destination.path, destination.marker, destination.root
    # Where it is now; the marker keeps where it began.
    fs_uuid = destination.volume.fs_uuid or marker.fs_uuid
    with database.write() as connection:
        before = [other for other in roots_known_at(connection, path) if other != marker.uuid]
        key = remember_root(connection, marker.uuid, path, fs_uuid)
    if destination.fresh and before:
        warnings.append(f"{shown(path)} was another root before ({before[0]}): from now on it is {marker.uuid}")
    return RootFacts(number, key, path, marker.uuid, fs_uuid, root.dev, root.ino)


def take_up_again(
    database: Database,
    entry: Entry,
    monitor: Monitor | None,
    stopped: Callable[[], bool],
    *,
    rules: Sequence[Rule],
    named: bool,
) -> SessionReport:
    """Take up a session that this process holds, and do what is left of it.

    Args:
        rules: what the configuration says of places.
        named: it was asked for by its name: failed items are tried again.

    Raises:
        IngestError: a source, or every destination, is away; another machine works on it; or as :func:`launch`.
    """
    facts = session_facts(database, entry.key)
    journal = Journal(database, entry.key)
    dead = silent([*(given(source) for source in facts.sources), *(place.path for place in facts.roots)])
    first = len(facts.sources)
    if (number := min(dead, default=first)) < first:
        raise PausedError(f"the share does not answer ({dead[number]})", path=facts.sources[number].path, operation="open",
                          advice="Check the server and the way to it, then: ingest resume")  # fmt: skip
    # Everything is looked at before the session is taken up, so that a missing disk leaves it as it was.
    sources = ruled_sources(reopen_sources(journal, facts.sources), rules)
    found, away = _reopen_destinations(facts, {number - first: why for number, why in dead.items()})
    destinations = ruled_roots(found, rules)
    require_free(facts.id, destinations, monitor or Silent(), stopped)
    moves = [*_sources_moved(sources), *_roots_moved(database, facts, destinations)]
    facts = session_facts(database, entry.key)
    state = entry.state
    sharing = sharing_of(CopyOptions.from_json(facts.options), sources, destinations, resumed=True)
    names = [given(source) for source in facts.sources], [place.path for place in facts.roots]
    warnings = [*moves, *cautions(sharing, *names)]
    facts = take_up(database, entry.key, retry=named)
    if not state.paused:
        state = SessionState.INTERRUPTED
    return launch(
        database,
        facts,
        sources,
        destinations,
        monitor,
        stopped,
        state,
        warnings,
        sharing=sharing,
        retry=named,
        away=away,
    )


def _sources_moved(sources: Sequence[Opened]) -> list[str]:
    """What to say of sources that are mounted elsewhere now. Their files keep the names by which they were found."""
    return [
        f"{shown(source.path)} is mounted at {shown(root.path)} now: it is read there"
        for source, root, _ in sources if root.path != source.path
    ]  # fmt: skip


def _roots_moved(database: Database, facts: SessionFacts, found: Sequence[Destination | None]) -> list[str]:
    """Write down which roots are mounted elsewhere now; what to say of them."""
    told = []
    for place, one in zip(facts.roots, found, strict=True):
        if one is None or one.path == place.path:
            continue
        fs_uuid = one.volume.fs_uuid or place.fs_uuid
        with database.write() as connection:
            move_root(connection, place.key, one.path, fs_uuid=fs_uuid, device=one.root.dev, inode=one.root.ino)
        told.append(f"the archive {shown(place.path)} is mounted at {shown(one.path)} now: the session goes on there")
    return told


def _reopen_destinations(
    facts: SessionFacts, dead: Mapping[int, str]
) -> tuple[list[Destination | None], dict[int, str]]:
    """The session's roots; None, and why, for those that are away. Those that are `dead` are not looked at.

    Raises:
        IngestError: all of them are.
    """
    found: list[Destination | None] = []
    errors: dict[int, IngestError] = {}
    for number, place in enumerate(facts.roots):
        try:
            if number in dead:
                raise PausedError(f"the share does not answer ({dead[number]})", path=place.path, operation="open",
                                  advice="Check the server and the way to it, then: ingest resume")  # fmt: skip
            found.append(reopen_destination(place))
        except IngestError as error:
            found.append(None)
            errors[number] = error
    if len(errors) == len(found):
        raise errors[0]
    return found, {number: f"{error.cause}. {error.advice}" for number, error in errors.items()}


def launch(
    database: Database,
    facts: SessionFacts,
    sources: Sequence[Opened],
    destinations: Sequence[Destination | None],
    monitor: Monitor | None,
    stopped: Callable[[], bool],
    state: SessionState,
    warnings: list[str],
    *,
    sharing: Sharing,
    retry: bool = False,
    away: dict[int, str] | None = None,
) -> SessionReport:
    """Run a session that this process holds; its report.

    Args:
        destinations: None where a root could not be opened; `away` says why. state: as the journal has it.
        retry: failed items of earlier runs are to be tried again.

    Raises:
        IngestError: it could not go on; what began can be resumed.
    """
    # With Arrow, and so only where a session really runs.
    from ingest.pipeline.attend import attend
    from ingest.pipeline.context import Work

    monitor = OneAtATime(monitor or Silent())
    monitor.started(facts.id, tuple(s.path for s in facts.sources), tuple(p.path for p in facts.roots))
    for text in warnings:
        monitor.warning(text)
    work = Work(
        database, facts, CopyOptions.from_json(facts.options), [root for _, root, _ in sources],
        [volume for _, _, volume in sources], list(destinations), monitor, stopped, state, retry, away or {}, warnings,
        sharing, chronicle=Chronicle(facts.key, facts.run, monitor.happened),
    )  # fmt: skip
    final = attend(work, database)
    told = report(Journal(database, facts.key), session_facts(database, facts.key), final, work.warnings)
    monitor.finished(told)
    return told
