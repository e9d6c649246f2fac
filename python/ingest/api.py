"""The use cases: what the command line, a web page or a program of yours can ask for.

Every function takes the home folder of the journal where it needs one (see :func:`ingest.config.home`), reports
through a :class:`~ingest.monitor.Monitor`, and raises :class:`~ingest.errors.IngestError`. Heavy libraries are
imported by the use case that needs them.
"""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from typing import TYPE_CHECKING

from ingest import engine
from ingest.errors import IngestError, MissingError, UsageError, from_os_error, shown
from ingest.layouts.naming import label_of
from ingest.model.options import BUFFER_MAX, BUFFER_MIN, CopyOptions, CopyRequest
from ingest.model.session import RootFacts, SourceFacts
from ingest.model.states import SessionState
from ingest.monitor import Silent
from ingest.storage.roots import Destination, open_destination, pin
from ingest.storage.volumes import Volume, place_of, volume_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ingest.db.engine import Database
    from ingest.engine import Root
    from ingest.manifest.query import Answer
    from ingest.model.session import Failure, SessionFacts, SessionReport
    from ingest.model.states import ItemState
    from ingest.monitor import Monitor
    from ingest.pipeline.doctor import Health
    from ingest.pipeline.preview import Preview
    from ingest.pipeline.verify import VerifyReport
    from ingest.session.journal import Journal
    from ingest.session.register import Entry


# Items listed by `show` at most; the manifests answer bigger questions.
SHOWN = 1000


def _never() -> bool:
    return False


def copy(
    request: CopyRequest, home: Path, monitor: Monitor | None = None, stopped: Callable[[], bool] = _never
) -> SessionReport:
    """Bring sources home: the command ``ingest copy``.

    Args:
        request: what, whereto and how. home: of the journal.
        stopped: asked several times a second; True ends the session cleanly, to be resumed.

    Raises:
        IngestError: it could not begin, or not go on; nothing is lost, and what began can be resumed.
    """
    from ingest.catalog.holdings import remember_root, roots_known_at
    from ingest.db.engine import open_database
    from ingest.session.register import open_session

    monitor = monitor or Silent()
    options = check_options(request.options)
    sources = open_sources(request.sources, options.label)
    paths = check_destinations(request.destinations, [facts.path for facts, _, _ in sources])
    database = open_database(home)
    try:
        destinations = []
        places = []
        for number, path in enumerate(paths):
            destination = open_destination(path, create=request.create, new_root=request.new_root)
            destinations.append(destination)
            marker, root = destination.marker, destination.root
            with database.write() as connection:
                before = roots_known_at(connection, path)
                key = remember_root(connection, marker.uuid, path, marker.fs_uuid)
            if destination.fresh and before:
                monitor.warning(f"{shown(path)} was another root before ({before[0]}): from now on it is {marker.uuid}")
            places.append(RootFacts(number, key, path, marker.uuid, marker.fs_uuid, root.dev, root.ino))
        _refuse_clones(destinations)
        facts = open_session(database, options, [facts for facts, _, _ in sources], places, engine.__version__)
        return _run(database, facts, sources, destinations, monitor, stopped, SessionState.PENDING)
    finally:
        database.close()


def resume(
    home: Path, session: str | None = None, monitor: Monitor | None = None, stopped: Callable[[], bool] = _never
) -> list[SessionReport]:
    """Complete what was interrupted or paused: the command ``ingest resume``.

    Args:
        session: the beginning of an id; that one is also taken up if it completed with errors, to try its failed
            items again. None takes up every session that can be, oldest first; an empty list if there is none.

    Raises:
        MissingError: no such session. PausedError: somebody works on it. IngestError: as `copy`.
    """
    from ingest.db.engine import existing_database
    from ingest.session.register import find, register

    database = existing_database(home)
    if database is None:
        if session is not None:
            raise MissingError(f"no session {session!r}", operation="resume", advice="There is no journal yet")
        return []
    try:
        entries = [find(database, session)] if session is not None else [e for e in register(database) if e.resumable]
        reports = []
        for entry in entries:
            try:
                reports.append(_resume_one(database, entry, monitor or Silent(), stopped, named=session is not None))
            except IngestError as error:
                # One session whose disk is away must not keep the next from going on.
                if session is not None or len(entries) == 1:
                    raise
                reports.append(_stuck(database, entry, error))
            if stopped():
                break
        return reports
    finally:
        database.close()


