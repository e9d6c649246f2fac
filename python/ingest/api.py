"""The use cases: what the command line, a web page or a program of yours can ask for.

Every function takes the home folder of the journal where it needs one (see :func:`ingest.config.home`), reports
through a :class:`~ingest.monitor.Monitor`, and raises :class:`~ingest.errors.IngestError`. What needs Arrow or
DuckDB is imported by the use case that needs it.
"""

from __future__ import annotations

import os
import uuid
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from ingest import engine
from ingest.catalog.holdings import all_roots, key_of_root, known_roots
from ingest.db.engine import NAME, open_database, read_database
from ingest.errors import IngestError, MissingError, UsageError, shown
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
    reopen_sources,
    ruled_roots,
    ruled_sources,
)
from ingest.pipeline.recognition import require_recognised
from ingest.pipeline.rollcall import require_answers
from ingest.session.chronicle import chronicle_of
from ingest.session.hold import hold
from ingest.session.journal import Journal
from ingest.session.judged import differences
from ingest.session.register import find, open_session, register, session_facts
from ingest.session.report import failure, report
from ingest.storage.marker import read_marker
from ingest.storage.roots import open_destination, pin, require_writable
from ingest.storage.rules import ruled
from ingest.storage.sharing import cautions, look, require, require_on
from ingest.storage.volumes import volume_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from ingest.catalog.holdings import KnownRoot
    from ingest.db.engine import Database
    from ingest.engine import Root
    from ingest.manifest.query import Answer
    from ingest.model.event import Event
    from ingest.model.options import CopyOptions, CopyRequest
    from ingest.model.session import Difference, Failure, SessionFacts, SessionReport
    from ingest.model.states import ItemState
    from ingest.monitor import Monitor
    from ingest.pipeline.archives import Archives
    from ingest.pipeline.check import Check
    from ingest.pipeline.doctor import Health
    from ingest.pipeline.findings import VerifyReport
    from ingest.pipeline.gate import Verdict
    from ingest.pipeline.orphans import Cleared
    from ingest.pipeline.preview import Preview
    from ingest.pipeline.repair import RepairReport
    from ingest.pipeline.storages import StoredRoot
    from ingest.session.register import Entry
    from ingest.storage.rules import Rule

# Items are read from the journal so many at a time.
PAGE = 1000


