"""May a card be erased: asked of what is on it now, or of what a session brought home."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ingest.api.journal import open_journal
from ingest.catalog.holdings import known_roots
from ingest.db.aside import require_settled
from ingest.db.engine import read_database
from ingest.db.soundness import require_sound
from ingest.errors import MissingError, UsageError, shown
from ingest.pipeline.opening import open_sources, reopen_sources
from ingest.pipeline.rollcall import require_answers
from ingest.session.journal import Journal
from ingest.session.register import find, session_facts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from ingest.catalog.holdings import KnownRoot
    from ingest.db.engine import Database
    from ingest.pipeline.archives import Archives
    from ingest.pipeline.check import Check
    from ingest.pipeline.proof import Verdict

# What the gate asks of the journal. A copy that these say nothing against is believed for its manifest, so they have to
# be sound before anything is read.
_ASKED: Final = ("roots", "locations")


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
        copies: how many a file needs, each on a volume of its own that is no source's, unless `same_volume`.
        accept_reread: let copies count that could only be read back from memory.
        fast: read nothing of the sources, and believe what was recorded for a file's path, size and time.
        exclude: globs of what is not asked about. progress: told files and bytes read so far.

    Returns:
        The files that are not covered, to be iterated over; `totals` is whole after the last.

    Raises:
        UsageError: no copy at all is asked for. MissingError: a source or archive is not there, or none is known.
        DamagedJournalError: there is a journal, and what it knows of archives cannot be read.
        IngestError: one cannot be read; also while the files are iterated over.
    """
    from ingest.pipeline.check import Check
    from ingest.pipeline.proof import Terms
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
        require_settled(home)
        require_sound(database, *_ASKED)
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

    First come the places where something is mounted on a source: what lies beneath cannot be seen, and has to stay.

    Nothing is deleted. Who deletes does so by the proof, with :func:`ingest.storage.erase.erase`, and by nothing else. Each
    file is read for it, and compared with what was copied: it takes as long as reading the card.

    Args:
        copies: how many of the session's destinations have to hold it; None: every one of them.

    Raises:
        MissingError: no such session, or none of its archives is known. UsageError: it has not ended. PausedError: a source is away.
        DamagedJournalError: what the journal knows of archives cannot be read. IngestError: an archive, or the journal, cannot be.
    """
    from ingest.pipeline.archives import open_archives
    from ingest.pipeline.clearance import clearance as clear_session
    from ingest.pipeline.clearance import require_over
    from ingest.pipeline.proof import Terms

    with open_journal(home, session) as database:
        assert database is not None  # noqa: S101 - a session was named
        require_settled(home)
        require_sound(database, *_ASKED)
        entry = find(database, session)
        require_over(entry.state)
        journal, facts = Journal(database, entry.key), session_facts(database, entry.key)
        with database.read() as connection:
            own = {place.uuid for place in facts.roots}
            known = [root for root in known_roots(connection) if root.uuid in own]
        if not known:
            raise MissingError("the journal knows none of this session's archives any more", operation="clearance",
                               advice="Say where one is: ingest storage relocate UUID PATH")  # fmt: skip
        # In this order: where inodes are made up, a folder keeps its own only as long as somebody holds it.
        sources = reopen_sources(journal, facts.sources)
        archives = open_archives((), known)
        terms = Terms(len(facts.roots) if copies is None else copies, same_volume, accept_reread)
        yield from clear_session(journal, facts, sources, archives, terms, database)