def _resume_one(
    database: Database, entry: Entry, monitor: Monitor, stopped: Callable[[], bool], *, named: bool
) -> SessionReport:
    from ingest.session.journal import Journal
    from ingest.session.register import session_facts, take_up

    facts = session_facts(database, entry.key)
    # Everything is looked at before the session is held, so that a missing disk leaves it as it was.
    sources = _reopen_sources(database, facts)
    destinations = [_reopen_destination(place) for place in facts.roots]
    state = entry.state
    facts = take_up(database, entry.key, retry=named)
    if state is SessionState.COMPLETED_WITH_ERRORS:
        _retry_failed(Journal(database, entry.key), [root for _, root, _ in sources])
    elif not state.paused:
        state = SessionState.INTERRUPTED
    facts = replace(
        facts,
        roots=tuple(
            replace(p, device=d.root.dev, inode=d.root.ino) for p, d in zip(facts.roots, destinations, strict=True)
        ),
    )
    return _run(database, facts, sources, destinations, monitor, stopped, state)


def _stuck(database: Database, entry: Entry, error: IngestError) -> SessionReport:
    """The report of a session that could not even be taken up."""
    from ingest.session.journal import Journal
    from ingest.session.register import session_facts
    from ingest.session.report import report

    told = report(Journal(database, entry.key), session_facts(database, entry.key), entry.state)
    return replace(told, exit_code=error.exit_code, problem=str(error))


def _run(
    database: Database,
    facts: SessionFacts,
    sources: Sequence[tuple[SourceFacts, Root, Volume]],
    destinations: list[Destination],
    monitor: Monitor,
    stopped: Callable[[], bool],
    state: SessionState,
) -> SessionReport:
    from ingest.pipeline.run import Work, run
    from ingest.session.journal import Journal
    from ingest.session.register import session_facts
    from ingest.session.report import report

    monitor.started(facts.id, tuple(s.path for s in facts.sources), tuple(p.path for p in facts.roots))
    work = Work(
        database, facts, CopyOptions.from_json(facts.options), [root for _, root, _ in sources],
        [volume for _, _, volume in sources], destinations, monitor, stopped, state,
    )  # fmt: skip
    final = run(work)
    told = report(Journal(database, facts.key), session_facts(database, facts.key), final, work.warnings)
    monitor.finished(told)
    return told


def check_options(options: CopyOptions) -> CopyOptions:
    """The options, if they make sense.

    Raises:
        UsageError: one does not.
    """
    buffer = options.buffer
    if buffer is not None and (not BUFFER_MIN <= buffer <= BUFFER_MAX or buffer & (buffer - 1)):
        raise UsageError(
            f"a buffer of {buffer} bytes", operation="--buffer", advice="Take a power of two from 4KiB to 64MiB"
        )
    if options.workers is not None and not 1 <= options.workers <= 64:
        raise UsageError(f"{options.workers} workers", operation="--workers", advice="Take 1 to 64")
    if options.profile != "mirror":
        raise UsageError(f"no profile {options.profile!r}", operation="--profile", advice="There is: mirror")
    return options


def open_sources(paths: Sequence[bytes], label: str | None) -> list[tuple[SourceFacts, Root, Volume]]:
    """Pin the sources and name their folders.

    Raises:
        MissingError, DeniedError: one cannot be opened. UsageError: one is no file or folder, or two would go
            under one label.
    """
    opened = []
    labels: dict[bytes, bytes] = {}
    for number, given in enumerate(paths):
        path, single = os.path.abspath(given), None
        try:
            mode = os.stat(path).st_mode
        except OSError as error:
            raise from_os_error(error, "open", path, "Is the card in the reader, and mounted?") from error
        if stat.S_ISREG(mode):
            path, single = os.path.split(path)
        elif not stat.S_ISDIR(mode):
            raise UsageError("it is neither a file nor a folder", path=path, operation="open")
        own = label_of(path, label)
        if own in labels:
            raise UsageError(
                f"two sources would go to the folder {shown(own)}: {shown(labels[own])} is the other", path=path,
                operation="label", advice="Copy them one after the other, use --label",
            )  # fmt: skip
        labels[own] = path
        volume = volume_of(path)
        root = pin(path, volume=volume, source=True)
        opened.append((SourceFacts(number, path, own, single, root.dev, root.ino, volume.fs_uuid), root, volume))
    if not opened:
        raise UsageError("no source was given", operation="copy", advice="Name the card's folder")
    return opened