@contextmanager
def _journal(home: Path, session: str | None = None, *, write: bool = False) -> Iterator[Database | None]:
    """The journal if there is one; None if nothing was ever written down and no session is asked for by name."""
    exists = (home / NAME).exists()
    database = None if not exists else open_database(home) if write else read_database(home)
    if database is None:
        if session is not None:
            raise MissingError(f"no session {session!r}", operation="find", advice="There is no journal yet")
        yield None
        return
    with closing(database):
        yield database


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
            None takes up every session that can be, oldest first; an empty list if there is none.
        wait: as for `copy`; the sessions still come one after the other.

    Raises:
        MissingError: no such session. PausedError: somebody works on it. IngestError: as `copy`.
    """
    with _journal(home, session, write=True) as database:
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
            except IngestError as error:
                # One session whose disk is away must not keep the next from going on.
                if len(entries) == 1:
                    raise
                left = report(Journal(database, entry.key), session_facts(database, entry.key), entry.state)
                reports.append(replace(left, exit_code=error.exit_code, problem=str(error)))
            if stopped():
                break
        return reports


def sessions(home: Path) -> list[Entry]:
    """Every session of the journal, oldest first: the command ``ingest sessions``."""
    with _journal(home) as database:
        return register(database) if database is not None else []


def show(home: Path, session: str) -> SessionReport:
    """One session.

    Raises:
        MissingError: no such session. UsageError: several begin so.
    """
    with _journal(home, session) as database:
        assert database is not None  # noqa: S101 - a session was named
        entry = find(database, session)
        return report(Journal(database, entry.key), session_facts(database, entry.key), entry.state)


def items(home: Path, session: str, states: Sequence[ItemState]) -> Iterator[Failure]:
    """Every item of a session that is in one of these states, in order, with the reason and what to do.

    They are read from the journal while they are asked for; closing the iterator closes the journal.

    Raises:
        MissingError: no such session. UsageError: several begin so.
    """
    with _journal(home, session) as database:
        assert database is not None  # noqa: S101 - a session was named
        entry, after = find(database, session), 0
        journal, facts = Journal(database, entry.key), session_facts(database, entry.key)
        while listed := journal.unfinished(PAGE, states, after):
            after = listed[-1][0].number
            yield from (failure(item, copy, facts.sources[item.source].path) for item, copy in listed)


def events(home: Path, session: str) -> tuple[list[Event], SessionFacts]:
    """What happened in a session, in order, and the session that it happened in.

    Raises:
        MissingError: no such session. UsageError: several begin so.
    """
    with _journal(home, session) as database:
        assert database is not None  # noqa: S101 - a session was named
        key = find(database, session).key
        return chronicle_of(database, key), session_facts(database, key)


def differing(home: Path, session: str) -> Iterator[tuple[bytes, Difference]]:
    """Every file of a session that is not what a sum file on its card says of it, with that list's absolute path.

    They are read from the journal while they are asked for; closing the iterator closes the journal.

    Raises:
        MissingError: no such session. UsageError: several begin so.
    """
    with _journal(home, session) as database:
        assert database is not None  # noqa: S101 - a session was named
        key = find(database, session).key
        yield from differences(Journal(database, key), session_facts(database, key).sources)


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


def check(
    sources: Sequence[bytes],
    home: Path,
    *,
    roots: Sequence[bytes] = (),
    copies: int = 2,
    same_volume: bool = False,
    accept_reread: bool = False,
    fast: bool = False,
    exclude: Sequence[str] = (),
    progress: Callable[[int, int], None] = lambda _files, _bytes: None,
) -> Check:
    """Whether sources may be erased: the command ``ingest check``.

    Args:
        roots: archives to look for copies in; none takes those that the journal knows and that are here.
        copies: how many a file needs, each on a volume of its own unless `same_volume`.
        accept_reread: let copies count that could only be read back from memory.
        fast: read nothing of the sources, and believe what was recorded for a file's path, size and time.
        exclude: globs of what is not asked about. progress: told files and bytes read so far.

    Returns:
        The files that are not covered, to be iterated over; `totals` is whole after the last.

    Raises:
        UsageError: no copy at all is asked for. MissingError: a source or archive is not there, or none is known.
        IngestError: one cannot be read; also while the files are iterated over.
    """
    from ingest.pipeline.check import Check
    from ingest.pipeline.gate import Terms
    from ingest.pipeline.scan import Filter

    if copies < 1:
        raise UsageError(f"{copies} copies", operation="--copies", advice="Take 1 or more")
    require_answers(sources)
    # Labels are for destinations: here two cards of one name are no trouble.
    opened = [one for path in sources for one in open_sources([path], "source")]
    numbered = [(replace(facts, number=number), root, volume) for number, (facts, root, volume) in enumerate(opened)]
    database, archives = _archives(home, roots)
    terms = Terms(copies, same_volume, accept_reread)
    chosen = Filter.of(exclude, ())
    return Check(numbered, archives, terms, chosen, database, fast=fast, progress=progress)


def _archives(home: Path, paths: Sequence[bytes]) -> tuple[Database | None, Archives]:
    """The archives that can be asked, and the journal if there is one.

    Raises:
        MissingError: none can be, or one of these is not there.
    """
    from ingest.pipeline.archives import open_archives

    database = read_database(home)
    known: list[KnownRoot] = []
    if database is not None:
        with database.read() as connection:
            known = known_roots(connection)
    archives = open_archives(paths, known)
    if not archives.here:
        told = "; ".join(f"{shown(one.path)}: {one.reason}" for one in archives.absent)
        raise MissingError(f"no archive is here ({told})", operation="check",
                           advice="Mount those that hold copies, or name them with --root")  # fmt: skip
    return database, archives


def clearance(
    home: Path, session: str, *, copies: int | None = None, same_volume: bool = False, accept_reread: bool = False
) -> Iterator[Verdict]:
    """For each file of a finished session, whether its source may be deleted, and by what proof or why not.

    Nothing is deleted. Who deletes does so by the proof, with :func:`ingest.storage.erase.erase`, and by nothing else.

    Args:
        copies: how many of the session's destinations have to hold it; None: every one of them.

    Raises:
        MissingError: no such session. UsageError: it has not ended. PausedError: a source is away.
        IngestError: an archive, or the journal, cannot be read.
    """
    from ingest.pipeline.archives import open_archives
    from ingest.pipeline.clearance import clearance as clear_session
    from ingest.pipeline.clearance import require_over
    from ingest.pipeline.gate import Terms

    with _journal(home, session) as database:
        assert database is not None  # noqa: S101 - a session was named
        entry = find(database, session)
        require_over(entry.state)
        journal, facts = Journal(database, entry.key), session_facts(database, entry.key)
        with database.read() as connection:
            own = {place.uuid for place in facts.roots}
            known = [root for root in known_roots(connection) if root.uuid in own]
        archives = open_archives((), known)
        sources = reopen_sources(journal, facts.sources)
        terms = Terms(len(facts.roots) if copies is None else copies, same_volume, accept_reread)
        yield from clear_session(journal, facts, sources, archives, terms, database)


def note_verified(home: Path, roots: Sequence[bytes], report: VerifyReport, began: int) -> None:
    """Tell the journal, if there is one, which of these archives were found whole: what ``ingest verify`` does last.

    Args:
        report: of all their files. began: when it was asked for, nanoseconds since the epoch.

    Raises:
        IngestError: a root is gone, or the journal cannot be written.
    """
    from ingest.pipeline.storages import remember_verified

    with _journal(home, write=True) as database:
        if database is not None:
            remember_verified(database, [pin(os.path.abspath(path)) for path in roots], report, began)


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
    with _journal(home) as database:
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


def storage(
    home: Path, root: bytes | None = None, *, rules: Sequence[Rule] = (), thorough: bool = False
) -> list[StoredRoot]:
    """What is known and seen of archives now: the commands ``ingest storage list`` and ``status``.

    Args:
        root: one archive (its path, or the beginning of its UUID) or any folder; None takes all of the journal.
        thorough: try what they can do.

    Raises:
        MissingError: nothing is known by this name, and nothing is there.
    """
    from ingest.pipeline.storages import look_at_roots

    with _journal(home) as database:
        return look_at_roots(database, rules, root, thorough=thorough)


def forget(home: Path, root: bytes, *, force: bool = False) -> tuple[KnownRoot, tuple[str, ...]]:
    """Remove an archive from the journal, not from its disk: the command ``ingest storage forget``.

    Returns:
        What was known of it, and the ids of sessions that still wait for it (only with `force`).

    Raises:
        MissingError, UsageError, PausedError: as :func:`ingest.pipeline.storages.forget`.
    """
    from ingest.pipeline import storages

    with _journal_for(home, root) as database:
        return storages.forget(database, root, force=force)


def relocate(home: Path, root: bytes, path: bytes) -> tuple[KnownRoot, bytes, int]:
    """Write down where an archive is now: the command ``ingest storage relocate``.

    Returns:
        What was known of it, its path now, and how many sessions will look for it there.

    Raises:
        MissingError, UsageError, PausedError, IngestError: as :func:`ingest.pipeline.storages.relocate`.
    """
    from ingest.pipeline import storages

    with _journal_for(home, root) as database:
        return storages.relocate(database, root, path)


@contextmanager
def _journal_for(home: Path, root: bytes) -> Iterator[Database]:
    with _journal(home, write=True) as database:
        if database is None:
            raise MissingError("no archive is known", path=root, operation="find", advice="There is no journal yet")
        yield database
