"""The report of a session, counted from its rows: the same for the summary, the JSON document and `show`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from ingest.db.schema import session_roots, sessions
from ingest.errors import ABSENT, DENIED, ExitCode
from ingest.model.options import CopyOptions
from ingest.model.session import COUNTED, Failure, RootReport, SessionReport, count_key
from ingest.model.states import ItemState, SessionState
from ingest.session.advice import advice_of
from ingest.session.judged import differs, sums_report
from ingest.session.rows import operation_of, source_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ingest.model.item import Item
    from ingest.model.session import SessionFacts
    from ingest.session.journal import Journal
    from ingest.session.register import Entry
    from ingest.session.rows import Copy

FAILURES_SHOWN: Final = 100
_BAD: Final = (ItemState.FAILED, ItemState.CHANGED, ItemState.REMOVED)


def exit_code(journal: Journal, state: SessionState) -> ExitCode:
    """What a session in this state, with these items, means for a script (cli.md)."""
    if state in (SessionState.PAUSED_USER, SessionState.CANCELLED):
        return ExitCode.CANCELLED
    if state.paused:
        return ExitCode.PAUSED
    if state in (SessionState.INTERRUPTED, SessionState.FAILED):
        return ExitCode.ERROR
    ends = journal.ends()
    bad = {(end, reason, code) for end, reason, code in ends if end in _BAD}
    if not bad:
        # Folders are no items: one that could not be made still makes the session end with errors. And a file that is
        # not what its own card says of it has arrived as it was read, but nobody should erase the card over it.
        wrong = state is SessionState.COMPLETED_WITH_ERRORS or differs(journal)
        return ExitCode.WITH_ERRORS if wrong else ExitCode.OK
    if any(reason == "corrupt_destination" for _, reason, _ in bad):
        return ExitCode.VERIFICATION
    if any(end in (ItemState.FINALIZED, ItemState.DUPLICATE) for end, _, _ in ends):
        return ExitCode.WITH_ERRORS
    # Nothing at all arrived: then the cause speaks for itself.
    if all(code in DENIED for _, _, code in bad):
        return ExitCode.PERMISSION
    if all(code in ABSENT or end is ItemState.REMOVED for end, _, code in bad):
        return ExitCode.NOT_FOUND
    return ExitCode.ERROR if all(end is ItemState.FAILED and code for end, _, code in bad) else ExitCode.WITH_ERRORS


def counts(journal: Journal) -> dict[str, int]:
    """Items by the keys of every report; `discovered` is their sum."""
    return _counts(journal.count_items())


def _counts(by_state: Mapping[ItemState, tuple[int, int]]) -> dict[str, int]:
    counted = dict.fromkeys(COUNTED, 0)
    for state, (number, _) in by_state.items():
        counted[count_key(state)] += number
        counted["discovered"] += number
    return counted


def failure(item: Item, copy: Copy | None, source: bytes) -> Failure:
    """Why an item did not arrive, and what to do."""
    reason = item.reason or str(item.state)
    code = (copy.errno if copy else 0) or item.errno
    advice = advice_of(item.state, item.reason, code)
    operation, ranges = operation_of(copy.operation if copy else None)
    path = source.rstrip(b"/") + b"/" + item.path
    return Failure(path, item.state, reason, operation or "scan", code, advice, ranges)


def report(journal: Journal, facts: SessionFacts, state: SessionState, warnings: Sequence[str] = ()) -> SessionReport:
    """Count everything."""
    by_state = journal.count_items()
    with journal.database.read() as connection:
        row = connection.execute(select(sessions).where(sessions.c.key == facts.key)).one()
        places = connection.execute(
            select(session_roots.c.number, session_roots.c.state).where(session_roots.c.session == facts.key)
        )
        root_states = {place.number: SessionState(place.state) for place in places}
    roots = []
    manifests = []
    for place in facts.roots:
        counted = journal.count_copies(place.number)
        parts = journal.parts(place.number)
        manifests += [place.path.rstrip(b"/") + b"/" + part.path for part in parts]
        own = root_states[place.number]
        roots.append(RootReport(
            place.path, place.uuid, own if own.told else state, counted["state"],
            {name: counted["verify_method"].get(name, 0) for name in ("direct", "evicted", "reread")},
            {name: counted["publish_method"].get(name, 0) for name in ("noreplace", "link", "unguarded")},
            {name: counted["strategy"].get(name, 0) for name in ("copy", "reflink", "hardlink")},
        ))  # fmt: skip
    lost = journal.unfinished(FAILURES_SHOWN)
    number = sum(by_state.get(bad, (0, 0))[0] for bad in _BAD)
    return SessionReport(
        id=facts.id, state=state, exit_code=exit_code(journal, state), items=_counts(by_state),
        bytes={"discovered": sum(size for _, size in by_state.values()), "read": row.bytes_read,
               "copied": row.bytes_copied, "verified": row.bytes_verified, "resumed": row.bytes_resumed},
        seconds={name: round(getattr(row, f"seconds_{name}"), 3) for name in ("total", "scan", "copy", "validate", "finalize")},
        roots=tuple(roots), manifests=tuple(manifests),
        failures=tuple(failure(item, copy, source_of(facts.sources, item.source).path) for item, copy in lost),
        failures_total=number, warnings=tuple(warnings), problem=row.problem,
        sources=tuple(source.path for source in facts.sources),
        destinations=tuple(place.path.rstrip(b"/") + b"/" + (source.folder or source.label)
                           for place in facts.roots for source in facts.sources),
        excluded=journal.left_out(), sums=sums_report(journal, facts.sources),
        verify_source=CopyOptions.from_json(facts.options).verify_source,
    )  # fmt: skip


def untold(entry: Entry) -> SessionReport:
    """The report of a session whose rows cannot be read: what the register says of it, and no counts."""
    return SessionReport(
        id=entry.id, state=entry.state, exit_code=ExitCode.ERROR, items=_counts({}),
        bytes=dict.fromkeys(("discovered", "read", "copied", "verified", "resumed"), 0),
        seconds=dict.fromkeys(("total", "scan", "copy", "validate", "finalize"), 0.0), roots=(), manifests=(), failures=(),
        failures_total=0, problem=entry.problem, sources=entry.sources, destinations=entry.roots,
    )  # fmt: skip
