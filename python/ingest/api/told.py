"""What the journal tells of sessions: which there are, one of them, its items, its events, what sum files contradict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ingest.api.journal import open_journal
from ingest.session.chronicle import chronicle_of
from ingest.session.journal import Journal
from ingest.session.judged import differences
from ingest.session.register import find, register, session_facts
from ingest.session.report import failure, report
from ingest.session.rows import source_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ingest.model.event import Event
    from ingest.model.session import Difference, Failure, SessionFacts, SessionReport
    from ingest.model.states import ItemState
    from ingest.session.register import Entry

# Items are read from the journal so many at a time.
PAGE: Final = 1000


def sessions(home: Path) -> list[Entry]:
    """Every session of the journal, oldest first: the command ``ingest sessions``."""
    with open_journal(home) as database:
        return register(database) if database is not None else []


def show(home: Path, session: str) -> SessionReport:
    """One session.

    Raises:
        MissingError: no such session. UsageError: several begin so.
    """
    with open_journal(home, session) as database:
        assert database is not None  # noqa: S101 - a session was named
        entry = find(database, session)
        return report(Journal(database, entry.key), session_facts(database, entry.key), entry.state)


def items(home: Path, session: str, states: Sequence[ItemState]) -> Iterator[Failure]:
    """Every item of a session that is in one of these states, in order, with the reason and what to do.

    They are read from the journal while they are asked for; closing the iterator closes the journal.

    Raises:
        MissingError: no such session. UsageError: several begin so.
    """
    with open_journal(home, session) as database:
        assert database is not None  # noqa: S101 - a session was named
        entry, after = find(database, session), 0
        journal, facts = Journal(database, entry.key), session_facts(database, entry.key)
        while listed := journal.unfinished(PAGE, states, after):
            after = listed[-1][0].number
            yield from (failure(item, copy, source_of(facts.sources, item.source).path) for item, copy in listed)


def events(home: Path, session: str) -> tuple[list[Event], SessionFacts]:
    """What happened in a session, in order, and the session that it happened in.

    Raises:
        MissingError: no such session. UsageError: several begin so.
    """
    with open_journal(home, session) as database:
        assert database is not None  # noqa: S101 - a session was named
        key = find(database, session).key
        return chronicle_of(database, key), session_facts(database, key)


def differing(home: Path, session: str) -> Iterator[tuple[bytes, Difference]]:
    """Every file of a session that is not what a sum file on its card says of it, with that list's absolute path.

    They are read from the journal while they are asked for; closing the iterator closes the journal.

    Raises:
        MissingError: no such session. UsageError: several begin so.
    """
    with open_journal(home, session) as database:
        assert database is not None  # noqa: S101 - a session was named
        key = find(database, session).key
        yield from differences(Journal(database, key), session_facts(database, key).sources)