def check_destinations(paths: Sequence[bytes], sources: Sequence[bytes]) -> list[bytes]:
    """The destinations as absolute paths.

    Raises:
        UsageError: two are one, or one lies in a source, or a source in one.
    """
    absolute = [os.path.abspath(path) for path in paths]
    places = [place_of(path) for path in absolute]
    for number, (device, inner) in enumerate(places):
        if (device, inner) in places[:number]:
            raise UsageError("this destination is given twice", path=absolute[number], operation="copy",
                             advice="Name each destination once")  # fmt: skip
        for source in sources:
            source_device, source_inner = place_of(source)
            if source_device != device:
                continue
            inside = _within(inner, source_inner)
            if inside or _within(source_inner, inner):
                raise UsageError(
                    f"it lies inside the source {shown(source)}" if inside else f"the source {shown(source)} lies inside it",
                    path=absolute[number], operation="copy", advice="Choose a destination apart from the source",
                )  # fmt: skip
    return absolute


def _within(path: bytes, folder: bytes) -> bool:
    return path == folder or path.startswith(folder.rstrip(b"/") + b"/")


def _refuse_clones(destinations: Sequence[Destination]) -> None:
    markers: dict[str, bytes] = {}
    for destination in destinations:
        twin = markers.setdefault(destination.marker.uuid, destination.path)
        if twin is not destination.path:
            raise UsageError(
                f"it carries the same marker as {shown(twin)}: one is a clone of the other", path=destination.path,
                operation="copy", advice="Remove .ingest/root.json from the clone to make it a root of its own",
            )  # fmt: skip


def _reopen_sources(database: Database, facts: SessionFacts) -> list[tuple[SourceFacts, Root, Volume]]:
    """Pin the sources of a session again, if they are the same ones.

    Raises:
        IngestError: one is away; PausedError if another folder stands in its place.
    """
    from ingest.session.journal import Journal
    from ingest.session.recognise import require_same_source

    opened = []
    for source in facts.sources:
        try:
            volume = volume_of(source.path)
        except OSError as error:
            raise _away(
                from_os_error(error, "open", source.path), "Put the card back in, then: ingest resume"
            ) from error
        root = pin(source.path, volume=volume, source=True)
        require_same_source(Journal(database, facts.key), source, root, volume.fs_uuid)
        opened.append((source, root, volume))
    return opened


def _away(error: IngestError, advice: str) -> IngestError:
    from ingest.errors import PausedError

    return PausedError(error.cause, path=error.path, operation=error.operation, errno=error.errno, advice=advice)


def _reopen_destination(place: RootFacts) -> Destination:
    """Open a session's root again: the very one, by its marker.

    Raises:
        PausedError: it is away, or another one stands in its place.
    """
    from ingest.storage.roots import reopen_destination

    try:
        return reopen_destination(place.path, place.uuid)
    except MissingError as error:
        raise _away(error, "Mount the disk that this session began with, then: ingest resume") from error


def _retry_failed(journal: Journal, sources: list[Root]) -> None:
    """Items that failed get another chance, as they are on the source now."""
    journal.reopen_failed()
    for page in journal.items():
        fresh = [item for item in page if item.state == "discovered"]
        for number, root in enumerate(sources):
            own = [item for item in fresh if item.source == number]
            found = zip(own, root.lstat([item.path for item in own]), strict=True)
            journal.restat([(item.number, seen[1], seen[2]) for item, seen in found if isinstance(seen, tuple)])


