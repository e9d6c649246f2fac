"""The use cases: what the command line, a web page or a program of yours can ask for.

Every function takes the home folder of the journal where it needs one (see :func:`ingest.config.home`), reports
through a :class:`~ingest.monitor.Monitor`, and raises :class:`~ingest.errors.IngestError`. What needs Arrow or
DuckDB is imported by the use case that needs it.
"""

from __future__ import annotations

import os
import uuid
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from ingest import engine
from ingest.api.clearing import check, clearance
from ingest.api.journal import open_journal
from ingest.api.places import forget, rebuild, relocate, storage
from ingest.api.told import differing, events, items, sessions, show
from ingest.catalog.holdings import all_roots, key_of_root
from ingest.db.engine import open_database, read_database
from ingest.errors import IngestError, MissingError, unforeseen
from ingest.model.states import SessionState
from ingest.monitor import InOne, Silent
from ingest.pipeline.launch import launch, remember, sharing_of, take_up_again
from ingest.pipeline.opening import (
    check_destinations,
    check_options,
    given,
    look_at,
    open_sources,
    refuse_clones,
    ruled_roots,
    ruled_sources,
)
from ingest.pipeline.recognition import require_recognised
from ingest.pipeline.rollcall import require_answers
from ingest.session.hold import hold
from ingest.session.journal import Journal
from ingest.session.register import find, open_session, register, session_facts
from ingest.session.report import report, untold
from ingest.storage.marker import read_marker
from ingest.storage.roots import open_destination, pin, require_writable
from ingest.storage.rules import ruled
from ingest.storage.sharing import cautions, look, require, require_on
from ingest.storage.volumes import volume_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ingest.db.engine import Database
    from ingest.engine import Root
    from ingest.manifest.query import Answer
    from ingest.model.options import CopyOptions, CopyRequest
    from ingest.model.session import SessionReport
    from ingest.monitor import Monitor
    from ingest.pipeline.doctor import Health
    from ingest.pipeline.findings import VerifyReport
    from ingest.pipeline.orphans import Cleared
    from ingest.pipeline.preview import Preview
    from ingest.pipeline.repair import RepairReport
    from ingest.session.register import Entry
    from ingest.storage.rules import Rule

__all__ = (
    "check", "clear", "clearance", "copy", "differing", "doctor", "events", "forget", "items", "note_verified", "plan",
    "query", "rebuild", "relocate", "repair", "resume", "sessions", "show", "storage", "verify",
)  # fmt: skip


def _never() -> bool:
    return False


def copy(
    request: CopyRequest,
    home: Path,
    monitor: Monitor | None = None,
    stopped: Callable[[], bool] = _never,
    *,
    wait: bool = False,
    rules: Sequence[Rule] = (),
) -> SessionReport:
    """Bring sources home: the command ``ingest copy``.

    Args:
        request: what, whereto and how. home: of the journal.
        stopped: asked several times a second; True ends the session cleanly, to be resumed.
        wait: where it pauses because a disk is away or full, stay, and go on when that is mended.
        rules: what is known of places beyond what the system tells (see :mod:`ingest.storage.rules`).

    Raises:
        IngestError: it could not begin, or not go on; nothing is lost, and what began can be resumed.
    """
    options = check_options(request.options)
    require_answers((*request.sources, *request.destinations))
    sources = ruled_sources(open_sources(request.sources, options.label), rules)
    paths = check_destinations(request.destinations, [given(facts) for facts, _, _ in sources], create=request.create)
    require_on(options.strategy, [volume for *_, volume in sources], paths)
    with closing(open_database(home)) as database:
        warnings: list[str] = []
        require_recognised(database, paths, new_root=request.new_root)
        opened = [open_destination(path, create=request.create, new_root=request.new_root) for path in paths]
        destinations = ruled_roots(opened, rules)
        refuse_clones(destinations)
        sharing = sharing_of(options, sources, destinations)
        require(sharing, paths)
        warnings += cautions(sharing, [given(facts) for facts, _, _ in sources], paths)
        places = [remember(database, number, one, warnings) for number, one in enumerate(destinations)]
        identity = str(uuid.uuid4())
        with hold(home, identity):
            given_sources = [source for source, _, _ in sources]
            facts = open_session(database, identity, options, given_sources, places, engine.__version__)
            monitor = InOne(monitor or Silent()) if wait else monitor
            begin = partial(
                launch, database, facts, sources, destinations, monitor, stopped, SessionState.PENDING, warnings,
                sharing=sharing,
            )  # fmt: skip
            if not wait:
                return begin()
            # Whoever waits for a disk must not keep it from being unmounted: the pinned folders are the run's alone.
            del sources, opened, destinations, sharing
            held = [begin]
            del begin
            return _seen_through(database, facts.key, lambda: held.pop()(), monitor, stopped, rules)  # noqa: PLW0108


