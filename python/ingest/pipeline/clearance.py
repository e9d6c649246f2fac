"""Clearance: the gate, asked about every file of one finished session. What moves files deletes nothing else.

Promises: only what this session itself brought home (or found there) is asked about, by the bytes that it read then; the
destinations are the session's own. The journal does not know which files these were, only their sizes and times: so each
source is read once more, and what was read is what may be erased, by device, inode, size and both times. Files stay where another of their group stays, be that one left out by the user's
choice. Nothing is written or removed here: :func:`ingest.storage.erase.erase` removes, by the proof of a verdict.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ingest import engine
from ingest.errors import UsageError
from ingest.manifest.evidence import Evidence, Wanted
from ingest.manifest.sandbox import sandbox
from ingest.media.groups import kin
from ingest.model.states import ARRIVED, ItemState, SessionState
from ingest.pipeline.check import batches, known_copies, origins
from ingest.pipeline.gate import Gate
from ingest.pipeline.reading import read
from ingest.pipeline.scan import Filter
from ingest.pipeline.unseen import beneath_mounts
from ingest.session.advice import advice_of
from ingest.session.rows import source_of
from ingest.storage.erase import sight

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ingest.db.engine import Database
    from ingest.engine import Root
    from ingest.model.item import Item
    from ingest.model.session import SessionFacts
    from ingest.pipeline.archives import Archives
    from ingest.pipeline.opening import Opened
    from ingest.pipeline.proof import Terms, Verdict
    from ingest.session.journal import Journal
    from ingest.session.rows import Copy
    from ingest.storage.erase import Sighting

MEMORY: Final = "256MB"
_OVER: Final = frozenset({SessionState.COMPLETED, SessionState.COMPLETED_WITH_ERRORS})


def require_over(state: SessionState) -> None:
    """Require that a session has come to its end.

    Raises:
        UsageError: it has not.
    """
    if state not in _OVER:
        raise UsageError(f"the session is {state}: nothing of its sources may be erased", operation="clearance",
                         advice="Complete it first: ingest resume")  # fmt: skip


def clearance(
    journal: Journal,
    facts: SessionFacts,
    sources: Sequence[Opened],
    archives: Archives,
    terms: Terms,
    database: Database,
) -> Iterator[Verdict]:
    """What mounts hide, then the verdict on each file of a session's sources, in order of source and folder.

    Args:
        sources: the session's, pinned. archives: its destinations that are here. terms: `copies` is the number of its
            destinations, or what the user says.

    Raises:
        IngestError: a source, an archive or the journal cannot be read.
    """
    stopper = engine.Page()
    asked_of = origins(sources)
    gate = Gate(archives.here, asked_of, terms, known_copies(database, archives.here), stopper)
    for source, origin in enumerate(asked_of):
        yield from beneath_mounts(source, origin, Filter.of((), ()))
    with sandbox(MEMORY) as connection:
        evidence = Evidence(connection, archives.manifests)
        for page in journal.items():
            copies = journal.copies_of(page[0].number, page[-1].number)
            # Litter is no member of any group, and nobody's to erase.
            asked = [item for item in page if not (item.state is ItemState.EXCLUDED and item.reason == "litter")]
            told = {item.number: _asked(item, facts, copies.get(item.number, [])) for item in asked}
            for source, (_, root, _) in enumerate(sources):
                own = [item for item in asked if item.source == source and told[item.number].blake3 is not None]
                for batch in batches(own):
                    told |= {one.number: one for one in _read_now([told[item.number] for item in batch], root, stopper)}
            evidence.add(list(told.values()))
        for verdicts in gate.judge(evidence.answers(), groups=True):
            yield from verdicts


def _asked(item: Item, facts: SessionFacts, copies: Sequence[Copy]) -> Wanted:
    place = source_of(facts.sources, item.source).path.rstrip(b"/") + b"/" + item.path
    digests = {copy.blake3 for copy in copies if copy.state in ARRIVED and copy.blake3 is not None}
    reason = advice = None
    if item.state not in ARRIVED:
        reason = f"it did not arrive: {item.state}" + (f" ({item.reason})" if item.reason else "")
        advice = advice_of(item.state, item.reason, item.errno)
    elif len(digests) != 1:
        reason, advice = "its copies have no digest in common", "Bring it home again with ingest copy"
    return Wanted(
        item.source, kin(item.path), item.number, item.path, place, item.size, item.mtime_ns,
        blake3=digests.pop() if reason is None else None, reason=reason, advice=advice,
    )  # fmt: skip


def _read_now(asked: Sequence[Wanted], root: Root, page: engine.Page) -> list[Wanted]:
    """These files as they are now: by what they are known again when they are erased, or why they stay.

    One that is not even of the size and time that were copied is left for the gate, which looks at it last.
    """
    told: dict[int, Wanted] = {}
    seen: list[tuple[Wanted, Sighting]] = []
    for wanted in asked:
        told[wanted.number] = wanted
        try:
            sighting = sight(root, wanted.path)
        except (OSError, ValueError):
            continue
        if (sighting.size, sighting.mtime_ns) == (wanted.size, wanted.mtime_ns):
            seen.append((wanted, sighting))
    proofs = read(root, [wanted.path for wanted, _ in seen], cold=False, page=page)
    for (wanted, sighting), (digest, _, _, _, fault) in zip(seen, proofs, strict=True):
        if fault is not None:
            failure = engine.failed(fault)
            if failure.kind == "cancelled":
                raise failure.error("clearance", root.path)
            reason, advice = f"it cannot be read now ({failure.detail})", "Keep it, and look at the card"
            told[wanted.number] = replace(wanted, reason=reason, advice=advice)
        elif digest != wanted.blake3:
            reason, advice = "it holds other bytes than were copied", "Bring it home as it is now with ingest copy"
            told[wanted.number] = replace(wanted, reason=reason, advice=advice)
        else:
            device, inode, ctime = sighting.device, sighting.inode, sighting.ctime_ns
            told[wanted.number] = replace(wanted, device=device, inode=inode, ctime_ns=ctime)
    return list(told.values())