def sessions(home: Path) -> list[Entry]:
    """Every session of the journal, oldest first: the command ``ingest sessions``."""
    from ingest.db.engine import existing_database
    from ingest.session.register import register

    database = existing_database(home)
    if database is None:
        return []
    try:
        return register(database)
    finally:
        database.close()


def show(home: Path, session: str, states: Sequence[ItemState] = ()) -> tuple[SessionReport, list[Failure]]:
    """One session, and its items in these states (without any: those that did not arrive).

    Raises:
        MissingError: no such session. UsageError: several begin so.
    """
    from ingest.db.engine import existing_database
    from ingest.session.journal import Journal
    from ingest.session.register import find, session_facts
    from ingest.session.report import failure, report

    database = existing_database(home)
    if database is None:
        raise MissingError(f"no session {session!r}", operation="show", advice="There is no journal yet")
    try:
        entry = find(database, session)
        journal, facts = Journal(database, entry.key), session_facts(database, entry.key)
        listed = journal.unfinished(SHOWN, states or None) if states else []
        return report(journal, facts, entry.state), [
            failure(item, copy, facts.sources[item.source].path) for item, copy in listed
        ]
    finally:
        database.close()


def plan(sources: Sequence[bytes], destinations: Sequence[bytes], options: CopyOptions, home: Path) -> Preview:
    """What a copy would do, line by line: the command ``ingest scan``.

    Raises:
        IngestError: a source or destination cannot be opened.
    """
    from ingest.catalog.holdings import key_of_root
    from ingest.db.engine import existing_database
    from ingest.pipeline.preview import Preview
    from ingest.storage.roots import read_marker

    opened = open_sources(sources, check_options(options).label)
    paths = check_destinations(destinations, [facts.path for facts, _, _ in opened])
    database = existing_database(home)
    roots = [pin(path) for path in paths]
    keys: list[int | None] = []
    for root in roots:
        marker = read_marker(root)
        key = None
        if database is not None and marker is not None:
            with database.read() as connection:
                key = key_of_root(connection, marker.uuid)
        keys.append(key)
    return Preview([(facts, root) for facts, root, _ in opened], roots, keys, options, database)


def verify(
    roots: Sequence[bytes],
    *,
    session: str | None = None,
    strict: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> VerifyReport:
    """Check archives against their manifests, without the journal: the command ``ingest verify``.

    Raises:
        MissingError: a root is not there, or has no manifest. IngestError: it cannot be read.
    """
    from ingest.pipeline.verify import verify as verify_roots

    return verify_roots(
        [pin(os.path.abspath(path)) for path in roots], session=session, strict=strict, progress=progress
    )


def query(roots: Sequence[bytes], sql: str, home: Path) -> Answer:
    """Ask manifests in SQL: the command ``ingest query``.

    Args:
        roots: archives; none takes every archive of the journal that is mounted and has manifests.

    Raises:
        UsageError: not one SELECT, or one that cannot be answered. MissingError: no manifest.
    """
    from ingest.manifest.query import query as ask

    return ask([pin(os.path.abspath(path)) for path in roots] or _known_roots(home), sql)


def _known_roots(home: Path) -> list[Root]:
    from ingest.catalog.holdings import all_roots
    from ingest.db.engine import existing_database
    from ingest.manifest.parts import list_parts
    from ingest.storage.roots import read_marker

    database = existing_database(home)
    found = []
    if database is not None:
        try:
            with database.read() as connection:
                known = all_roots(connection)
        finally:
            database.close()
        for uuid, path in known:
            try:
                root = pin(path)
                marker = read_marker(root)
                if marker is not None and marker.uuid == uuid and list_parts(root):
                    found.append(root)
            except IngestError:
                continue  # it is not mounted: the question goes to those that are
    if not found:
        raise MissingError("no archive can be reached", operation="query", advice="Name one with --root")
    return found


def doctor(home: Path) -> list[Health]:
    """Check the installation, the journal and the archives it knows: the command ``ingest doctor``."""
    from ingest.pipeline.doctor import examine

    return examine(home)