def _seen_through(
    database: Database,
    key: int,
    first: Callable[[], SessionReport],
    monitor: Monitor | None,
    stopped: Callable[[], bool],
    rules: Sequence[Rule],
) -> SessionReport:
    """A session's run, and those that follow when what it waits for has come back."""
    from ingest.pipeline.waiting import see_through

    def again() -> SessionReport:
        entry = find(database, session_facts(database, key).id)
        return take_up_again(database, entry, monitor, stopped, rules=rules, named=False)

    return see_through(database, key, first, again, monitor or Silent(), stopped)


def resume(
    home: Path,
    session: str | None = None,
    monitor: Monitor | None = None,
    stopped: Callable[[], bool] = _never,
    *,
    wait: bool = False,
    rules: Sequence[Rule] = (),
) -> list[SessionReport]:
    """Complete what was interrupted or paused: the command ``ingest resume``.

    Args:
        session: the beginning of an id; that one's failed items are tried again, also if it completed with errors.
            None takes up every session that can be, oldest first; an empty list if there is none. Of several none keeps the
            next from going on: what ended one, be it a bug, is the `problem` of its report.
        wait: as for `copy`; the sessions still come one after the other.

    Raises:
        MissingError: no such session. PausedError: somebody works on it. IngestError: as `copy`.
    """
    with open_journal(home, session, write=True) as database:
        if database is None:
            return []
        entries = [find(database, session)] if session is not None else [e for e in register(database) if e.resumable]
        reports = []
        for entry in entries:
            try:
                with hold(home, entry.id):
                    fresh = find(database, entry.id)
                    if session is None and fresh.over:
                        continue  # another process was quicker
                    named = session is not None
                    told = InOne(monitor or Silent()) if wait else monitor
                    once = partial(take_up_again, database, fresh, told, stopped, rules=rules, named=named)
                    done = _seen_through(database, fresh.key, once, told, stopped, rules) if wait else once()
                    reports.append(done)
            except Exception as error:
                # One session whose disk is away, or that this program cannot cope with, must not keep the next from going
                # on. What a request to stop has become somewhere below is for whoever asked.
                if len(entries) == 1 or (not isinstance(error, IngestError) and stopped()):
                    raise
                reports.append(_left(database, entry, error))
            if stopped():
                break
        return reports


def _left(database: Database, entry: Entry, error: Exception) -> SessionReport:
    """The report of a session that was taken up in vain, because of this error."""
    if not isinstance(error, IngestError):
        error = unforeseen(error, f"For details: INGEST_DEBUG=1 ingest resume {entry.id[:8]}")
    try:
        told = report(Journal(database, entry.key), session_facts(database, entry.key), entry.state)
    except Exception:  # noqa: BLE001 - its rows may be what it failed for, and can be told no better here
        told = untold(entry)
    return replace(told, exit_code=error.exit_code, problem=str(error))


def plan(
    sources: Sequence[bytes],
    destinations: Sequence[bytes],
    options: CopyOptions,
    home: Path,
    *,
    rules: Sequence[Rule] = (),
) -> Preview:
    """What a copy would do, line by line: the command ``ingest scan``.

    Raises:
        IngestError: a source or destination cannot be opened.
    """
    from ingest.pipeline.preview import Preview

    opened = ruled_sources(open_sources(sources, check_options(options).label), rules)
    paths = check_destinations(destinations, [given(facts) for facts, _, _ in opened])
    roots = [(root, ruled(volume, path, rules)) for path, (root, volume) in zip(paths, look_at(paths), strict=True)]
    require(look(options.strategy, [volume for *_, volume in opened], [volume for _, volume in roots]), paths)
    markers = [read_marker(root) for root, _ in roots]
    database = read_database(home)
    keys: list[int | None] = [None for _ in roots]
    if database is not None:
        require_recognised(database, paths, new_root=True)
        with database.read() as connection:
            keys = [key_of_root(connection, marker.uuid) if marker else None for marker in markers]
    return Preview(opened, roots, keys, options, database)


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

    pinned = [pin(os.path.abspath(path)) for path in roots]
    return verify_roots(pinned, session=session, strict=strict, progress=progress)


def note_verified(home: Path, roots: Sequence[bytes], report: VerifyReport, began: int, *, whole: bool = True) -> None:
    """Tell the journal, if there is one, what was found: what ``ingest verify`` does last.

    Which archives are whole, and of which files nothing is known any more, so that no copy and no check relies on them.

    Args:
        report: of all their files, or, if it is not `whole`, of one session's. began: when it was asked for, nanoseconds since the epoch.

    Raises:
        IngestError: a root is gone, or the journal cannot be written.
    """
    from ingest.pipeline.storages import remember_verified

    with open_journal(home, write=True) as database:
        if database is not None:
            remember_verified(database, [pin(os.path.abspath(path)) for path in roots], report, began, whole=whole)


def repair(
    root: bytes, other: bytes, *, dry_run: bool = False, progress: Callable[[int, int], None] | None = None
) -> RepairReport:
    """Make an archive whole from another place, without the journal: the command ``ingest repair``.

    Args:
        root: the archive. other: another archive, a card, or a folder or file that was copied from one; only read.
        dry_run: say what would be done, and change nothing.

    Raises:
        UsageError: both are one place. MissingError: one is not there, or `root` has no manifest.
        DeniedError: `root` cannot be written, or `other` not be read. PausedError: another process repairs it.
        IngestError: a disk went away, or a manifest cannot be read or written; the next repair goes on.
    """
    from ingest.pipeline.repair import repair as repair_root
    from ingest.pipeline.spares import open_spares

    pinned = pin(os.path.abspath(root))
    return repair_root(pinned, open_spares(os.path.abspath(other), pinned), dry_run=dry_run, progress=progress)


def clear(
    root: bytes,
    home: Path,
    *,
    days: float | None = None,
    tell: Callable[[str], None] = lambda _: None,
    stopped: Callable[[], bool] = _never,
) -> Cleared:
    """Clear away what sessions left half-made in an archive that nobody goes on with: the command ``ingest clear``.

    Args:
        days: nothing was written for so long; None: `pipeline.orphans.DAYS`.
        tell: told what is waited for. stopped: asked every second; True ends it.

    Raises:
        MissingError: the archive is not there. DeniedError: it cannot be written. CancelledError: it was stopped.
        IngestError: it cannot be read, or not be cleared.
    """
    from ingest.pipeline.orphans import DAYS, clear_orphans

    require_answers([root])
    pinned = pin(os.path.abspath(root))
    if read_marker(pinned) is None:
        raise MissingError("this folder is no archive", path=pinned.path, operation="clear",
                           advice="Name the folder that footage was copied to")  # fmt: skip
    require_writable(pinned, volume_of(pinned.path))
    own = {entry.id[:8]: entry.over and not entry.held for entry in sessions(home)}
    return clear_orphans(pinned, own, tell, stopped, DAYS if days is None else days)


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
    from ingest.manifest.parts import list_parts

    known: list[tuple[str, bytes]] = []
    with open_journal(home) as database:
        if database is not None:
            with database.read() as connection:
                known = all_roots(connection)
    found = []
    for known_uuid, path in known:
        try:
            root = pin(path)
            marker = read_marker(root)
            if marker is not None and marker.uuid == known_uuid and list_parts(root):
                found.append(root)
        except IngestError:
            continue  # it is not mounted: the question goes to those that are
    if not found:
        raise MissingError("no archive can be reached", operation="query", advice="Name one with --root")
    return found


def doctor(home: Path, *, rules: Sequence[Rule] = (), broken: IngestError | None = None) -> list[Health]:
    """Check the installation, the journal and the archives it knows: the command ``ingest doctor``.

    Args:
        rules: what the configuration says of places. broken: why it could not be read, if it could not.
    """
    from ingest.pipeline.doctor import examine

    return examine(home, rules, broken)
